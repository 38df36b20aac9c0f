"""A transition under way: which actions may run now, who runs them, and what is recorded of them."""
