"""The border to RocksDB: who is inside, and what its errors mean.

The binding raises plain Exception with RocksDB's status as text; `translate` tells the kinds apart. `Calls` counts the
calls in progress so that closing can wait for them: a handle in use would keep RocksDB, and its lock, alive.
"""

from __future__ import annotations

import errno
import os
import threading
import weakref
from pathlib import Path
from typing import Final, Protocol

from vsearch.errors import Closed, Corruption, DurabilityError, Locked, VSearchError

from . import files

_REFUSALS: Final = (
    errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE, errno.EFBIG
)  # fmt: skip


def refusal(text: str) -> int | None:
    """The errno behind a RocksDB message when the operating system refused, rather than the bytes being damaged."""
    return next((code for code in _REFUSALS if os.strerror(code) in text), None)


def translate(error: Exception, path: Path) -> VSearchError:
    """The binding raises plain Exception with RocksDB's status as text; this tells the kinds apart."""
    text = " ".join(str(error).split())
    code = refusal(text)  # also for OSError: that of the binding has no errno
    if "While lock file" in text or "lock hold by current process" in text:
        return Locked(f"database {path} is open for writing elsewhere", "Close it there, or open with read_only=True")
    if code is not None:
        return DurabilityError(f"database {path} cannot be used: {text}", files.hint_for(code))
    return Corruption(f"database {path} is damaged: {text}", "Restore the directory from a backup")


class Borrowed(Protocol):
    """What holds on to RocksDB between calls: a cursor, a snapshot."""

    def drop(self) -> None:
        """Lets go of RocksDB."""
        ...


class Calls:
    """Counts the calls inside RocksDB, so that closing waits for them; turns RocksDB's errors in them into ours."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._changed = threading.Condition(threading.Lock())
        self._inside = 0
        self._lent: weakref.WeakSet[Borrowed] = weakref.WeakSet()
        self.shut = False

    def __enter__(self) -> None:
        with self._changed:
            self.check()
            self._inside += 1

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: object) -> None:
        with self._changed:
            self._inside -= 1
            if self.shut and not self._inside:
                self._changed.notify_all()
        if kind is Exception and isinstance(error, Exception):  # exactly that class: it comes from the binding
            raise translate(error, self._path) from error

    def lend(self, handle: Borrowed) -> None:
        """Notes an object that keeps RocksDB alive after its call; it is dropped when closing, whoever still has it."""
        with self._changed:
            self._lent.add(handle)

    def check(self) -> None:
        """Raises Closed once closing has begun."""
        if self.shut:
            raise Closed(f"database {self._path} is closed", "Open it again")

    def finish(self) -> bool:
        """Lets nobody in any more, waits until all have left and drops what was lent. False when done before."""
        with self._changed:
            first = not self.shut
            self.shut = True
            while self._inside:
                self._changed.wait()
            for handle in list(self._lent):
                handle.drop()
        return first
