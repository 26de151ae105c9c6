"""Vectors on their way in: checked, normalised, in the stored type.

The sums of squares of all rows decide almost every batch at once: where they are neither zero, nor huge, nor NaN, every
component is finite and within bounds. Only otherwise is it worth looking for what is wrong.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vsearch.errors import DimensionMismatch, InvalidArgument
from vsearch.types import MAX_COMPONENT, Dense, FloatArray

TINY: Final = 1e-30  # a sum of squares below this may have lost digits to underflow


def checked_query(name: str, field: Dense, query: ArrayLike) -> FloatArray:
    """Queries as float32 [nq, d], finite, normalised under cosine. A single vector becomes a batch of one."""
    matrix = _float32(f"query for field {name!r}", query)
    if matrix.ndim == 1:
        matrix = matrix[None, :]
    if matrix.ndim != 2 or matrix.shape[1] != field.dim:
        shape = matrix.shape[-1] if matrix.ndim <= 2 else matrix.shape
        raise DimensionMismatch(
            f"a query of dimension {shape} for field {name!r}", f"The field has dimension {field.dim}"
        )
    return _ready(f"query for field {name!r}", field, matrix, None)


def stored_vectors(name: str, field: Dense, values: Any, n: int) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """[n, d] in the stored dtype and bool [n], which rows are present; rows given as None are absent and zero.

    Raises InvalidArgument or DimensionMismatch, naming the first row that is wrong.
    """
    present = np.ones(n, np.bool_)
    what = f"vectors of field {name!r}"
    if isinstance(values, list | tuple) and any(row is None for row in values):
        if len(values) != n:
            raise InvalidArgument(f"{len(values)} {what} for {n} ids", "Give one vector, or None, for each id")
        present = np.array([row is not None for row in values], np.bool_)
        matrix = np.zeros((n, field.dim), np.float32)
        rest = [row for row in values if row is not None]
        if rest:
            found = _float32(what, rest)
            if found.ndim != 2 or found.shape[1] != field.dim:
                raise DimensionMismatch(
                    f"{what} of dimension {found.shape[-1]}", f"The field has dimension {field.dim}"
                )
            matrix[present] = found
    else:
        matrix = _float32(what, values)
        if n == 0 and matrix.size == 0:
            matrix = matrix.reshape(0, field.dim)
        if matrix.ndim != 2 or matrix.shape[0] != n:
            raise InvalidArgument(
                f"{what} have shape {matrix.shape} for {n} ids", f"Use an array of shape [{n}, {field.dim}]"
            )
        if matrix.shape[1] != field.dim:
            raise DimensionMismatch(f"{what} have dimension {matrix.shape[1]}", f"The field has dimension {field.dim}")
    ready = _ready(what, field, matrix, present)
    if field.dtype == "int8" and not ((ready == np.rint(ready)) & (ready >= -128) & (ready <= 127)).all():
        raise InvalidArgument(f"{what} are not all whole numbers from -128 to 127", "Scale and round them")
    stored = ready.astype(field.dtype, copy=False)
    if field.dtype == "float16" and not np.isfinite(stored).all():
        raise InvalidArgument(f"{what} hold values above 65,504", "Scale them, or use dtype='float32'")
    return np.ascontiguousarray(stored), present


def as_array(what: str, values: ArrayLike) -> NDArray[Any]:
    """What a caller gave as one array. Raises DimensionMismatch for rows of different lengths."""
    try:
        return np.asarray(values)
    except ValueError as error:
        rows = [len(row) for row in values if np.iterable(row)]  # type: ignore[union-attr, arg-type]
        lengths = ", ".join(map(str, sorted(set(rows))[:5]))
        message = f"{what} have different lengths: {lengths}"
        raise DimensionMismatch(message, "Give every vector the same dimension") from error


def _float32(what: str, values: ArrayLike) -> FloatArray:
    """A float32 copy, since the caller may go on to change its array. Too large a number becomes infinity."""
    array = as_array(what, values)
    if array.dtype.kind not in "fiu":
        raise InvalidArgument(f"{what} are of type {array.dtype}", "Use numbers: a list of floats, or a numpy array")
    with np.errstate(over="ignore"):
        return array.astype(np.float32)


def _ready(what: str, field: Dense, matrix: FloatArray, present: NDArray[np.bool_] | None) -> FloatArray:
    """The matrix, checked, contiguous, and normalised under cosine."""
    cosine = field.metric == "cosine"
    with np.errstate(over="ignore", invalid="ignore"):
        squares = (matrix * matrix).sum(axis=1)
    least = TINY if cosine else 0.0
    if not ((squares >= least) & (squares <= MAX_COMPONENT**2)).all():
        squares = _looked_at(what, field, matrix, present)
    if not cosine:
        return np.ascontiguousarray(matrix)
    unit: FloatArray = matrix / np.sqrt(squares)[:, None]
    return unit.astype(np.float32, copy=False)


def _looked_at(what: str, field: Dense, matrix: FloatArray, present: NDArray[np.bool_] | None) -> NDArray[np.float64]:
    """Sums of squares in float64, 1 where a row is absent. Raises for the first row that is wrong."""
    finite = np.isfinite(matrix).all(axis=1)
    if not finite.all():
        row = int(np.flatnonzero(~finite)[0])
        raise InvalidArgument(f"{what}: row {row} holds NaN or infinity", "Remove or replace it")
    if field.metric != "cosine" and float(np.abs(matrix).max()) > MAX_COMPONENT:
        raise InvalidArgument(f"{what} hold a component above {MAX_COMPONENT:g}", "Scale the vectors")
    squares: NDArray[np.float64] = np.einsum("ij,ij->i", matrix, matrix, dtype=np.float64)
    if present is not None:
        squares[~present] = 1.0
    if field.metric == "cosine" and not squares.all():
        row = int(np.flatnonzero(squares == 0.0)[0])
        raise InvalidArgument(
            f"{what}: row {row} is zero, which has no direction under cosine", "Leave it out, or use metric='dot'"
        )
    return squares
