"""Searches of several requests made as one.

A handler that searches does not call the collection: it yields a list of `Wanted` and is given the hits of each. So
the handlers of requests that are served together can run side by side, each up to its searches, and those that want the
same of the same collection become one batch, whose kernel uses all cores and whose bookkeeping is paid once.
"""

from __future__ import annotations

from collections.abc import Generator, Hashable, Sequence
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from typing import Any, Final, Generic, TypeVar

import numpy as np

from vsearch.collection import Collection
from vsearch.filters import Node
from vsearch.hits import Hits
from vsearch.types import SearchParams, SparseRows

T = TypeVar("T")

MAX_QUERIES: Final = 1_000  # of one batch: results of all are held together


@dataclass(frozen=True, slots=True, eq=False)
class Wanted:
    """The arguments of `search_batch`; `queries`: [nq, d], SparseRows, a list of strings, or what else it takes."""

    docs: Collection
    queries: Any
    field: str | None
    limit: int
    offset: int
    filter: Node | None
    params: SearchParams | None
    score_threshold: float | None
    with_payload: bool
    with_vectors: bool

    @property
    def kind(self) -> Hashable:
        """Equal for searches that can be one."""
        return (
            self.docs, self.field, self.limit, self.offset, self.filter, self.params, self.score_threshold,
            self.with_payload, self.with_vectors,
        )  # fmt: skip

    def search(self, queries: Any) -> list[Hits]:
        return self.docs.search_batch(
            queries, self.field, self.limit, self.offset, self.filter, self.params, self.score_threshold,
            self.with_payload, self.with_vectors,
        )  # fmt: skip


Found = list[list[Hits]]  # for each Wanted the hits of each of its queries
Steps = Generator[list[Wanted], Found, T]  # a handler at work


@dataclass(slots=True)
class Task(Generic[T]):
    """Steps on their way: what they want now, or what came of them."""

    steps: Steps[T]
    wanted: list[Wanted] = dataclass_field(default_factory=list)
    done: bool = False
    result: T | None = None
    error: Exception | None = None

    def advance(self, found: Found | Exception | None) -> None:
        """Let the steps go on with what was found, or with the error; None at the start."""
        try:
            if isinstance(found, Exception):
                self.wanted = self.steps.throw(found)
            else:
                self.wanted = next(self.steps) if found is None else self.steps.send(found)
        except StopIteration as end:
            self.done, self.result = True, end.value
        except Exception as error:
            self.done, self.error = True, error

    def get(self) -> T:
        """The result. Raises what the steps raised."""
        if self.error is not None:
            raise self.error
        return self.result  # type: ignore[return-value]  # there is no error, so there is a result


def finish(steps: Steps[T]) -> T:
    """The result of steps that run alone. Raises what they raise."""
    task = Task(steps)
    together([task])
    return task.get()


def together(tasks: Sequence[Task[Any]]) -> None:
    """Run tasks side by side until all are done."""
    for task in tasks:
        task.advance(None)
    while waiting := [task for task in tasks if not task.done]:
        found = iter(_searched([wanted for task in waiting for wanted in task.wanted]))
        for task in waiting:
            mine = [next(found) for _ in task.wanted]
            error = next((one for one in mine if isinstance(one, Exception)), None)
            task.advance(error if error is not None else [one for one in mine if not isinstance(one, Exception)])


def _searched(asked: Sequence[Wanted]) -> list[list[Hits] | Exception]:
    """The hits of each, or the error; those of one kind in one batch."""
    kinds: dict[Hashable, list[int]] = {}
    for number, wanted in enumerate(asked):
        kinds.setdefault(wanted.kind, []).append(number)
    found: list[list[Hits] | Exception] = [[] for _ in asked]
    for numbers in kinds.values():
        same = [asked[number] for number in numbers]
        hits = (_batched(same) if len(same) > 1 else None) or [_alone(wanted) for wanted in same]
        for number, part in zip(numbers, hits, strict=True):
            found[number] = part
    return found


def _alone(wanted: Wanted) -> list[Hits] | Exception:
    try:
        return wanted.search(wanted.queries)
    except Exception as error:
        return error


def _batched(same: Sequence[Wanted]) -> Sequence[list[Hits] | Exception] | None:
    """The hits of each; None when there is something wrong, so that each is searched alone and only that one fails."""
    try:
        queries = _joined([wanted.queries for wanted in same])
        if queries is None or len(queries) > MAX_QUERIES:
            return None
        hits = iter(same[0].search(queries))
    except Exception:
        return None
    return [[next(hits) for _ in range(len(wanted.queries))] for wanted in same]


def _joined(parts: Sequence[Any]) -> Any:
    """The queries of several searches as those of one; None where that might not be the same."""
    if all(isinstance(part, SparseRows) for part in parts):
        return _joined_rows(parts)
    if any(isinstance(part, SparseRows) for part in parts):
        return None
    if all(isinstance(query, str) for part in parts for query in part):
        return [query for part in parts for query in part]
    arrays = [np.asarray(part) for part in parts]
    width = arrays[0].shape[-1:]
    good = all(one.ndim == 2 and one.shape[1:] == width and one.dtype.kind in "fiu" for one in arrays)
    return np.concatenate(arrays) if good else None


def _joined_rows(parts: Sequence[SparseRows]) -> SparseRows | None:
    if any((part.weights < 0).any() for part in parts):  # they would make all searches exact
        return None
    ends = np.cumsum([0, *(len(part.numbers) for part in parts)])
    offsets = [part.offsets[1:] + end for part, end in zip(parts, ends[:-1], strict=True)]
    return SparseRows(
        np.concatenate([np.zeros(1, np.int64), *offsets]),
        np.concatenate([part.numbers for part in parts]),
        np.concatenate([part.weights for part in parts]),
    )
