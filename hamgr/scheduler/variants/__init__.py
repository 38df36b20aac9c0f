"""What primitives, groups, clones and bundles do each in their own way."""
