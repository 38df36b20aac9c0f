"""From a Pacemaker configuration to a cluster file; what cannot come along is named."""
