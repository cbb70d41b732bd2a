"""Configuration: its shape, reading it with good errors, and proving what can be proved of it (DESIGN 8)."""
