"""What the engine needs to know of a kind of field: the protocol that dense.py, sparse.py and text.py keep.

*Rows* are a field's column of some points, in order: dense an array [n, d] of the stored dtype, sparse a
`types.SparseRows`, text a `text.TextRows`. All have a length, `nbytes`, and `rows[ordinals or slice]`; a point that
lacks the field has a blank row, and which have it is kept beside them as bool [n].
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

from vsearch.types import IntArray

if TYPE_CHECKING:
    from vsearch.index.base import Reader

THREADS: Final = os.cpu_count() or 1  # that one batch of queries may use
PIECE_BYTES: Final = 8 << 20  # copied at once when segments are merged

Rows = Any
Queries = Any  # checked: dense float32 [nq, d], sparse and text SparseRows with the terms themselves
Buffers = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Piece:
    """Rows that are copied into a new segment: those at ascending ordinals."""

    rows: Rows
    ordinals: IntArray

    @property
    def whole(self) -> bool:
        return len(self.ordinals) == len(self.rows)


class ArrayWriter(Protocol):
    """A file of named arrays being written, one array after another (storage/arrayfile.py)."""

    def add(self, name: str, array: NDArray[Any]) -> None: ...
    def begin(self, name: str, dtype: DTypeLike, shape: tuple[int, ...]) -> None: ...
    def append(self, name: str, chunk: NDArray[Any]) -> None: ...


class GrowingRows(Protocol):
    """The rows of a growing segment. One thread appends; readers look at rows below a published count.

    `index`: the kind of index that searches them, the kind's exact scan where there is none.
    """

    index: str

    def put(self, rows: Rows, at: int) -> None:
        """Append rows as the numbers `at` and on; all before them have been put."""
        ...

    def first(self, count: int) -> Rows:
        """The first rows, as views."""
        ...

    def reader(self, index: str, count: int) -> Reader:
        """A reader of that kind of index over the first rows."""
        ...

    def memory_bytes(self, count: int) -> int: ...


class Kind(Protocol):
    """One field's ways. Made of the field's settings (types.Dense, Sparse or Text)."""

    @property
    def scan(self) -> str:
        """The kind of index that compares a query with every row, without buffers."""
        ...

    @property
    def metric(self) -> str:
        """As plans show it."""
        ...

    @property
    def row_bytes(self) -> int:
        """Of a row in memory, where all rows have the same; else 0."""
        ...

    def stored(self, name: str, values: Any, n: int) -> tuple[Rows, NDArray[np.bool_]]:
        """n rows of what a caller gave for the field of that name, and which of them are present.

        Raises InvalidArgument, DimensionMismatch or LimitExceeded, naming the first row that is wrong.
        """
        ...

    def single(self, value: Any) -> Any:
        """One point's vector, as a caller gave it, as `values` of one row for `stored`."""
        ...

    def queries(self, name: str, values: Any, single: bool) -> Queries:
        """Checked queries of what a caller gave: a batch, or one alone (`single`). Raises as `stored`."""
        ...

    def blank(self, n: int) -> Rows:
        """Rows of n points that lack the field."""
        ...

    def sizes(self, rows: Rows) -> IntArray | None:
        """Bytes that the rows before each row take together [n + 1]; None where all rows have `row_bytes`."""
        ...

    def assembled(self, n: int, parts: Sequence[tuple[NDArray[Any], Rows]]) -> Rows:
        """n rows of parts, each (positions or bool mask of its rows, rows); of two for one position the later."""
        ...

    def encoded(self, rows: Rows) -> Sequence[bytes | memoryview]:
        """The bytes of each row in the engine's `unsealed` family."""
        ...

    def decoded(self, blobs: Sequence[bytes | None]) -> Rows:
        """Rows of such bytes, blank for None. Raises ValueError for bytes that cannot be."""
        ...

    def growing(self, capacity: int, nbytes: int) -> GrowingRows:
        """Room for so many rows, and for about so many bytes where rows differ in size."""
        ...

    def write(self, file: ArrayWriter, pieces: Sequence[Piece], copied: Callable[[int], None]) -> None:
        """Write the arrays of the pieces' rows, one after another; `copied` is told the bytes of every step."""
        ...

    def opened(self, arrays: Buffers) -> Rows:
        """Rows of the arrays that `write` wrote. Raises ValueError or KeyError when they do not fit together."""
        ...

    def verified(self, rows: Rows) -> None:
        """Read what a kernel would follow blindly. Raises ValueError."""
        ...

    def shown(self, rows: Rows, row: int) -> Any:
        """The vector of a row as reads return it."""
        ...

    def wanted_index(self, rows: int) -> str | None:
        """The kind of index to build for a sealed segment of so many rows, None for none."""
        ...

    def interim_index(self, rows: int) -> str:
        """The kind, made in memory, that searches a sealed segment without an index file; `scan` for none."""
        ...

    @property
    def settings(self) -> dict[str, Any]:
        """What `build` of an index is told."""
        ...

    def reader(self, index: str, rows: Rows, buffers: Buffers) -> Reader:
        """A reader of that kind of index over the rows; without buffers it makes its own."""
        ...
