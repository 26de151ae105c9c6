"""One writer at a time: a lock that the operating system drops when its process ends, however it ends.

The lock is flock on `LOCK.vsearch` in the database's directory, which holds its owner's process id and host name as two
lines. The text only serves the error message; the file is never removed, since two processes could then each lock a
file of that name. A child made by fork gives up its inherited copy, or the lock would outlive its owner.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import weakref
from pathlib import Path

from vsearch.errors import DurabilityError, Locked

from . import files, stamp

_held: weakref.WeakSet[DirectoryLock] = weakref.WeakSet()


class DirectoryLock:
    """The right to write to the database in a directory, for one owner in one process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Takes the lock, creating the directory when it is missing.

        Raises Locked, naming the owner, when another process or another owner in this one has it; NotFound for a
        directory that holds something other than a database; DurabilityError when the directory takes no files.
        """
        if self._descriptor is not None:
            raise self._locked(os.getpid(), "")
        stamp.is_database(self.path)  # before a file of ours is put into somebody else's directory
        files.make_directory(self.path)
        descriptor = files.open_descriptor(self.path / stamp.LOCK_FILE)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n{socket.gethostname()}\n".encode(), 0)
        except OSError as error:
            owner = _owner(descriptor)
            os.close(descriptor)
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                raise self._locked(*owner) from None
            message = f"cannot lock {self.path / stamp.LOCK_FILE}: {error.strerror}"
            raise DurabilityError(message, files.hint_for(error.errno)) from error
        self._descriptor = descriptor
        _held.add(self)

    def release(self) -> None:
        """Gives the lock back; without it nothing happens."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            _held.discard(self)
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # not left to the close: a fork elsewhere may hold a copy
            os.close(descriptor)

    def _locked(self, pid: int | None, host: str) -> Locked:
        if pid is None:
            where = "another process"
        elif host and host != socket.gethostname():
            where = f"process {pid} on {host}"
        else:
            where = f"this process ({pid})" if pid == os.getpid() else f"process {pid}"
        return Locked(f"database {self.path} is open for writing in {where}", "Close it there, or use read_only=True")


def _owner(descriptor: int) -> tuple[int | None, str]:
    """Process id and host that the lock file names; None when they have not been written yet."""
    lines = os.pread(descriptor, 512, 0).decode(errors="replace").split("\n")
    return (int(lines[0]), lines[1]) if len(lines) > 2 and lines[0].isdecimal() else (None, "")


def _drop_in_child() -> None:
    for lock in list(_held):
        if lock._descriptor is not None:
            os.close(lock._descriptor)
            lock._descriptor = None
    _held.clear()


os.register_at_fork(after_in_child=_drop_in_child)
