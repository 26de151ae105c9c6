"""`check`: verifies that what is stored is whole and agrees with itself.

1. Every file of every segment has the checksum that the manifest records.
2. Every id leads to a version that has a record under the same id and a live row in exactly one segment.
3. Every live row is the newest version of some id.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Final

import numpy as np

from vsearch.errors import VSearchError
from vsearch.points import decode_point
from vsearch.sealed import SealedSegment
from vsearch.state import State
from vsearch.storage import keys
from vsearch.storage.manifest import Manifest
from vsearch.storage.rocks import IDS, POINTS
from vsearch.storage.segments import SegmentStore
from vsearch.view import View

MAX_PROBLEMS: Final = 100  # of one collection: more of them tell nothing new


def check_collection(store: SegmentStore, manifest: Manifest, state_of: Callable[[str], State]) -> list[str]:
    """Problems of one collection, each a line that names what is wrong. Nothing is changed.

    `manifest`: what to check of a collection that cannot be opened.
    """
    problems: list[str] = []
    entries = manifest.segments
    try:
        state = state_of(manifest.name)
    except VSearchError as error:
        problems.append(str(error))
    else:
        with state.turn():  # the ids of the same instant: a scan shows what there was when it began
            view = state.view  # held until the end, so that no file of it is removed meanwhile
            ids = state.engine.scan(IDS, keys.prefix(state.number), keys.prefix_end(state.number))
        entries = tuple(s.segment.entry for s in view.sources if isinstance(s.segment, SealedSegment))
        problems += islice(_disagreements(state, view, ids), MAX_PROBLEMS)
    problems += [problem for entry in entries for problem in store.check(manifest.number, entry)]
    return [f"{manifest.name}: {problem}" for problem in problems]


def _disagreements(state: State, view: View, ids: Iterator[tuple[bytes, bytes]]) -> Iterator[str]:
    prefix = keys.prefix(state.number)
    alive = np.concatenate([np.empty(0, np.int64)] + [s.segment.pids[: s.rows][s.live] for s in view.sources])
    if len(np.unique(alive)) != len(alive):
        yield "a version stands in two segments"
    rows = set(alive.tolist())
    for key, value in ids:
        pid = keys.pid_from_value(value)
        point_id = keys.decode_id(key[len(prefix) :])
        record = view.stored.get(POINTS, keys.pid_key(state.number, pid))
        if record is None:
            yield f"the point {point_id!r} has no record"
        elif decode_point(record)[0] != point_id:
            yield f"the point {point_id!r} has the record of another"
        if pid in rows:
            rows.discard(pid)
        else:
            yield f"the point {point_id!r} has no live row"
    for pid in sorted(rows):
        yield f"the row of version {pid} belongs to no point"
