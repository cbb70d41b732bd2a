"""The proxies that are measured: what each is given to run, and what it is asked to refuse."""
