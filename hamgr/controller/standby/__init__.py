"""Parked pods on standby nodes: where they are kept, and when a failed resource prefers them."""
