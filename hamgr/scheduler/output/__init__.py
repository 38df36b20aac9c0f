"""The answer: the transition graph, its summary, and why a resource is where it is."""
