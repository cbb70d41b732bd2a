"""Benchmarks: what the gate costs, beside what others cost for the same work, measured in one run (P8)."""
