"""Sparse vectors on their way in: whatever a caller gave, as checked `SparseRows` with the terms themselves.

1. A SciPy CSR matrix (or array), a list of {term: weight}, (indices, values) and None, or SparseRows become flat
   arrays: offsets, terms, weights. SciPy is never imported: what has `indptr`, `indices` and `data` is such a matrix.
2. Repeated terms are summed and terms put in order, where they are not so already.
3. All weights are checked together; a row is looked for only when one is wrong. Weights of zero are dropped.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vsearch.errors import InvalidArgument, LimitExceeded
from vsearch.fields.ragged import offsets_of
from vsearch.types import MAX_TERM, MAX_TERMS, MAX_WEIGHT, IntArray, SparseRows

FORMS: Final = "Give {term: weight}, (indices, values) or a row of a SciPy CSR matrix"
MANY_FORMS: Final = "Give a SciPy CSR matrix, or a list of {term: weight}, (indices, values) and None"
FEW_TERMS: Final = 256  # of a query that is looked at term by term
TINY_WEIGHT: Final = 1e-37  # what is smaller may be zero as float32


class Flat(NamedTuple):
    """Rows as given: terms int64 that may repeat, weights float32 or float64, and which rows are not None."""

    offsets: IntArray
    terms: IntArray
    weights: NDArray[Any]
    present: NDArray[np.bool_]


def is_matrix(value: Any) -> bool:
    """Whether it is a sparse matrix that keeps its rows or columns together."""
    return all(hasattr(value, name) for name in ("indptr", "indices", "data"))


def stored_sparse(what: str, values: Any, n: int, dtype: str) -> tuple[SparseRows, NDArray[np.bool_]]:
    """n rows of points with weights of that dtype, and bool [n], which are present.

    Raises InvalidArgument or LimitExceeded, naming the first row that is wrong.
    """
    flat = _flat(what, values)
    if len(flat.present) != n:
        raise InvalidArgument(f"{len(flat.present)} {what} for {n} ids", "Give one, or None, for each id")
    return _checked(what, flat, np.dtype(dtype), signed=False), flat.present


def sparse_queries(what: str, values: Any) -> SparseRows:
    """Queries, whose weights may be negative. Raises InvalidArgument or LimitExceeded."""
    if type(values) is list and len(values) == 1 and (plain := _plain(values[0])) is not None:
        return plain
    flat = _flat(what, values)
    if not flat.present.all():
        raise InvalidArgument(f"{what}: row {int(np.argmin(flat.present))} is None", FORMS)
    return _checked(what, flat, np.dtype(np.float32), signed=True)


def _plain(value: Any) -> SparseRows | None:
    """One query of few distinct terms with which all is well, in a quarter of the time; None for any other."""
    if type(value) is dict:
        terms, weights = list(value), list(value.values())
    elif type(value) is tuple and len(value) == 2 and type(value[0]) is type(value[1]) is np.ndarray:
        terms, weights = value[0].tolist(), value[1].tolist()
    else:
        return None
    if not 0 < len(terms) == len(weights) <= FEW_TERMS:
        return None
    if {*map(type, terms)} != {int} or {*map(type, weights)} != {float}:
        return None
    good = 0 <= min(terms) <= max(terms) <= MAX_TERM and all(TINY_WEIGHT < abs(w) <= MAX_WEIGHT for w in weights)
    if not good or len({*terms}) < len(terms):
        return None
    order = sorted(range(len(terms)), key=terms.__getitem__)
    numbers = np.array([terms[i] for i in order], np.uint32)
    return SparseRows(np.array([0, len(order)]), numbers, np.array([weights[i] for i in order], np.float32))


def _flat(what: str, values: Any) -> Flat:
    if isinstance(values, SparseRows):
        every = np.ones(len(values), np.bool_)
        return Flat(values.offsets, _terms(what, 0, values.term_values()), _weights(what, 0, values.weights), every)
    if is_matrix(values):
        return _matrix(what, values)
    if not isinstance(values, list | tuple):
        raise InvalidArgument(f"{what} are a {type(values).__name__}", MANY_FORMS)
    none = (np.empty(0, np.int64), np.empty(0, np.float32))
    rows = [none if value is None else _row(what, row, value) for row, value in enumerate(values)] or [none]
    offsets = offsets_of([len(terms) for terms, _ in rows][: len(values)])
    present = np.array([value is not None for value in values], np.bool_)
    return Flat(offsets, np.concatenate([t for t, _ in rows]), np.concatenate([w for _, w in rows]), present)


def _matrix(what: str, matrix: Any) -> Flat:
    """Of a CSR matrix, whose arrays are not believed."""
    form = getattr(matrix, "format", "csr")
    if form != "csr":
        raise InvalidArgument(f"{what} are a sparse matrix of the format {form}", "Use .tocsr()")
    offsets = _integers(what, 0, np.asarray(matrix.indptr), "indptr").astype(np.int64)
    terms, weights = _terms(what, 0, np.asarray(matrix.indices)), _weights(what, 0, np.asarray(matrix.data))
    if not len(offsets) or offsets[0] != 0 or (offsets[1:] < offsets[:-1]).any():
        raise InvalidArgument(f"{what}: indptr does not ascend from 0", "Make the matrix anew")
    if not len(terms) == len(weights) >= offsets[-1]:
        message = f"{what}: {len(terms)} indices and {len(weights)} values for an indptr up to {offsets[-1]}"
        raise InvalidArgument(message, "Give each index a value")
    end = int(offsets[-1])
    return Flat(offsets, terms[:end], weights[:end], np.ones(len(offsets) - 1, np.bool_))


def _row(what: str, row: int, value: Any) -> tuple[IntArray, NDArray[Any]]:
    """(terms, weights) of one vector."""
    if isinstance(value, Mapping):
        return _terms(what, row, list(value.keys())), _weights(what, row, list(value.values()))
    if is_matrix(value):
        flat = _matrix(f"{what}: row {row}", value)
        if len(flat.present) != 1:
            raise InvalidArgument(f"{what}: row {row} is a matrix of {len(flat.present)} rows", FORMS)
        return flat.terms, flat.weights
    if not is_pair(value):
        raise InvalidArgument(f"{what}: row {row} is a {type(value).__name__} of another form", FORMS)
    terms, weights = _terms(what, row, value[0]), _weights(what, row, value[1])
    if len(terms) != len(weights):
        raise InvalidArgument(f"{what}: row {row} has {len(terms)} indices and {len(weights)} values", FORMS)
    return terms, weights


def is_pair(value: Any) -> bool:
    """Whether it has the form (indices, values)."""
    if not isinstance(value, list | tuple) or len(value) != 2:
        return False
    return all(isinstance(part, list | tuple | np.ndarray) for part in value)


def _terms(what: str, row: int, values: Any) -> IntArray:
    """int64; a number too large for that is still above MAX_TERM."""
    array = _integers(what, row, values, "indices")
    return np.minimum(array, MAX_TERM + 1).astype(np.int64) if array.dtype == np.uint64 else array.astype(np.int64)


def _integers(what: str, row: int, values: Any, name: str) -> NDArray[Any]:
    if not isinstance(values, np.ndarray):
        if any(kind is not int and not issubclass(kind, np.integer) for kind in set(map(type, values))):
            raise InvalidArgument(f"{what}: row {row} has {name} that are not all integers", "Use whole numbers")
        if values and not 0 <= min(values) <= max(values) <= MAX_TERM:
            raise _out_of_range(what, row, min(values) if min(values) < 0 else max(values))
        values = np.array(values, np.int64)
    if values.ndim != 1 or (values.dtype.kind not in "iu" and values.size):
        message = f"{what}: row {row} has {name} of type {values.dtype} in {values.ndim} dimensions"
        raise InvalidArgument(message, "Use a list of whole numbers")
    integers: NDArray[Any] = values if values.size else values.astype(np.int64)
    return integers


def _weights(what: str, row: int, values: Any) -> NDArray[Any]:
    if not isinstance(values, np.ndarray):
        numbers = int | float | np.integer | np.floating
        if any(kind is bool or not issubclass(kind, numbers) for kind in set(map(type, values))):
            raise InvalidArgument(f"{what}: row {row} has weights that are not all numbers", "Use floats")
        try:
            values = np.array(values, np.float64)
        except OverflowError as error:
            raise InvalidArgument(f"{what}: row {row} has a weight beyond every float", "Scale the weights") from error
    if values.ndim != 1 or values.dtype.kind not in "fiu":
        message = f"{what}: row {row} has weights of type {values.dtype} in {values.ndim} dimensions"
        raise InvalidArgument(message, "Use a list of floats")
    small = values.dtype in (np.float16, np.int8, np.uint8, np.int16, np.uint16)
    floats: NDArray[Any] = values.astype(np.float32 if small or values.dtype == np.float32 else np.float64, copy=False)
    return floats


def _out_of_range(what: str, row: int, term: int) -> InvalidArgument:
    return InvalidArgument(f"{what}: row {row} has the term {term}", f"Terms are integers from 0 to {MAX_TERM}")


def _checked(what: str, flat: Flat, dtype: np.dtype[Any], signed: bool) -> SparseRows:
    """The rows with terms ascending and distinct, weights of the dtype, zeros left out."""
    offsets, terms, weights = flat.offsets, flat.terms, flat.weights

    def refuse(wrong: NDArray[np.bool_], problem: str, hint: str) -> None:
        if wrong.any():
            at = int(np.argmax(wrong))
            row = int(np.searchsorted(offsets, at, side="right")) - 1
            raise InvalidArgument(f"{what}: row {row} has {problem} (term {terms[at]})", hint)

    if len(terms):
        wild = (terms < 0) | (terms > MAX_TERM)
        refuse(wild, "a term out of range", f"Terms are integers from 0 to {MAX_TERM}")
        refuse(~np.isfinite(weights), "NaN or infinity as a weight", "Remove or replace it")
        if not signed:
            refuse(weights < 0, "a negative weight", "The index bounds scores by the largest weights: use 0 or more")
        offsets, terms, weights = _distinct(offsets, terms, weights)
        refuse(np.abs(weights) > MAX_WEIGHT, f"a weight above {MAX_WEIGHT:g}", "Scale the weights")
    with np.errstate(over="ignore"):
        stored = weights.astype(dtype)
    refuse(np.isinf(stored), "a weight above 65,504", "Scale the weights, or use dtype='float32'")
    kept = stored != 0
    if not kept.all():
        before = offsets_of(kept)
        offsets, terms, stored = before[offsets], terms[kept], stored[kept]
    lengths = np.diff(offsets)
    if (lengths > MAX_TERMS).any():
        row = int(np.argmax(lengths > MAX_TERMS))
        raise LimitExceeded(f"{what}: row {row} has {lengths[row]:,} terms", f"At most {MAX_TERMS:,}")
    return SparseRows(offsets, terms.astype(np.uint32), stored)


def _distinct(offsets: IntArray, terms: IntArray, weights: NDArray[Any]) -> tuple[IntArray, IntArray, NDArray[Any]]:
    """The same with the terms of each row ascending, repeated ones summed in float64."""
    rising = terms[1:] > terms[:-1]
    starts = offsets[1:-1]
    rising[starts[(starts > 0) & (starts < len(terms))] - 1] = True
    if rising.all():
        return offsets, terms, weights
    rows = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    order = np.lexsort((terms, rows))
    rows, terms = rows[order], terms[order]
    first = np.ones(len(terms), np.bool_)
    first[1:] = (terms[1:] != terms[:-1]) | (rows[1:] != rows[:-1])
    sums = np.add.reduceat(weights[order].astype(np.float64), np.flatnonzero(first))
    return offsets_of(np.bincount(rows[first], minlength=len(offsets) - 1)), terms[first], sums
