"""What all clients share: building, packages, servers, commands with a time limit, checks and their table."""
