"""Every pod of ours held against the records; what should not run is ended."""
