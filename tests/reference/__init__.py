"""Slow, obvious re-tellings of what the gate promises, to test the fast ones against."""
