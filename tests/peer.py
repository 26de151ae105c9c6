"""A server on a real socket that answers as a test says: `with peer(sends(b"HTTP/1.1 ...")) as server: server.url`."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

Play = Callable[["Peer", socket.socket, bytes], Any]  # answers one request; False: the connection is closed


class Peer:
    """A server on a socket that does with each request what a test says. `heads`: of the requests, as they came."""

    def __init__(self, play: Play, context: ssl.SSLContext | None = None) -> None:
        self.play = play
        self.heads: list[bytes] = []
        self.bodies: list[bytes] = []
        self.connections = 0
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()
        self.port = self._listener.getsockname()[1]
        self.url = f"{'https' if context else 'http'}://localhost:{self.port}"

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.hang_up()
        for thread in self._threads:
            thread.join()

    def hang_up(self) -> None:
        """Close every connection, as a server does with those that are idle for long."""
        for connection in self._open:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.connections += 1
                self._open.append(connection)
                thread = threading.Thread(target=self._serve, args=(connection,))
                self._threads.append(thread)
                thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError), connection:
            if self._context is not None:
                connection = self._context.wrap_socket(connection, server_side=True)
                self._open.append(connection)
            while head := read_head(connection):
                self.heads.append(head)
                if self.play(self, connection, head) is False:
                    break
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(1 << 16):
                pass


def read_head(connection: socket.socket) -> bytes:
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        if not (byte := connection.recv(1)):
            return b""
        head += byte
    return head


def read_body(peer: Peer, connection: socket.socket, head: bytes) -> bytes:
    (length,) = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")] or [b":0"]
    left, pieces = int(length.partition(b":")[2]), []
    while left and (piece := connection.recv(min(left, 1 << 20))):
        pieces.append(piece)
        left -= len(piece)
    peer.bodies.append(b"".join(pieces))
    return peer.bodies[-1]


@contextmanager
def peer(play: Play, context: ssl.SSLContext | None = None) -> Iterator[Peer]:
    made = Peer(play, context)
    try:
        yield made
    finally:
        made.close()


def sends(*pieces: bytes, keep: bool = True, pause_s: float = 0.0) -> Play:
    """Answers every request with these bytes."""

    def play(peer: Peer, connection: socket.socket, head: bytes) -> bool:
        read_body(peer, connection, head)
        for piece in pieces:
            connection.sendall(piece)
            time.sleep(pause_s)
        return keep

    return play
