"""The cluster file: YAML in, checked with places and remedies, a `hamgr.cib.model.Cib` and hamgr's settings out."""
