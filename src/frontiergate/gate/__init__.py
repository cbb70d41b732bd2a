"""The data plane: one request's life (DESIGN 5, 7)."""
