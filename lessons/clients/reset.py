"""Connects and ends the connection at once with a reset, like a browser tab that is closed early."""
import os
import socket
import struct

server = socket.create_connection(("127.0.0.1", int(os.environ.get("PORT", 8000))))
server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # close() sends RST, not FIN
server.close()
print("connected, and reset")
