"""What is seen to before rows, queries and buffers reach the kernels of the inverted index, which check nothing.

1. Rows and queries come from the database, which has checked them; what could lead a kernel outside of its arrays is
   refused here all the same, since files may be damaged.
2. Buffers are mapped from files. Whether their lengths fit each other, and whether positions lie within the arrays that
   they are of, is checked when a reader is made, by a pass over each array of positions. The two largest are not read:
   the working memory of a search has room for whatever 12 bits of an entry, or 16 bits of a group, may say.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vsearch.errors import InvalidArgument
from vsearch.types import MAX_KNN, MAX_TERMS, MAX_WEIGHT, FloatArray, SparseRows

from .base import Buffers
from .forward import GROUP, GROUP_BYTES
from .inverted_blocks import directory_sizes
from .jit import read_only
from .sparse_flat import columns
from .sparse_scan import Queries

VERSION: Final = 1
DTYPES: Final = {  # of the buffers, and their dimensions
    "terms": ("uint32 uint64", 1),
    "groups": ("uint8 uint16 uint32", 1),
    "group_starts": ("uint32", 1),
    "ordinals": ("uint32", 1),
    "block_starts": ("int64", 1),
    "row_starts": ("int64", 1),
    "rows": ("uint32", 1),
    "steps": ("float32", 1),
    "entry_starts": ("int64", 1),
    "entries": ("uint32", 1),
    "directory_starts": ("int64", 1),
    "directory": ("uint32", 1),
    "neighbours": ("uint32", 2),
    "scale": ("float32", 1),
    "calibration": ("float32", 2),
    "made": ("int64", 1),
}
MAX_STEP: Final = 300.0  # of a summary's codes, in stored whole numbers: a 255th of 16 bits, and some
HIGHEST: Final = np.float32(MAX_WEIGHT).view(np.uint32)  # as bits, what is negative, infinite or NaN is more


def check_rows(rows: SparseRows) -> SparseRows:
    """The rows as read-only arrays, with a dictionary of their terms and weights in float32. Raises InvalidArgument for
    arrays that do not belong together, and for weights out of range."""
    columns(rows)
    offsets, numbers, terms = rows.offsets, rows.numbers, rows.terms
    weights = rows.weights.astype(np.float32, copy=False)
    if terms is None:
        terms, numbers = np.unique(numbers, return_inverse=True)
        numbers = numbers.astype(np.uint16 if len(terms) <= 1 << 16 else np.uint32)
    lengths = np.diff(offsets)
    if (lengths < 0).any() or (lengths > MAX_TERMS).any() or (numbers >= len(terms)).any():
        raise InvalidArgument("the arrays of sparse rows do not belong together", f"At most {MAX_TERMS:,} terms a row")
    if not (weights.min(initial=1.0) > 0.0 and weights.max(initial=1.0) <= MAX_WEIGHT):  # NaN is neither
        raise InvalidArgument("a weight of a row is out of range", f"Weights are above 0 and at most {MAX_WEIGHT:g}")
    return SparseRows(read_only(offsets), read_only(numbers), read_only(weights), terms)


def searchable(queries: Queries) -> FloatArray:
    """The weights of queries, all 0 in one that has a weight below 0 or out of range: it finds nothing, and is searched
    exactly then."""
    bits = queries.weights.view(np.uint32)
    if bits.max(initial=0) <= HIGHEST:
        return queries.weights
    query = np.repeat(np.arange(len(queries.offsets) - 1), np.diff(queries.offsets))
    refused = np.bincount(query[bits > HIGHEST], minlength=len(queries.offsets)) > 0
    weights: FloatArray = np.where(refused[query], np.float32(0.0), queries.weights)
    return weights


def check_buffers(arrays: Buffers, n: int) -> None:
    """Raises InvalidArgument unless these are the buffers of an index of n rows, with which no search leaves them."""
    if not (_typed(arrays) and _set(arrays, n) and _laid_out(arrays, n) and _within(arrays, n)):
        raise InvalidArgument(f"the index is damaged, or not of these {n} rows", "Build it anew")


def _typed(arrays: Buffers) -> bool:
    """Whether all are there, of the right dtypes."""
    return arrays.keys() == DTYPES.keys() and all(
        arrays[name].dtype.name in dtypes.split() and arrays[name].ndim == dimensions
        for name, (dtypes, dimensions) in DTYPES.items()
    )


def _set(arrays: Buffers, n: int) -> bool:
    """Whether the settings are those of such an index."""
    made, scale, calibration = arrays["made"].tolist(), arrays["scale"], arrays["calibration"]
    return bool(
        (len(made) == 3 and made[:2] == [VERSION, n])
        and (scale.shape == (1,) and 0.0 < scale[0] < np.inf)
        and (calibration.shape[1] == 4 and np.isfinite(calibration).all())
        and (calibration[:, 2] >= 0).all()
        and (calibration[:, 2] <= MAX_KNN).all()
    )


def _laid_out(arrays: Buffers, n: int) -> bool:
    """Whether the arrays have the lengths that they say each other should have."""
    terms, blocks, groups = len(arrays["terms"]), len(arrays["steps"]), arrays["groups"]
    size = GROUP_BYTES[groups.dtype]

    def divides(name: str, runs: int, length: int) -> bool:
        starts = arrays[name]
        ends = len(starts) == runs + 1 and starts[0] == 0 and starts[-1] == length
        return bool(ends and (starts[1:] >= starts[:-1]).all())

    if not (
        len(arrays["ordinals"]) == len(arrays["neighbours"]) == n
        and (groups.nbytes % size == 0 and divides("group_starts", 2 * n, groups.nbytes // size))
        and divides("block_starts", terms, blocks)
        and divides("row_starts", blocks, len(arrays["rows"]))
        and divides("entry_starts", terms, len(arrays["entries"]))
        and divides("directory_starts", terms, len(arrays["directory"]))
    ):
        return False
    entries = np.diff(arrays["entry_starts"])
    return bool(
        ((np.diff(arrays["block_starts"]) > 0) == (entries > 0)).all()
        and (np.diff(arrays["directory_starts"]) == directory_sizes(entries)).all()
    )


def _within(arrays: Buffers, n: int) -> bool:
    """Whether all positions are within the arrays that they are of, and summaries of a size that can be."""
    starts, entries, groups = arrays["directory_starts"], np.diff(arrays["entry_starts"]), arrays["groups"]
    farthest = np.maximum.reduceat(arrays["directory"], starts[:-1][entries > 0]) if entries.any() else entries[:0]

    def below(array: NDArray[Any], end: int) -> bool:
        return array.size == 0 or int(array.max()) < end

    steps, wide = arrays["steps"], groups.dtype == np.uint32
    return bool(
        all(below(arrays[name], n) for name in ("ordinals", "rows", "neighbours"))
        and (farthest <= entries[entries > 0]).all()
        and (steps.min(initial=0.0) >= 0.0 and steps.max(initial=0.0) <= MAX_STEP)
        and (not wide or below(groups.reshape(-1, 3 * GROUP // 2)[:, :GROUP], len(arrays["terms"])))
    )
