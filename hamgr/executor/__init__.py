"""Runs the actions of resource agents and reports what they returned."""
