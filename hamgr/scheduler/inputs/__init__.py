"""What the CIB says: attributes as rules evaluate them, the settings of operations, recorded operations."""
