"""The cluster information base: configuration and recorded history as immutable values."""
