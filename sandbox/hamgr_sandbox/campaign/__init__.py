"""Random faults, drawn from a seed, on the sandbox's key-value application, and what must be true after each."""
