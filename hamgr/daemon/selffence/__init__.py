"""Self-fencing: a node stops its own instances when it has lost its place in the cluster."""
