"""When is someone refused? Directives compiled for one epoch, and `decide` (DESIGN 4.2; P3, P7)."""
