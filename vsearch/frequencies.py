"""In how many points a term is, over a whole collection and always exactly: what weighs the terms of a query.

    idf(t) = ln(1 + (N - df + 0.5) / (df + 0.5))

with N the live points that have the field and df those of them in which t is (Robertson and Zaragoza 2009, Foundations
and Trends in Information Retrieval 3(4); the 1 keeps it above 0, as Lucene has it).

1. Each segment counts, for each term, the rows that have it: a sealed one once, over its dictionary; a growing one as
   rows come, in sorted runs that are merged as they grow, since it has no dictionary.
2. The counts remember for which live rows they are. A query brings those of its view; what differs, because rows have
   died since, is counted away row by row. So a query after a delete costs what was deleted, not a pass over all.

A point that has expired counts until it is removed.
"""

from __future__ import annotations

import threading
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from vsearch.fields.base import Queries
from vsearch.fields.text import TextRows
from vsearch.types import Field, IntArray, Sparse, SparseRows, Text, TextQueries
from vsearch.view import View

PIECE: Final = 1 << 20  # numbers counted at once


class Totals(NamedTuple):
    """`with_term`: how many rows have each term asked for, int64 [m]; `rows` that have the field; `words` in them."""

    with_term: IntArray
    rows: int
    words: float


class Counts(Protocol):
    """Rows by term."""

    def add(self, rows: SparseRows, sign: int) -> None: ...
    def of(self, terms: NDArray[Any]) -> IntArray: ...


class TermCounts:
    """The counts of one field of one segment, for the live rows that were asked for last. Safe to use from threads."""

    def __init__(self, counts: Counts, capacity: int) -> None:
        self._lock = threading.Lock()
        self._counts = counts
        self._live = np.zeros(capacity, np.bool_)
        self._seen: NDArray[np.bool_] | None = None  # that of the view that was asked for last
        self._counted = self._rows = 0
        self._words = 0.0

    @classmethod
    def over(cls, rows: SparseRows, present: NDArray[np.bool_] | None) -> TermCounts:
        """Of all rows of a sealed segment."""
        assert rows.terms is not None, "bug: a sealed segment has a dictionary"
        counts = cls(_ByNumber(rows.terms), len(rows))
        counts.put(rows, present, 0)
        return counts

    @classmethod
    def growing(cls, capacity: int) -> TermCounts:
        """Of rows that are to come."""
        return cls(_Runs(), capacity)

    def put(self, rows: SparseRows, present: NDArray[np.bool_] | None, at: int) -> None:
        """Count these rows, which are the numbers `at` and on. All before them have been put."""
        with self._lock:
            self._count(rows, present, 1)
            self._live[at : at + len(rows)] = True
            self._counted = at + len(rows)

    def at(
        self, live: NDArray[np.bool_], rows: SparseRows, present: NDArray[np.bool_] | None, terms: NDArray[Any]
    ) -> Totals:
        """Totals over the rows that are live in a view; `rows` and `present` of all that it shows."""
        with self._lock:
            if live is not self._seen:
                shown = min(len(live), self._counted)
                changed = _differing(self._live[:shown], live[:shown])
                for sign, which in ((-1, self._live[changed]), (1, live[changed])):
                    ordinals = changed[which]
                    if len(ordinals):
                        self._count(rows[ordinals], None if present is None else present[ordinals], sign)
                self._live[changed] = live[changed]
                self._seen = live
            return Totals(self._counts.of(terms), self._rows, self._words)

    def _count(self, rows: SparseRows, present: NDArray[np.bool_] | None, sign: int) -> None:
        self._counts.add(rows, sign)
        self._rows += sign * (len(rows) if present is None else int(np.count_nonzero(present)))
        self._words += sign * float(rows.weights.sum(dtype=np.float64))


class _ByNumber:
    """Counts over a dictionary."""

    def __init__(self, terms: NDArray[Any]) -> None:
        self._terms = terms
        self._counts = np.zeros(len(terms), np.int64)

    def add(self, rows: SparseRows, sign: int) -> None:
        for start in range(0, len(rows.numbers), PIECE):
            piece = rows.numbers[start : start + PIECE]
            if len(piece) * 8 < len(self._counts):
                np.add.at(self._counts, piece, sign)
            else:
                self._counts += sign * np.bincount(piece, minlength=len(self._counts))

    def of(self, terms: NDArray[Any]) -> IntArray:
        return _found(self._terms, self._counts, terms)


class _Runs:
    """Counts of terms in sorted runs, each less than half as long as the one before; a term's is their sum."""

    def __init__(self) -> None:
        self._runs: list[tuple[NDArray[Any], IntArray]] = []

    def add(self, rows: SparseRows, sign: int) -> None:
        if not len(rows.numbers):
            return
        terms, counts = np.unique(rows.numbers, return_counts=True)
        counts = counts.astype(np.int64) * sign
        while self._runs and len(self._runs[-1][0]) < 2 * len(terms):
            old_terms, old_counts = self._runs.pop()
            terms, where = np.unique(np.concatenate([old_terms, terms]), return_inverse=True)
            both = np.zeros(len(terms), np.int64)
            np.add.at(both, where, np.concatenate([old_counts, counts]))
            counts = both
        self._runs.append((terms, counts))

    def of(self, terms: NDArray[Any]) -> IntArray:
        total = np.zeros(len(terms), np.int64)
        for known, counts in self._runs:
            total += _found(known, counts, terms)
        return total


def _differing(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> IntArray:
    """Where two arrays of bytes differ, compared eight at a time."""
    whole = len(a) & ~7
    words = np.flatnonzero(a[:whole].view(np.uint64) != b[:whole].view(np.uint64))
    near = np.concatenate([(8 * words[:, None] + np.arange(8)).ravel(), np.arange(whole, len(a))])
    changed: IntArray = near[a[near] != b[near]]
    return changed


def _found(known: NDArray[Any], counts: IntArray, terms: NDArray[Any]) -> IntArray:
    """The count of each term, 0 for those that are not among the known, which ascend."""
    if not len(known):
        return np.zeros(len(terms), np.int64)
    at = np.minimum(np.searchsorted(known, terms), len(known) - 1)
    return np.where(known[at] == terms, counts[at], 0)


def weighs_terms(field: Field) -> bool:
    """Whether queries of the field are weighed by how many points have their terms."""
    return isinstance(field, Text) or (isinstance(field, Sparse) and field.modifier == "idf")


def words_of(rows: Any) -> SparseRows:
    """The sparse rows of a column of sparse vectors or of texts."""
    return rows.words if isinstance(rows, TextRows) else rows


def weighed(view: View, name: str, field: Field, queries: Queries) -> Queries:
    """The queries as an index takes them, weighed by what the view shows where the field wants that."""
    if not weighs_terms(field):
        return queries
    one = len(queries) == 1  # its terms are distinct and ascend
    terms, where = (queries.numbers, slice(None)) if one else np.unique(queries.numbers, return_inverse=True)
    with_term, rows, words = np.zeros(len(terms), np.int64), 0, 0.0
    for source in view.sources:
        if source.rows:
            column = words_of(source.segment.vectors(name))
            present = source.segment.present(name, source.rows)
            found = source.segment.term_counts(name).at(source.live, column, present, terms)
            with_term, rows, words = with_term + found.with_term, rows + found.rows, words + found.words
    idf = np.log1p((rows - with_term + 0.5) / (with_term + 0.5))
    weights = (queries.weights * idf[where]).astype(np.float32)
    ready = SparseRows(queries.offsets, queries.numbers, weights)
    return TextQueries(ready, words / rows if words else 1.0) if isinstance(field, Text) else ready
