"""The control plane: admin API, health, metrics, on its own listener (DESIGN 7)."""
