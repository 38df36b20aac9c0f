"""The scheduler's one working state: what the stages fill in, and take from those before them.

The CIB stays as it came; whatever is derived from it lives here, and all of it hangs on one `WorkingSet`. Objects are
compared by identity and have slots, because a cluster of hundreds of resources makes tens of thousands of them.
"""
