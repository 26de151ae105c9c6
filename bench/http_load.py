"""Clients as thin as they can be: ready-made requests over raw sockets, so that the server is what is measured."""

from __future__ import annotations

import itertools
import selectors
import socket
import time
from collections.abc import Generator, Iterable, Sequence
from contextlib import closing


def request(path: str, body: bytes, media_type: str, accept: str = "*/*") -> bytes:
    """A whole POST request."""
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {media_type}\r\nAccept: {accept}\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


class Connection:
    """One kept-alive connection."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = b""

    def send(self, message: bytes) -> None:
        self.socket.sendall(message)
        self._received = b""

    def whole(self) -> bool:
        """Read what there is; whether the answer is complete. Raises for one that is not 200."""
        self._received += self.socket.recv(1 << 18)
        head, _, body = self._received.partition(b"\r\n\r\n")
        if not body:
            return False
        assert head.startswith(b"HTTP/1.1 200"), self._received[:500]
        return len(body) >= int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])

    @property
    def body(self) -> bytes:
        """The body of the answer."""
        return self._received.partition(b"\r\n\r\n")[2]


def latencies_s(port: int, messages: Sequence[bytes]) -> list[float]:
    """Seconds that each request takes, one after the other on one connection."""
    connection, times = Connection(port), []
    for message in messages:
        start = time.perf_counter()
        connection.send(message)
        while not connection.whole():
            pass
        times.append(time.perf_counter() - start)
    connection.socket.close()
    return times


def throughput(port: int, messages: Sequence[bytes], clients: int, seconds: float) -> float:
    """Requests a second that `clients` connections get answered, each sending the next when it has an answer."""
    done, start = 0, time.perf_counter()
    with closing(_exchange(port, itertools.cycle(messages), clients)) as exchange:
        while (elapsed_s := time.perf_counter() - start) < seconds:
            next(exchange)
            done += 1
    return done / elapsed_s


def answers(port: int, messages: Sequence[bytes], clients: int) -> list[bytes]:
    """The bodies of the answers to all messages, in their order, sent by so many connections at once."""
    bodies = dict(_exchange(port, messages, clients))
    return [bodies[number] for number in range(len(messages))]


def _exchange(port: int, messages: Iterable[bytes], clients: int) -> Generator[tuple[int, bytes]]:
    """(number of a message, body of its answer) as answers come; a connection that has one sends the next message."""
    selector, numbered = selectors.DefaultSelector(), enumerate(messages)
    waiting: dict[Connection, int] = {}

    def send(connection: Connection) -> None:
        waiting.pop(connection, None)
        if (following := next(numbered, None)) is not None:
            waiting[connection], message = following
            connection.send(message)

    connections = [Connection(port) for _ in range(clients)]
    for connection in connections:
        selector.register(connection.socket, selectors.EVENT_READ, connection)
        send(connection)
    try:
        while waiting:
            for key, _ in selector.select():
                connection = key.data
                if connection.whole():
                    number, body = waiting[connection], connection.body
                    send(connection)
                    yield number, body
    finally:
        for connection in connections:
            connection.socket.close()
