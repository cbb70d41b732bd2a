"""Frontier Gate: the checkpoint between callers and frontier AI models."""

__version__ = "0.1.0"
