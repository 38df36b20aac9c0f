"""Resource agents that come with hamgr."""
