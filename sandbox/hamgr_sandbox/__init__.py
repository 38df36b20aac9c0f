"""An embedded cluster for a laptop and for tests. Nothing else in hamgr imports it."""
