"""Payload columns of a segment in one Arrow IPC file, which other Arrow tools can read as well.

1. Each Column is one Arrow column, a large_list with one entry a row: large_list, because its offsets are 64 bits wide
   like ours and need no copy. Strings are dictionary-encoded with int32 codes; bools are uint8, as in memory.
2. All columns form one record batch without compression, so that a memory map of the file holds every array as it is.
3. The schema's metadata has `vsearch`, JSON with our version, the number of rows and path, type and counts of each
   column, and `vsearch.xxh3`, the checksum of that text.
4. `write` returns the xxh3 of the whole file; `read` compares it when given. Otherwise `read` checks what is cheap: the
   metadata, the types, the counts, and that every array lies within the file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, get_args, overload

import numpy as np
import xxhash

from vsearch.errors import Corruption, InvalidArgument, UnsupportedFormat
from vsearch.types import Column, ColumnType

from .files import DAMAGED_HINT, WritableFile, digest, map_file

if TYPE_CHECKING:
    import pyarrow as pa

VERSION: Final = 1
_DESCRIPTION: Final = b"vsearch"
_DESCRIPTION_HASH: Final = b"vsearch.xxh3"
_STRINGS_AT_ONCE: Final = 65_536
_TYPES: Final = get_args(ColumnType)
_MARKERS: Final = ("null", "list", "object")


def write(path: Path, columns: Sequence[Column], rows: int) -> tuple[str, int]:
    """Writes a new file; returns the xxh3 of the file as 16 hex digits, and its length in bytes.

    Raises InvalidArgument for text that UTF-8 cannot hold, FileExistsError, DurabilityError.
    """
    import pyarrow as pa

    for column in columns:
        fault = _fault(column, rows)
        assert fault is None, f"bug: column {column.path}:{column.type} has {fault}"
    try:
        arrays = [_to_arrow(column) for column in columns]
        description = _describe(columns, rows).encode()
        names = [f"{column.path}:{column.type}" for column in columns]
        metadata = {_DESCRIPTION: description, _DESCRIPTION_HASH: _hash(description)}
        fields = [pa.field(name, array.type, nullable=False) for name, array in zip(names, arrays, strict=True)]
        schema = pa.schema(fields, metadata)
    except UnicodeEncodeError as error:
        raise InvalidArgument(f"text cannot be stored: {error}", "Remove the lone surrogates") from None
    with WritableFile(path) as file:
        sink = _Sink(file)
        with pa.ipc.new_file(pa.PythonFile(sink, mode="w"), schema) as writer:
            writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=schema))
    return f"{sink.hash.intdigest():016x}", file.position


def read(path: Path, checksum: str | None = None) -> list[Column]:
    """The columns of a file that `write` wrote; their arrays are read-only views of a memory map of it.

    `checksum`: what `write` returned; when given, every byte is checked. Raises Corruption when the file is missing or
    damaged, UnsupportedFormat when only a newer release reads it; both name the file.
    """
    import pyarrow as pa

    data = map_file(path)
    if checksum is not None and (actual := f"{digest(data):016x}") != checksum:
        raise Corruption(f"{path} is damaged: its checksum is {actual}, not {checksum}", DAMAGED_HINT)
    try:
        reader = pa.ipc.open_file(pa.BufferReader(pa.py_buffer(data)))
        description = _description(path, reader.schema.metadata or {})
        if reader.num_record_batches != 1:
            raise ValueError(f"it has {reader.num_record_batches} record batches")
        batch = reader.get_batch(0)
        batch.validate()  # lengths and buffers, before anything else relies on them
        if batch.num_columns != len(description["columns"]):
            raise ValueError(f"it has {batch.num_columns} columns, described are {len(description['columns'])}")
        arrays = zip(batch.columns, description["columns"], strict=True)
        return [_from_arrow(path, array, entry, description["rows"]) for array, entry in arrays]
    except (pa.ArrowException, OSError, ValueError, TypeError, KeyError) as error:
        raise Corruption(f"{path} is damaged: {error}", DAMAGED_HINT) from error


class _Sink:
    """Where Arrow writes to: our file, with a checksum on the way."""

    closed = False

    def __init__(self, file: WritableFile) -> None:
        self._file = file
        self.hash = xxhash.xxh3_64()

    def write(self, data: Any) -> int:
        view = memoryview(data)
        self.hash.update(view)
        self._file.write(view)
        return view.nbytes

    def tell(self) -> int:
        return self._file.position

    def flush(self) -> None:
        """The file is flushed when it is synced."""

    def close(self) -> None:
        """The file is closed by its owner."""


def _dtype(kind: str) -> np.dtype[Any]:
    names = {"int": "<i8", "float": "<f8", "bool": "|u1"}
    return np.dtype(names.get(kind, "<i4"))  # codes of strings, and markers


def _fault(column: Column, rows: int) -> str | None:
    """What a maker of columns got wrong, which would later be read as damage; None when nothing is."""
    offsets, values = column.offsets, column.values
    if column.type not in _TYPES:
        return f"unknown type {column.type}"
    if offsets.dtype != np.int64 or values.dtype != _dtype(column.type):
        return f"offsets of {offsets.dtype} and values of {values.dtype}"
    if offsets.shape != (rows + 1,):
        return f"{offsets.shape} offsets for {rows} rows"
    if offsets[0] != 0 or values.shape != (offsets[-1],) or bool(np.any(offsets[1:] < offsets[:-1])):
        return f"offsets that do not fit {len(values)} values"
    if column.type == "str" and len(values) and not 0 <= values.min() <= values.max() < len(column.dictionary):
        return "a code outside its dictionary"
    return None


def _describe(columns: Sequence[Column], rows: int) -> str:
    entries = [[column.path, column.type, len(column.values), len(column.dictionary)] for column in columns]
    return json.dumps({"version": VERSION, "rows": rows, "columns": entries})


def _hash(description: bytes) -> bytes:
    return xxhash.xxh3_64_hexdigest(description).encode()


def _to_arrow(column: Column) -> pa.Array:
    import pyarrow as pa

    values = pa.array(np.ascontiguousarray(column.values))
    if column.type == "str":
        strings = column.dictionary
        texts = strings.array if isinstance(strings, Strings) else pa.array(list(strings), pa.large_string())
        values = pa.DictionaryArray.from_arrays(values, texts)
    return pa.LargeListArray.from_arrays(pa.array(np.ascontiguousarray(column.offsets)), values)


def _description(path: Path, metadata: dict[bytes, bytes]) -> dict[str, Any]:
    text = metadata[_DESCRIPTION]
    if _hash(text) != metadata[_DESCRIPTION_HASH]:
        raise ValueError("its description does not match its checksum")
    description = json.loads(text)
    if description["version"] != VERSION:
        message = f"{path} has format {description['version']}, this release reads {VERSION}"
        raise UnsupportedFormat(message, "Open it with the release that wrote it, or a newer one")
    return dict(description)


def _from_arrow(path: Path, array: pa.Array, entry: list[Any], rows: int) -> Column:
    """The column of an Arrow array, without a copy; `entry` and `rows` are what the description says of it."""
    import pyarrow as pa

    name, kind, count, distinct = entry
    texts = pa.dictionary(pa.int32(), pa.large_string())
    inner = texts if kind == "str" else pa.from_numpy_dtype(_dtype(kind))
    if kind not in _TYPES or not array.type.equals(pa.large_list(inner)):
        raise ValueError(f"column {name!r} is {array.type}, described as {kind}")
    values = array.values
    if (len(array), len(values)) != (rows, count) or array.null_count or values.null_count:
        raise ValueError(f"column {name!r} is not {rows} rows of {count} values as described")
    offsets = np.frombuffer(array.buffers()[1], np.int64, rows + 1)
    if offsets[0] != 0 or offsets[-1] != count:
        raise ValueError(f"column {name!r} has offsets from {offsets[0]} to {offsets[-1]} for {count} values")
    dictionary: Sequence[str] = ()
    if kind == "str":
        dictionary = Strings(path, values.dictionary)
        values = values.indices
        if len(dictionary) != distinct:
            raise ValueError(f"column {name!r} has {len(dictionary)} strings, described {distinct}")
    buffer = values.buffers()[1]
    data = np.frombuffer(buffer, _dtype(kind), count) if count else np.empty(0, _dtype(kind))
    return Column(name, kind, offsets, data, dictionary)


class Strings(Sequence[str]):
    """The strings of a dictionary where they lie in the file; each becomes a Python string when asked for."""

    def __init__(self, path: Path, array: pa.Array) -> None:
        self._path = path
        self._array = array
        self._valid = False

    @property
    def array(self) -> pa.Array:
        """The strings as an Arrow array of large_string. Raises Corruption when they are not valid text."""
        if not self._valid:
            try:
                self._array.validate(full=True)  # before the first use: Arrow trusts offsets inside the array
            except ValueError as error:
                raise Corruption(f"{self._path} is damaged: {error}", DAMAGED_HINT) from error
            self._valid = True
        return self._array

    def __len__(self) -> int:
        return len(self._array)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        text: str = self.array[int(index)].as_py()
        return text

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), _STRINGS_AT_ONCE):
            yield from self.array.slice(start, _STRINGS_AT_ONCE).to_pylist()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and not isinstance(other, str) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]
