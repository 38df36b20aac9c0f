"""Who is a member: what is observed of each node, and what is concluded from it."""
