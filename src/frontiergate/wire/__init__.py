"""Framing without I/O; imports nothing of ours."""
