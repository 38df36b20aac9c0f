"""Configured constraints, unpacked into what acts on scores and on actions."""
