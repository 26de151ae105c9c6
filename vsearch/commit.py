"""Group commit: writers that come at the same time share one atomic write and one fsync.

1. A writer queues its change and asks for the turn.
2. Whoever gets the turn takes all that is queued, commits it as one group, and marks each change as done.
3. The others get the turn later, find their change done, and return at once.

The turn is also what anything else holds that must not interleave with writes (sealing, compaction, a schema change).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, Generic, Protocol, TypeVar

MAX_GROUP_POINTS: Final = 50_000  # a group stops growing here: one write batch is held in memory


class Change(Protocol):
    """Anything that can be queued."""

    @property
    def points(self) -> int:
        """How many points it touches, roughly."""


C = TypeVar("C", bound=Change)


class Ticket(Generic[C]):
    """A queued change and, once it is done, its result or its error."""

    __slots__ = ("change", "done", "error", "result")

    def __init__(self, change: C) -> None:
        self.change = change
        self.done = False
        self.result: Any = None
        self.error: BaseException | None = None


class CommitQueue(Generic[C]):
    """Runs `commit(tickets)` for groups of changes, one group at a time.

    `commit` sets `result` or `error` on every ticket; an error that it raises is given to all of the group.
    """

    def __init__(self, commit: Callable[[list[Ticket[C]]], None]) -> None:
        self._commit = commit
        self._queued: list[Ticket[C]] = []
        self._queue_lock = threading.Lock()
        self._turn = threading.RLock()

    def submit(self, change: C) -> Any:
        """Commit a change; returns its result, or raises its error, once it is durable or has failed."""
        ticket = Ticket(change)
        with self._queue_lock:
            self._queued.append(ticket)
        while not ticket.done:
            with self._turn:
                if not ticket.done:
                    self._commit_group()
        if ticket.error is not None:
            raise ticket.error
        return ticket.result

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Keep every writer out."""
        with self._turn:
            yield

    def _commit_group(self) -> None:
        with self._queue_lock:
            taken, points = 0, 0
            while taken < len(self._queued) and (taken == 0 or points < MAX_GROUP_POINTS):
                points += self._queued[taken].change.points
                taken += 1
            group, self._queued = self._queued[:taken], self._queued[taken:]
        try:
            self._commit(group)
        except BaseException as error:
            for ticket in group:
                if not ticket.done and ticket.error is None:
                    ticket.error = error
            if not isinstance(error, Exception):
                raise
        finally:
            for ticket in group:
                ticket.done = True
