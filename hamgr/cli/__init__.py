"""The hamgr command: one module a verb family, rendering apart from fetching."""
