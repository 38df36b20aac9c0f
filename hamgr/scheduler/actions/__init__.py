"""Actions: making them, what they wait for, and what that implies. Fencing, probes and monitors among them."""
