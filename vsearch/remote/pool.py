"""Connections that are kept open between requests."""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from typing import Final, Generic, Protocol, TypeVar

MAX_KEPT: Final = 64  # idle connections; more requests than this at once make new ones
MAX_IDLE_S: Final = 50.0  # most servers and proxies close idle connections after a minute or more


class Connection(Protocol):
    """What can be kept."""

    def usable(self) -> bool:
        """Whether it is open still, and has not been idle for too long."""

    def close(self) -> None:
        """Close it now."""


C = TypeVar("C", bound=Connection)


class Pool(Generic[C]):
    """Idle connections of one server. Safe for threads without a lock: the ends of a deque are atomic."""

    def __init__(self) -> None:
        self._kept: deque[C] = deque()
        self._closed = False

    def take(self) -> C | None:
        """The connection that was used last, if there is one that is usable."""
        with suppress(IndexError):
            while True:
                connection = self._kept.pop()
                if connection.usable():
                    return connection
                connection.close()
        return None

    def put(self, connection: C) -> None:
        """Keep a connection for the next request, or close it when there are enough."""
        if len(self._kept) >= MAX_KEPT:
            connection.close()
            return
        self._kept.append(connection)
        if self._closed:
            self.close()

    def close(self) -> None:
        """Close all that are idle, and from now on every one that comes back."""
        self._closed = True
        with suppress(IndexError):
            while True:
                self._kept.pop().close()
