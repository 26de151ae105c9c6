"""Tables in: Parquet, Arrow files, Arrow streams, JSON lines and sparse matrices, read in batches of rows.

1. The first bytes of a file say what it is, whatever its name.
2. Each format becomes a stream of batches that start at a given row: Parquet skips whole row groups by their row
   counts, an Arrow file skips record batches; a stream and JSON lines have to be read up to that row.
3. A batch gives its columns as Python values, as one array of vectors, as sparse vectors, or as one JSON object for
   each row.

Memory: one batch, and what the format makes readers hold: pieces of one Parquet row group, one record batch of an
Arrow stream, one line of JSON; of a sparse matrix (npz.py) all of it. Arrow files are mapped.

Vectors of int8 and weights of integers may come with a scale, as text in the schema's metadata under "NAME_scale":
component = int8 * scale.
What vsearch wrote itself (pointcolumns.py) is described there under "vsearch".

Errors name a file by its path, or by the `name` that is given instead, where whoever reads them should not learn paths.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal, Protocol

from vsearch.errors import InvalidArgument
from vsearch.types import FloatArray

from . import npz
from .batches import ArrowBatch, JsonBatch, SparseVector
from .pointcolumns import read_description

Format = Literal["parquet", "arrow", "stream", "jsonl", "npz"]

MAX_LINE_BYTES: Final = 1 << 26  # a payload of the largest size and 64 vectors of the largest dimension, as text
READ_BYTES: Final = 1 << 20  # Parquet pages are read in pieces of this size instead of a whole column chunk at once
RUN_BYTES: Final = 64 << 20  # Parquet row groups that have no more together, uncompressed, may share a batch


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

    def optional_vectors(self, name: str) -> FloatArray | list[FloatArray | None]:
        """As `vectors`, where rows may have none: with None for those."""
        ...

    def sparse(self, name: str, field: str) -> list[SparseVector | None]:
        """Sparse vectors, None where there is none: of a column (batches.py says of which types), or of two, of indices
        and of values, where the name is "INDICES,VALUES". `field`: whose scale is meant, if the column has none.

        Raises InvalidArgument for other columns.
        """
        ...

    def likely_vectors(self) -> list[str]:
        """The columns that hardly are anything else: lists of floats, or of numbers with a fixed length."""
        ...

    def records(self, names: Sequence[str]) -> list[dict[str, Any]]:
        """These columns as one JSON object a row, without the values that are missing.

        Dates and times become ISO 8601 text, durations seconds, decimals floats, bytes base64 text.
        """
        ...


def read_batches(path: Path, batch_rows: int, start: int = 0, name: str | None = None) -> Iterator[TableBatch]:
    """The rows of a file from row `start` on, in batches of at most `batch_rows`.

    Raises InvalidArgument, which names the file and the line where there are lines, for a file that is missing,
    damaged or of another format; rows before the damage have been yielded by then.
    """
    if batch_rows < 1 or start < 0:
        raise InvalidArgument(f"batch_rows is {batch_rows} and start is {start}", "Use at least 1 and at least 0")
    shown = name or str(path)
    readers: dict[Format, Callable[[Path, str, int, int], Iterator[TableBatch]]] = {
        "parquet": _parquet, "arrow": _arrow, "stream": _stream, "jsonl": _jsonl, "npz": npz.read
    }  # fmt: skip
    with _errors_named(path, shown):
        yield from readers[detect(path, name)](path, shown, batch_rows, start)


def count_rows(path: Path, name: str | None = None) -> int | None:
    """The number of rows, where a format tells without being read: Parquet and Arrow files; else None."""
    kind = detect(path, name)
    with _errors_named(path, name or str(path)):
        if kind == "parquet":
            from pyarrow import parquet

            return int(parquet.read_metadata(path).num_rows)
        if kind == "arrow":
            from pyarrow import dataset  # it adds up the batches' headers, and decompresses nothing

            return int(dataset.dataset(path, format="ipc").count_rows())
        if kind == "npz":
            return npz.count_rows(path, name or str(path))
    return None


def describe(path: Path, name: str | None = None) -> dict[str, Any]:
    """What vsearch wrote about a file of its own, the object under "vsearch" in the metadata; {} for any other file."""
    kind, shown = detect(path, name), name or str(path)
    if kind in ("jsonl", "npz"):
        return {}
    import pyarrow as pa
    from pyarrow import parquet

    with _errors_named(path, shown):
        if kind == "parquet":
            metadata = parquet.read_schema(path).metadata
        else:
            with pa.memory_map(str(path)) as file:
                metadata = (pa.ipc.open_file if kind == "arrow" else pa.ipc.open_stream)(file).schema.metadata
    return read_description(metadata, shown)


def detect(path: Path, name: str | None = None) -> Format:
    """What a file is, by its first bytes. Raises InvalidArgument when it is none of the formats."""
    shown = name or str(path)
    try:
        with open(path, "rb") as file:
            head = file.read(64)
    except OSError as error:
        raise InvalidArgument(f"{shown} cannot be read: {error.strerror}") from error
    if head.startswith(b"PAR1"):
        return "parquet"
    if head.startswith(b"ARROW1"):
        return "arrow"
    if head.startswith(b"PK\x03\x04"):
        return "npz"
    if head.startswith(b"\xff\xff\xff\xff"):  # the continuation marker before the length of a stream's first message
        return "stream"
    if head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"{", b""):
        return "jsonl"
    raise InvalidArgument(f"{shown} is of no known format", "Use Parquet, an Arrow file or stream, JSON lines, or .npz")


@contextmanager
def _errors_named(path: Path, name: str) -> Iterator[None]:
    """Errors of pyarrow and of the file system become ones that name the file."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise InvalidArgument(f"{name} cannot be read: {str(error).replace(str(path), name)}") from error


# Readers: a path, its name in errors, rows in a batch and the first row -> batches.


def _parquet(path: Path, name: str, batch_rows: int, start: int) -> Iterator[TableBatch]:
    from pyarrow import parquet

    # The default, pre_buffer, keeps all that was read of a file until it is closed.
    with parquet.ParquetFile(path, buffer_size=READ_BYTES, pre_buffer=False) as file:
        groups = [file.metadata.row_group(i) for i in range(file.num_row_groups)]
        ends = list(itertools.accumulate(group.num_rows for group in groups))
        first = sum(end <= start for end in ends)  # groups that lie wholly before the start
        position = ends[first - 1] if first else 0
        for run in _runs([group.total_byte_size for group in groups], first):
            batches = file.iter_batches(batch_rows, row_groups=run, use_threads=False)
            yield from _cut(name, batches, batch_rows, position, start)
            position = ends[run[-1]]


def _runs(sizes: Sequence[int], first: int) -> Iterator[list[int]]:
    """Row groups from `first` on, in runs that are read together: a batch may hold rows of several small groups."""
    run: list[int] = []
    room = RUN_BYTES
    for number in range(first, len(sizes)):
        if run and sizes[number] > room:
            yield run
            run, room = [], RUN_BYTES
        run.append(number)
        room -= sizes[number]
    if run:
        yield run


def _arrow(path: Path, name: str, batch_rows: int, start: int) -> Iterator[TableBatch]:
    import pyarrow as pa

    with pa.memory_map(str(path)) as file:
        reader = pa.ipc.open_file(file)
        batches = (reader.get_batch(i) for i in range(reader.num_record_batches))
        yield from _cut(name, _validated(batches), batch_rows, 0, start)


def _stream(path: Path, name: str, batch_rows: int, start: int) -> Iterator[TableBatch]:
    import pyarrow as pa

    with pa.OSFile(str(path)) as file:
        yield from _cut(name, _validated(pa.ipc.open_stream(file)), batch_rows, 0, start)


def _validated(batches: Iterator[Any]) -> Iterator[Any]:
    """Record batches that were checked, since Arrow trusts the offsets in what it reads or maps."""
    for batch in batches:
        batch.validate(full=True)
        yield batch


def _cut(name: str, batches: Iterator[Any], batch_rows: int, position: int, start: int) -> Iterator[TableBatch]:
    """Record batches, the first of which begins at row `position`, cut to the wanted size and from row `start` on."""
    for batch in batches:
        for offset in range(max(0, start - position), batch.num_rows, batch_rows):
            piece = batch.slice(offset, batch_rows)
            yield ArrowBatch(name, position + offset + piece.num_rows, piece)
        position += batch.num_rows


def _jsonl(path: Path, name: str, batch_rows: int, start: int) -> Iterator[TableBatch]:
    lines: list[int] = []
    rows: list[dict[str, Any]] = []
    position = 0
    with open(path, "rb") as file:
        for number in itertools.count(1):
            line = file.readline(MAX_LINE_BYTES + 1)
            if line.strip(b" \t\r\n\xef\xbb\xbf"):
                position += 1
                if position > start:
                    rows.append(_parse(line, name, number))
                    lines.append(number)
            if len(rows) == batch_rows or (rows and not line):
                yield JsonBatch(name, position, rows, lines)
                rows, lines = [], []
            if not line:
                return


def _parse(line: bytes, name: str, number: int) -> dict[str, Any]:
    if len(line) > MAX_LINE_BYTES:
        raise InvalidArgument(f"{name} line {number} is longer than {MAX_LINE_BYTES} bytes", "Put one object on a line")
    try:
        row = json.loads(line.decode("utf-8-sig"), parse_constant=_refuse)
    except (ValueError, RecursionError) as error:  # JSONDecodeError and UnicodeDecodeError are ValueErrors
        raise InvalidArgument(f"{name} line {number} is not JSON: {error}", "Put one object on a line") from error
    if not isinstance(row, dict):
        raise InvalidArgument(f"{name} line {number} is not a JSON object", "Write each row as {column: value, ...}")
    return row


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not a JSON number")
