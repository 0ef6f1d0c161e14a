"""The common part of all clients: building, packages, servers, commands with timeouts, checks and their table."""
