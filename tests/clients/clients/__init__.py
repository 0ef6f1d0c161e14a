"""One file for each client: its requirements, and its checks in order."""
