"""The two ways of epoll to report a socket, and how the second one loses bytes of a program that does not read to the end."""
import select
import socket

for name, flags in (("level", select.EPOLLIN), ("edge", select.EPOLLIN | select.EPOLLET)):
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    epoll = select.epoll()
    epoll.register(ours, flags)
    report = lambda: "readable" if epoll.poll(0) else "nothing"  # noqa: E731

    theirs.send(b"GET /a")
    print(f"{name}: six bytes arrive      -> {report()}")
    ours.recv(4)
    print(f"{name}: we read four of them  -> {report()}")
    theirs.send(b"b")
    print(f"{name}: one more byte arrives -> {report()}")
    while True:
        try:
            ours.recv(4)
        except BlockingIOError:
            break
    print(f"{name}: we read to WouldBlock -> {report()}")
