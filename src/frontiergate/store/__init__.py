"""The policy log and what it holds: directives, pauses, grants, keys; and how replicas follow it (DESIGN 6)."""
