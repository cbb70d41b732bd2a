"""The command line: `frontiergate …`, one file a noun."""
