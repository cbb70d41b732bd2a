"""What it costs that many replicas share one Redis: unit costs measured against a real server, and a simulation made of them."""
