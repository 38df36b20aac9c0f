"""Placement: scores of nodes, colocations and utilization in them, and the choice of a node."""
