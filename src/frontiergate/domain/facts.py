"""Facts: what the evidence adds up to for one request (DESIGN 4.1; NATIONALITY.md)."""
