"""The policy engine: from a Cib and a time to a transition graph, as a pure function."""
