"""Sparse matrices in `.npz` files, as SciPy's `save_npz` writes them: a table with the columns `id` and `matrix`.

Arrays of the file: indptr, indices, data (or values), perhaps scale, by which all values are multiplied; others are not
looked at. The id of a row is its number. An array is believed to be as large as its header says only if the archive
says so too; pickled objects are refused. Memory: the arrays, whole.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vsearch.errors import InvalidArgument, LimitExceeded
from vsearch.types import FloatArray

ID: Final = "id"
MATRIX: Final = "matrix"
MAX_BYTES: Final = 1 << 33  # of the arrays unpacked; a matrix of more is better cut into several files

Vector = tuple[NDArray[Any], NDArray[Any]]  # indices and values


class NpzBatch:
    """Consecutive rows of the matrix: what `tables.TableBatch` says."""

    def __init__(self, name: str, position: int, vectors: list[Vector]) -> None:
        self.position = position
        self.rows = len(vectors)
        self.column_names = [ID, MATRIX]
        self._name = name
        self._vectors = vectors

    def python(self, name: str) -> list[Any]:
        if name != ID:
            raise self._no_column(name, "values")
        return list(range(self.position - self.rows, self.position))

    def sparse(self, name: str, field: str) -> list[Vector | None]:
        if name != MATRIX:
            raise self._no_column(name, "sparse vectors")
        return [*self._vectors]

    def vectors(self, name: str) -> FloatArray:
        raise self._no_column(name, "dense vectors")

    def optional_vectors(self, name: str) -> FloatArray | list[FloatArray | None]:
        raise self._no_column(name, "dense vectors")

    def likely_vectors(self) -> list[str]:
        return []

    def records(self, names: Sequence[str]) -> list[dict[str, Any]]:
        return [{} for _ in range(self.rows)]

    def _no_column(self, name: str, what: str) -> InvalidArgument:
        return InvalidArgument(f"{self._name} has no column {name!r} of {what}", f"It has {ID} and {MATRIX}")


def count_rows(path: Path, name: str) -> int:
    """Rows of the matrix. Raises InvalidArgument."""
    with _opened(path, name) as archive:
        return max(0, len(_array(archive, name, "indptr")) - 1)


def read(path: Path, name: str, batch_rows: int, start: int) -> Iterator[NpzBatch]:
    """The rows from `start` on. Raises InvalidArgument, LimitExceeded."""
    with _opened(path, name) as archive:
        there = {info.filename.removesuffix(".npy") for info in archive.infolist()}
        if sum(info.file_size for info in archive.infolist()) > MAX_BYTES:
            raise LimitExceeded(f"{name} unpacks to more than {MAX_BYTES:,} bytes", "Cut it into several files")
        if "format" in there and bytes(np.asarray(_array(archive, name, "format")).astype("S").tobytes()) != b"csr":
            raise InvalidArgument(f"{name} holds a sparse matrix of another format than CSR", "Save matrix.tocsr()")
        indptr, indices = _array(archive, name, "indptr"), _array(archive, name, "indices")
        values = _array(archive, name, "data" if "data" in there else "values")
        scale = _array(archive, name, "scale") if "scale" in there else None
    ends = _ends(name, indptr, indices, values)
    if scale is not None and (scale.size != 1 or scale.dtype.kind not in "fiu"):
        raise InvalidArgument(f"{name}: scale is {scale.dtype} of shape {scale.shape}, not one number")
    for first in range(start, len(ends) - 1, batch_rows):
        stop = min(first + batch_rows, len(ends) - 1)
        low, high = int(ends[first]), int(ends[stop])
        weights = values[low:high] if scale is None else values[low:high] * np.float32(scale.item())
        cuts = (ends[first + 1 : stop] - low).tolist()
        yield NpzBatch(name, stop, list(zip(np.split(indices[low:high], cuts), np.split(weights, cuts), strict=True)))


def _ends(name: str, indptr: NDArray[Any], indices: NDArray[Any], values: NDArray[Any]) -> NDArray[np.int64]:
    """Where rows end, checked."""
    kinds = indptr.dtype.kind + indices.dtype.kind
    if not set(kinds) <= set("iu") or values.dtype.kind not in "fiu" or {indptr.ndim, indices.ndim, values.ndim} != {1}:
        kind = f"indptr {indptr.dtype}, indices {indices.dtype}, values {values.dtype}"
        raise InvalidArgument(f"{name}: its arrays are no CSR matrix: {kind}", "Save it with scipy.sparse.save_npz")
    ends = indptr.astype(np.int64)
    whole = len(ends) > 0 and ends[0] == 0 and not (ends[1:] < ends[:-1]).any()
    if not whole or len(indices) != len(values) or ends[-1] > len(values):
        message = f"{name}: indptr does not divide {len(indices)} indices and {len(values)} values into rows"
        raise InvalidArgument(message, "Save it with scipy.sparse.save_npz")
    return ends


def _opened(path: Path, name: str) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise InvalidArgument(f"{name} cannot be read: {error}") from error


def _array(archive: zipfile.ZipFile, name: str, array: str) -> NDArray[Any]:
    """An array of the archive."""
    try:
        info = archive.getinfo(f"{array}.npy")
        with archive.open(info) as file:
            version = np.lib.format.read_magic(file)
            header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, dtype = header(file)
            if dtype.hasobject or int(np.prod(shape, dtype=object)) * dtype.itemsize > info.file_size:
                raise ValueError(f"it is said to have {shape} of {dtype}")
        with archive.open(info) as file:
            found: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
            return found
    except KeyError:
        names = ", ".join(sorted(archive.namelist())[:10])
        hint = "A CSR matrix has indptr, indices and data, as scipy.sparse.save_npz writes"
        raise InvalidArgument(f"{name} has no array {array!r}, it has {names}", hint) from None
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise InvalidArgument(f"{name}: the array {array!r} cannot be read: {error}") from error
