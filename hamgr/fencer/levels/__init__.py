"""What each fencing level does of its own; the order of things is hamgr.fencer.machine's."""
