"""Named points in the code at which a test can make the process die or the operating system refuse.

1. Code that changes what is on disk calls `reach(NAME)` before and after each step that orders bytes.
2. Unless VSEARCH_FAILPOINTS was set when the process started, `reach` returns at once.
3. Set, it holds `name=action` or `name=action:n`, several separated by commas. Without n the action is taken every time
   the point is reached, with n only the nth time. Actions: `kill` sends this process SIGKILL, `error` raises
   OSError(EIO) and `enospc` raises OSError(ENOSPC).

Every name is a constant below, so that tests can visit them all; an unknown name is an error, not a silent no-op.
"""

from __future__ import annotations

import errno
import os
import signal
import threading
from dataclasses import dataclass
from typing import Final

from vsearch.errors import InvalidArgument

VARIABLE: Final = "VSEARCH_FAILPOINTS"

# storage/files.py: every write, fsync, rename and directory sync of ours passes through these.
FILE_WRITE: Final = "file.write"
FILE_SYNC_BEFORE: Final = "file.sync.before"
FILE_SYNC_AFTER: Final = "file.sync.after"
RENAME_BEFORE: Final = "rename.before"
RENAME_AFTER: Final = "rename.after"
DIRECTORY_SYNC_BEFORE: Final = "directory.sync.before"
DIRECTORY_SYNC_AFTER: Final = "directory.sync.after"
REMOVE_BEFORE: Final = "remove.before"
REMOVE_AFTER: Final = "remove.after"

# storage/rocks.py: a commit is written to the log, then the log is synced.
COMMIT_BEFORE: Final = "commit.before"
COMMIT_WRITTEN: Final = "commit.written"
COMMIT_AFTER: Final = "commit.after"

# storage/manifest.py: around the place where a manifest enters a batch.
MANIFEST_PUT_BEFORE: Final = "manifest.put.before"
MANIFEST_PUT_AFTER: Final = "manifest.put.after"

# storage/segments.py: around whole operations, to tell them apart from the file steps inside them.
SEGMENT_PUBLISH_BEFORE: Final = "segment.publish.before"
SEGMENT_PUBLISH_AFTER: Final = "segment.publish.after"
SEGMENT_ADD_FILE_BEFORE: Final = "segment.add_file.before"
SEGMENT_ADD_FILE_AFTER: Final = "segment.add_file.after"

# vsearch/snapshots.py: around the steps that decide what a crash leaves.
SNAPSHOT_CUT: Final = "snapshot.cut"
SNAPSHOT_PACKED: Final = "snapshot.packed"
RESTORE_UNPACKED: Final = "restore.unpacked"
RESTORE_COPIED: Final = "restore.copied"

_NAMES: Final = frozenset(
    value for name, value in list(globals().items()) if name.isupper() and isinstance(value, str) and name != "VARIABLE"
)
_ACTIONS: Final = ("kill", "error", "enospc")


@dataclass(slots=True)
class _Armed:
    action: str
    at: int  # the visit that acts; 0 for every visit
    visits: int = 0


_armed: dict[str, _Armed] = {}
_lock = threading.Lock()


def names() -> list[str]:
    """Every declared name, sorted."""
    return sorted(_NAMES)


def arm(specification: str) -> None:
    """Replaces what is armed in this process by `specification` (see the module's docstring); empty disarms all.

    Raises InvalidArgument for an unknown name or action.
    """
    armed: dict[str, _Armed] = {}
    for entry in filter(None, (part.strip() for part in specification.split(","))):
        name, _, rest = entry.partition("=")
        action, _, count = rest.partition(":")
        if name not in _NAMES:
            raise InvalidArgument(f"unknown failpoint {name!r}", f"Known are: {', '.join(names())}")
        if action not in _ACTIONS or (count and not count.isdecimal()):
            raise InvalidArgument(f"failpoint {entry!r} cannot be read", "Write name=kill, error or enospc, then :n")
        armed[name] = _Armed(action, int(count or 0))
    with _lock:
        _armed.clear()
        _armed.update(armed)


def reach(name: str) -> None:
    """Marks a point that a test can fail at; does nothing unless that point is armed."""
    if _armed:
        _act(name)


def _act(name: str) -> None:
    assert name in _NAMES, f"bug: failpoint {name} is not declared"
    with _lock:
        point = _armed.get(name)
        if point is None:
            return
        point.visits += 1
        if point.at not in (0, point.visits):
            return
    if point.action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    code = errno.EIO if point.action == "error" else errno.ENOSPC
    raise OSError(code, f"{os.strerror(code)} (failpoint {name})")


arm(os.environ.get(VARIABLE, ""))
