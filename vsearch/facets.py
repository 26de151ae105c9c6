"""Facets: how many points have each value at a payload path.

1. Rows that match are those of any filtered read.
2. Sealed segments have columns: the codes of their values are counted, and only values that occur are looked up.
3. Payloads are read where there are no columns (growing segments), or where columns keep too little (paths with `[n]`
   or a final `[]`).

Values keep their type throughout: a value is (rank of its type, value), for True is not 1.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vsearch import points
from vsearch.errors import InvalidArgument
from vsearch.filters import Node
from vsearch.filters.match import sites_of, values_of
from vsearch.filters.paths import format_path, parse_path
from vsearch.growing import GrowingSegment
from vsearch.hits import FacetValue
from vsearch.points import decode_point
from vsearch.reading import matches
from vsearch.sealed import SealedSegment
from vsearch.state import State
from vsearch.storage import keys
from vsearch.storage.rocks import POINTS
from vsearch.types import Column, ColumnType, Payload
from vsearch.view import Source, View

Value = tuple[int, str | int | bool]  # (rank of the type, value)

KINDS: Final[tuple[ColumnType, ...]] = ("bool", "int", "str")  # by rank
RANKS: Final = {bool: 0, int: 1, str: 2}
READ_POINTS: Final = 1_000  # payloads read from the engine at once


def count(state: State, path: str, node: Node | None, limit: int) -> list[FacetValue]:
    """The most frequent values at a path, of the points alive that satisfy the filter. Raises InvalidArgument."""
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
        raise InvalidArgument(f"limit is {limit!r}", "Use an integer of at least 1")
    steps = parse_path(path)
    in_columns = isinstance(steps[-1], str) and not any(isinstance(step, int) for step in steps)
    view, counts = state.view, Counter[Value]()
    for source, mask in matches(state, view, node, points.now_ms()):
        if in_columns and isinstance(source.segment, SealedSegment):
            columns = source.segment.columns()
            for rank, kind in enumerate(KINDS):
                if (column := columns.get(format_path(steps), kind)) is not None:
                    counts.update(_counted(column, mask, rank))
        else:
            counts.update(_read(_payloads(state, view, source, mask), path))
    best = sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))[:limit]
    return [FacetValue(value, n) for (_, value), n in best]


def _counted(column: Column, mask: NDArray[np.bool_], rank: int) -> dict[Value, int]:
    """Counts of a column's values in the rows of a mask."""
    among = mask[column.rows]
    rows, codes = column.rows[among], column.values[among]
    values: Sequence[str | int | bool] = column.dictionary if column.type == "str" else (False, True)
    if column.type == "int":
        distinct, codes = np.unique(codes, return_inverse=True)
        values = distinct.tolist()
    if (rows[1:] == rows[:-1]).any():  # a row with several values counts for each distinct one of them
        codes = np.unique(rows * len(values) + codes) % len(values)
    numbers = np.bincount(codes)
    return {(rank, values[code]): int(numbers[code]) for code in np.flatnonzero(numbers).tolist()}


def _read(payloads: Iterable[Payload], path: str) -> Iterator[Value]:
    """Each distinct value of each payload."""
    sites = sites_of(path)
    for payload in payloads:
        values = [value for value in values_of(sites(payload)) if type(value) in RANKS]
        yield from {(RANKS[type(value)], value) for value in values}


def _payloads(state: State, view: View, source: Source, mask: NDArray[np.bool_]) -> Iterator[Payload]:
    """Payloads of the rows of a mask."""
    rows = np.flatnonzero(mask)
    for start in range(0, len(rows), READ_POINTS):
        some = rows[start : start + READ_POINTS]
        if isinstance(source.segment, GrowingSegment):
            records: list[bytes | None] = [*source.segment.records_at(some.tolist())]
        else:
            pids = source.segment.pids[some].tolist()
            records = view.stored.get_many(POINTS, [keys.pid_key(state.number, pid) for pid in pids])
        yield from (decode_point(record)[1] or {} for record in records if record is not None)
