"""Streams of events: an upstream that sends them on time, and callers who note when they come. uvloop on both sides."""
