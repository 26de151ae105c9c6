"""Tables in: Parquet, Arrow files, Arrow streams and JSON lines, read in batches of rows and in constant memory.

1. The first bytes of a file say what it is, whatever its name.
2. Each format becomes a stream of batches that start at a given row: Parquet skips whole row groups by their row
   counts, an Arrow file skips record batches; a stream and JSON lines have to be read up to that row.
3. A batch gives its columns as Python values, as one array of vectors, or as one JSON object for each row.

Memory: one batch, and what the format makes readers hold: pieces of one Parquet row group, one record batch of an
Arrow stream, one line of JSON. Arrow files are mapped.

Vectors of int8 may come with a scale, as text in the schema's metadata under "NAME_scale": component = int8 * scale.
"""

from __future__ import annotations

import base64
import itertools
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

import numpy as np

from vsearch.errors import InvalidArgument
from vsearch.types import FloatArray

if TYPE_CHECKING:
    import pyarrow as pa

Format = Literal["parquet", "arrow", "stream", "jsonl"]

MAX_LINE_BYTES: Final = 1 << 26  # a payload of the largest size and 64 vectors of the largest dimension, as text
NUMBERS: Final = (int, float)  # types of a JSON number; bool is an int, but of another type
READ_BYTES: Final = 1 << 20  # Parquet pages are read in pieces of this size instead of a whole column chunk at once


class TableBatch(Protocol):
    """Consecutive rows of a table. `position`: the row of the table that follows the last of them."""

    position: int
    rows: int
    column_names: list[str]

    def python(self, name: str) -> list[Any]:
        """The values of a column; None where there is none."""
        ...

    def vectors(self, name: str) -> FloatArray:
        """float32 [rows, d]: a column of lists of numbers, all of one length. Raises InvalidArgument for others."""
        ...

    def likely_vectors(self) -> list[str]:
        """The columns that hardly are anything else: lists of floats, or of numbers with a fixed length."""
        ...

    def records(self, names: Sequence[str]) -> list[dict[str, Any]]:
        """These columns as one JSON object a row, without the values that are missing.

        Dates and times become ISO 8601 text, durations seconds, decimals floats, bytes base64 text.
        """
        ...


def read_batches(path: Path, batch_rows: int, start: int = 0) -> Iterator[TableBatch]:
    """The rows of a file from row `start` on, in batches of at most `batch_rows`.

    Raises InvalidArgument, which names the file and the line where there are lines, for a file that is missing,
    damaged or of another format; rows before the damage have been yielded by then.
    """
    if batch_rows < 1 or start < 0:
        raise InvalidArgument(f"batch_rows is {batch_rows} and start is {start}", "Use at least 1 and at least 0")
    reader = {"parquet": _parquet, "arrow": _arrow, "stream": _stream, "jsonl": _jsonl}[detect(path)]
    with _errors_named(path):
        yield from reader(path, batch_rows, start)


def count_rows(path: Path) -> int | None:
    """The number of rows, where a format tells without being read: Parquet and Arrow files; else None."""
    kind = detect(path)
    with _errors_named(path):
        if kind == "parquet":
            from pyarrow import parquet

            return int(parquet.read_metadata(path).num_rows)
        if kind == "arrow":
            from pyarrow import dataset  # it adds up the batches' headers, and decompresses nothing

            return int(dataset.dataset(path, format="ipc").count_rows())
    return None


def detect(path: Path) -> Format:
    """What a file is, by its first bytes. Raises InvalidArgument when it is none of the formats."""
    try:
        with open(path, "rb") as file:
            head = file.read(64)
    except OSError as error:
        raise InvalidArgument(f"{path} cannot be read: {error.strerror}") from error
    if head.startswith(b"PAR1"):
        return "parquet"
    if head.startswith(b"ARROW1"):
        return "arrow"
    if head.startswith(b"\xff\xff\xff\xff"):  # the continuation marker before the length of a stream's first message
        return "stream"
    if head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"{", b""):
        return "jsonl"
    raise InvalidArgument(f"{path} is of no known format", "Use Parquet, an Arrow file or stream, or JSON lines")


@contextmanager
def _errors_named(path: Path) -> Iterator[None]:
    """Errors of pyarrow and of the file system become ones that name the file."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise InvalidArgument(f"{path} cannot be read: {error}") from error


# Readers: a path, rows in a batch and the first row -> batches.


def _parquet(path: Path, batch_rows: int, start: int) -> Iterator[TableBatch]:
    from pyarrow import parquet

    # The default, pre_buffer, keeps all that was read of a file until it is closed.
    with parquet.ParquetFile(path, buffer_size=READ_BYTES, pre_buffer=False) as file:
        groups = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
        ends = list(itertools.accumulate(groups))
        first = sum(end <= start for end in ends)  # groups that lie wholly before the start
        position = ends[first - 1] if first else 0
        batches = file.iter_batches(batch_rows, row_groups=list(range(first, len(groups))), use_threads=False)
        yield from _cut(path, batches, batch_rows, position, start)


def _arrow(path: Path, batch_rows: int, start: int) -> Iterator[TableBatch]:
    import pyarrow as pa

    with pa.memory_map(str(path)) as file:
        reader = pa.ipc.open_file(file)
        batches = (reader.get_batch(i) for i in range(reader.num_record_batches))
        yield from _cut(path, batches, batch_rows, 0, start)


def _stream(path: Path, batch_rows: int, start: int) -> Iterator[TableBatch]:
    import pyarrow as pa

    with pa.OSFile(str(path)) as file:
        yield from _cut(path, pa.ipc.open_stream(file), batch_rows, 0, start)


def _cut(path: Path, batches: Iterator[Any], batch_rows: int, position: int, start: int) -> Iterator[TableBatch]:
    """Record batches, the first of which begins at row `position`, cut to the wanted size and from row `start` on."""
    for batch in batches:
        for offset in range(max(0, start - position), batch.num_rows, batch_rows):
            piece = batch.slice(offset, batch_rows)
            yield ArrowBatch(path, position + offset + piece.num_rows, piece)
        position += batch.num_rows


def _jsonl(path: Path, batch_rows: int, start: int) -> Iterator[TableBatch]:
    lines: list[int] = []
    rows: list[dict[str, Any]] = []
    position = 0
    with open(path, "rb") as file:
        for number in itertools.count(1):
            line = file.readline(MAX_LINE_BYTES + 1)
            if line.strip(b" \t\r\n\xef\xbb\xbf"):
                position += 1
                if position > start:
                    rows.append(_parse(line, path, number))
                    lines.append(number)
            if len(rows) == batch_rows or (rows and not line):
                yield JsonBatch(path, position, rows, lines)
                rows, lines = [], []
            if not line:
                return


def _parse(line: bytes, path: Path, number: int) -> dict[str, Any]:
    if len(line) > MAX_LINE_BYTES:
        raise InvalidArgument(f"{path} line {number} is longer than {MAX_LINE_BYTES} bytes", "Put one object on a line")
    try:
        row = json.loads(line.decode("utf-8-sig"), parse_constant=_refuse)
    except (ValueError, RecursionError) as error:  # JSONDecodeError and UnicodeDecodeError are ValueErrors
        raise InvalidArgument(f"{path} line {number} is not JSON: {error}", "Put one object on a line") from error
    if not isinstance(row, dict):
        raise InvalidArgument(f"{path} line {number} is not a JSON object", "Write each row as {column: value, ...}")
    return row


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not a JSON number")


# Batches


class ArrowBatch:
    """A batch over an Arrow record batch."""

    def __init__(self, path: Path, position: int, batch: pa.RecordBatch) -> None:
        self.position = position
        self.rows: int = batch.num_rows
        self.column_names: list[str] = list(batch.schema.names)
        self._path = path
        self._batch = batch

    def python(self, name: str) -> list[Any]:
        values: list[Any] = _plain(self._column(name)).to_pylist()
        return values

    def vectors(self, name: str) -> FloatArray:
        import pyarrow as pa
        import pyarrow.compute as pc

        column = self._column(name)
        column = column.storage if isinstance(column, pa.ExtensionArray) else column
        if not is_vector(column.type):
            raise InvalidArgument(f"{self._path}: column {name!r} holds {column.type}, not lists of numbers")
        if column.null_count:
            row = self.position - self.rows + column.is_null().index(True).as_py()
            raise InvalidArgument(f"{self._path} row {row}: column {name!r} has no vector", "Leave such rows out")
        lengths = pc.unique(pc.list_value_length(column)).to_pylist()
        flat = column.flatten()  # unlike .values, only the rows of this slice
        if len(lengths) != 1 or not lengths[0]:
            raise InvalidArgument(f"{self._path}: vectors of column {name!r} are of length {_few(sorted(lengths))}")
        if flat.null_count:
            raise InvalidArgument(f"{self._path}: vectors of column {name!r} have missing components")
        vectors = flat.to_numpy(zero_copy_only=False).astype(np.float32, copy=False).reshape(self.rows, lengths[0])
        return self._scaled(vectors, name) if column.type.value_type == pa.int8() else vectors

    def likely_vectors(self) -> list[str]:
        from pyarrow import types

        kinds = {field.name: getattr(field.type, "storage_type", field.type) for field in self._batch.schema}
        lists = {name: kind for name, kind in kinds.items() if is_vector(kind)}
        return [n for n, k in lists.items() if types.is_fixed_size_list(k) or types.is_floating(k.value_type)]

    def records(self, names: Sequence[str]) -> list[dict[str, Any]]:
        columns = [(name, self._jsonable(name)) for name in names]
        return [{name: v for name, values in columns if (v := values[row]) is not None} for row in range(self.rows)]

    def _column(self, name: str) -> Any:
        if self.column_names.count(name) != 1:
            found = "more than one" if name in self.column_names else "no"
            raise InvalidArgument(f"{self._path} has {found} column {name!r}", _named(self.column_names))
        return self._batch.column(name)

    def _jsonable(self, name: str) -> list[Any]:
        """The values of a column as what JSON can hold."""
        from pyarrow import types

        column = self._column(name)
        kind = column.type.value_type if types.is_dictionary(column.type) or is_vector(column.type) else column.type
        try:
            values: list[Any] = _plain(column).to_pylist()
        except ValueError as error:  # text that is not UTF-8, times that Python cannot hold
            raise InvalidArgument(f"{self._path}: column {name!r}: {error}") from error
        if types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind) or types.is_string(kind):
            return values
        return [_value(value) for value in values]

    def _scaled(self, vectors: FloatArray, name: str) -> FloatArray:
        text = (self._batch.schema.metadata or {}).get(f"{name}_scale".encode())
        try:
            return vectors * np.float32(text.decode()) if text is not None else vectors
        except ValueError as error:
            raise InvalidArgument(f"{self._path}: {name}_scale is {text!r} in the metadata, not a number") from error


class JsonBatch:
    """A batch over parsed lines; `lines` are their numbers in the file."""

    def __init__(self, path: Path, position: int, rows: list[dict[str, Any]], lines: list[int]) -> None:
        self.position = position
        self.rows = len(rows)
        self.column_names = list(dict.fromkeys(name for row in rows for name in row))
        self._path = path
        self._rows = rows
        self._lines = lines

    def python(self, name: str) -> list[Any]:
        if name not in self.column_names:
            raise InvalidArgument(f"{self._path} line {self._lines[0]} has no {name!r}", _named(self.column_names))
        return [row.get(name) for row in self._rows]

    def vectors(self, name: str) -> FloatArray:
        values = self.python(name)
        for value, line in zip(values, self._lines, strict=True):
            if not (isinstance(value, list) and value and all(type(x) in NUMBERS for x in value)):
                raise InvalidArgument(f"{self._path} line {line}: {name!r} is not a list of numbers")
            if len(value) != len(values[0]):
                expected = f"{len(values[0])} as on line {self._lines[0]}"
                raise InvalidArgument(f"{self._path} line {line}: {name!r} has {len(value)} numbers, not {expected}")
        try:
            return np.array(values, np.float32)
        except OverflowError as error:  # an integer beyond what any float holds
            raise InvalidArgument(f"{self._path}: {name!r} of lines {self._lines[0]} on: {error}") from error

    def likely_vectors(self) -> list[str]:
        lists = {name: value for name, value in self._rows[0].items() if isinstance(value, list)}
        return [n for n, v in lists.items() if any(type(x) is float for x in v) and all(type(x) in NUMBERS for x in v)]

    def records(self, names: Sequence[str]) -> list[dict[str, Any]]:
        return [{name: row[name] for name in names if name in row} for row in self._rows]


def is_vector(kind: pa.DataType) -> bool:
    """Whether a column of this type holds lists of numbers."""
    from pyarrow import types

    lists = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
    return bool(lists and (types.is_integer(kind.value_type) or types.is_floating(kind.value_type)))


def _plain(column: Any) -> Any:
    """Times in nanoseconds as microseconds, which are what Python's types hold."""
    import pyarrow as pa

    kind = column.type
    if pa.types.is_timestamp(kind) and kind.unit == "ns":
        return column.cast(pa.timestamp("us", kind.tz), safe=False)
    return column.cast(pa.time64("us"), safe=False) if kind == pa.time64("ns") else column


def _value(value: Any) -> Any:
    if isinstance(value, list):
        return [_value(item) for item in value]
    if isinstance(value, dict):
        return {key: _value(item) for key, item in value.items()}
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Decimal):
        return float(value)
    return base64.b64encode(value).decode("ascii") if isinstance(value, bytes) else value


def _few(values: Any) -> str:
    return ", ".join(str(value) for value in values[:5]) + (", ..." if len(values) > 5 else "")


def _named(names: list[str]) -> str:
    return f"Its columns are {_few(names)}"
