"""The leader's side of fencing: targets, levels, whether a fence may begin, and what its end means."""
