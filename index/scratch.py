"""Working memory of searches, kept between them: beams, visited marks, block buffers.

A search takes a scratch object from the pool and gives it back at its end, so two searches never share one and a
reader itself holds no state that changes.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

Scratch = TypeVar("Scratch")


class Pool(Generic[Scratch]):
    """Scratch objects from `make`, lent to one thread at a time. Safe to use from any number of threads.

    At most one a processor is kept, so that a burst of searches leaves no memory behind. What a search leaves in its
    scratch stays there: its next user clears it, or marks entries with a counter that only grows.
    """

    def __init__(self, make: Callable[[], Scratch]) -> None:
        self._make = make
        self._idle: deque[Scratch] = deque(maxlen=os.cpu_count() or 1)  # append and pop of a deque are atomic

    @contextmanager
    def take(self) -> Iterator[Scratch]:
        """Lend a scratch object, the one used last first: its memory is the likeliest to be cached."""
        scratch = self.borrow()
        yield scratch
        self.give_back(scratch)  # not reached after an error, which may have left it half written

    def borrow(self) -> Scratch:
        """As `take` where every microsecond counts: to be given back unless there was an error."""
        try:
            return self._idle.pop()
        except IndexError:
            return self._make()

    def give_back(self, scratch: Scratch) -> None:
        self._idle.append(scratch)
