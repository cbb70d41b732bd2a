"""What the words mean and what follows from them: no I/O, no clock, no randomness (DESIGN 3, 4)."""
