"""The status document that the leader publishes, and what it finds wrong."""
