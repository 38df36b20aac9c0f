"""Fencing: levels and devices, proofs, and a record that survives the death of any daemon."""
