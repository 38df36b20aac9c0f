"""What operators ask of the leader, and the overrides that come of it."""
