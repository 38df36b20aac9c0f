"""The first stage: from the CIB to nodes, resources and what the recorded history says about them."""
