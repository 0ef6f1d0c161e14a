"""One file a client: what it needs, and its checks in the order they are made."""
