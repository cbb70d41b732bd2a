"""The gate with everything around it on one machine: `make demo` tells a story, `make run` leaves it running."""
