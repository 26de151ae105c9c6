"""Reading tables: the same rows from every format, from any row on, in batches of any size."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from vsearch.errors import InvalidArgument
from vsearch.storage.tables import count_rows, detect, read_batches

FORMATS = ("parquet", "arrow", "stream", "jsonl")
ROWS = 23
TABLE = pa.table(
    {
        "id": [f"p{i}" for i in range(ROWS)],
        "number": pa.array([None if i % 5 == 0 else i for i in range(ROWS)], pa.int32()),
        "tags": [[f"t{j}" for j in range(i % 3)] for i in range(ROWS)],
        "list": pa.array([[i, i + 0.5, -1] for i in range(ROWS)], pa.list_(pa.float64())),
        "fixed": pa.array([[i, 2 * i] for i in range(ROWS)], pa.list_(pa.float32(), 2)),
    }
)


def write(path: Path, table: pa.Table, kind: str, group: int = 7, compression: str | None = None) -> Path:
    if kind == "parquet":
        parquet.write_table(table, path, row_group_size=group)
    elif kind == "jsonl":
        rows = [{key: value for key, value in row.items() if value is not None} for row in table.to_pylist()]
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    else:
        make = pa.ipc.new_file if kind == "arrow" else pa.ipc.new_stream
        options = pa.ipc.IpcWriteOptions(compression=compression)
        with make(path, table.schema, options=options) as writer:
            writer.write_table(table, max_chunksize=group)
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("tables")
    return {kind: write(folder / kind, TABLE, kind) for kind in FORMATS}


@pytest.mark.parametrize("kind", FORMATS)
@given(batch_rows=st.integers(1, ROWS + 3), start=st.integers(0, ROWS + 3))
def test_rows_are_those_of_the_file(files: dict[str, Path], kind: str, batch_rows: int, start: int) -> None:
    expected = TABLE.to_pylist()[start:]
    ids: list[Any] = []
    numbers: list[Any] = []
    records: list[Any] = []
    vectors = {"list": np.zeros((0, 3), np.float32), "fixed": np.zeros((0, 2), np.float32)}
    for batch in read_batches(files[kind], batch_rows, start):
        assert 1 <= batch.rows <= batch_rows
        ids += batch.python("id")
        numbers += batch.python("number") if "number" in batch.column_names else [None] * batch.rows
        records += batch.records([name for name in batch.column_names if name in ("number", "tags")])
        vectors = {name: np.vstack([array, batch.vectors(name)]) for name, array in vectors.items()}
        assert batch.position == start + len(ids)
        assert set(batch.column_names) <= set(TABLE.column_names)
    assert ids == [row["id"] for row in expected]
    assert numbers == [row["number"] for row in expected]
    assert records == [{k: row[k] for k in ("number", "tags") if row[k] is not None} for row in expected]
    for name, array in vectors.items():
        assert array.dtype == np.float32
        assert array.tolist() == [row[name] for row in expected]


@pytest.mark.parametrize("kind", FORMATS)
def test_a_format_is_known_by_its_content(files: dict[str, Path], kind: str) -> None:
    assert detect(files[kind]) == kind


@pytest.mark.parametrize("kind", FORMATS)
def test_rows_are_counted_where_the_format_tells(files: dict[str, Path], kind: str) -> None:
    assert count_rows(files[kind]) == (ROWS if kind in ("parquet", "arrow") else None)


@pytest.mark.parametrize("kind", ["arrow", "stream"])
@pytest.mark.parametrize("compression", ["lz4", "zstd"])
def test_compressed_arrow_is_read(tmp_path: Path, kind: str, compression: str) -> None:
    path = write(tmp_path / "t", TABLE, kind, compression=compression)
    assert [v for batch in read_batches(path, 5, 3) for v in batch.python("id")] == TABLE["id"].to_pylist()[3:]


def test_lists_longer_than_their_elements_types_allow_are_vectors_too(tmp_path: Path) -> None:
    kinds = [pa.float16(), pa.float64(), pa.int16(), pa.uint8()]
    lists = [make(kind) for kind in kinds for make in (pa.list_, pa.large_list, lambda kind: pa.list_(kind, 2))]
    columns = {str(i): pa.array([[1, 2], [3, 4], [5, 6]], kind) for i, kind in enumerate(lists)}
    columns["tensor"] = pa.ExtensionArray.from_storage(
        pa.fixed_shape_tensor(pa.float32(), (2,)), pa.array([[1, 2], [3, 4], [5, 6]], pa.list_(pa.float32(), 2))
    )
    for kind in ("arrow", "parquet"):
        path = write(tmp_path / kind, pa.table(columns), kind)
        (batch,) = read_batches(path, 10, 1)
        for name in columns:
            assert batch.vectors(name).tolist() == [[3, 4], [5, 6]], name


def test_int8_vectors_are_multiplied_by_the_scale_of_the_schema(tmp_path: Path) -> None:
    column = pa.array([[1, -128], [127, 0]], pa.list_(pa.int8(), 2))
    table = pa.table({"a": column, "b": column}).replace_schema_metadata({"a_scale": "0.5"})
    for kind in ("parquet", "arrow", "stream"):
        (batch,) = read_batches(write(tmp_path / kind, table, kind), 10)
        assert batch.vectors("a").tolist() == [[0.5, -64], [63.5, 0]]
        assert batch.vectors("b").tolist() == [[1, -128], [127, 0]]
    bad = write(tmp_path / "bad", table.replace_schema_metadata({"a_scale": "half"}), "parquet")
    with pytest.raises(InvalidArgument, match="a_scale is b'half'"):
        next(read_batches(bad, 10)).vectors("a")


def test_values_become_what_json_can_hold(tmp_path: Path) -> None:
    moment = datetime(2024, 5, 6, 7, 8, 9, 123456, UTC)
    table = pa.table(
        {
            "ns": pa.array([moment], pa.timestamp("ns", "UTC")),
            "day": pa.array([date(2024, 5, 6)]),
            "span": pa.array([timedelta(minutes=2)]),
            "price": pa.array([Decimal("1.50")]),
            "bytes": pa.array([b"\x00\xff"]),
            "word": pa.array(["x"]).dictionary_encode(),
            "object": pa.array([{"when": [moment.replace(tzinfo=None)], "none": None}]),
        }
    )
    (batch,) = read_batches(write(tmp_path / "t", table, "arrow"), 10)
    (record,) = batch.records(batch.column_names)
    assert record == {
        "ns": moment.isoformat(),
        "day": "2024-05-06",
        "span": 120.0,
        "price": 1.5,
        "bytes": base64.b64encode(b"\x00\xff").decode(),
        "word": "x",
        "object": {"when": ["2024-05-06T07:08:09.123456"], "none": None},
    }
    json.dumps(record)


def test_json_lines_may_be_blank_differ_in_columns_and_hold_nulls(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"id": 1, "a": null}\r\n\n  {"id": "\xc3\xa9", "b": [1, "x"]}\n   \n{"id": 3}')
    (batch,) = read_batches(path, 10)
    assert batch.column_names == ["id", "a", "b"]
    assert batch.python("id") == [1, "é", 3]
    assert batch.records(["a", "b"]) == [{"a": None}, {"b": [1, "x"]}, {}]
    assert [b.python("id") for b in read_batches(path, 1, 1)] == [["é"], [3]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"v": [1]}\n\n{"v": [1}\n', "line 3 is not JSON"),
        (b'{"v": [1]}\n\n{"v": "\xff"}\n', "line 3 is not JSON"),
        (b'{"v": [1]}\n\n{"v": [NaN]}\n', "line 3 is not JSON: NaN"),
        (b'{"v": [1]}\n\n' + b'{"v":' * 100_000, "line 3 is not JSON"),
        (b'{"v": [1]}\n\n[1]\n', "line 3 is not a JSON object"),
        (b'{"v": [1]}\n\n{"v": [1, 2]}\n', "line 3: 'v' has 2 numbers, not 1 as on line 1"),
        (b'{"v": [1]}\n\n{"v": [true]}\n', "line 3: 'v' is not a list of numbers"),
        (b'{"v": [1]}\n\n{"v": []}\n', "line 3: 'v' is not a list of numbers"),
        (b'{"v": [1]}\n\n{"w": [1]}\n', "line 3: 'v' is not a list of numbers"),
        (b'{"v": [1]}\n\n{"v": [1' + b"0" * 400 + b"]}\n", "lines 1 on"),
        (b'{"w": [1]}\n', "line 1 has no 'v'.* Its columns are w"),
    ],
)
def test_errors_in_json_lines_name_the_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "t.jsonl"
    path.write_bytes(content)
    with pytest.raises(InvalidArgument, match=f"t.jsonl.*{message}"):
        [batch.vectors("v") for batch in read_batches(path, 100)]


def test_a_line_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vsearch.storage.tables.MAX_LINE_BYTES", 100)
    path = tmp_path / "t.jsonl"
    path.write_text('{"id": 1}\n{"id": "' + "x" * 1000)
    with pytest.raises(InvalidArgument, match="line 2 is longer than 100 bytes"):
        list(read_batches(path, 100))


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (pa.array(["x", "y"]), "holds string, not lists of numbers"),
        (pa.array([["x"], ["y"]]), "holds list.*string.*, not lists of numbers"),
        (pa.array([[1.0], None]), "row 1: column 'v' has no vector"),
        (pa.array([[1.0, 2.0], [3.0]]), "are of length 1, 2"),
        (pa.array([[], []], pa.list_(pa.float32())), "are of length 0"),
        (pa.array([[1.0], [None]]), "missing components"),
    ],
)
def test_columns_that_are_no_vectors_are_refused(tmp_path: Path, column: pa.Array, message: str) -> None:
    (batch,) = read_batches(write(tmp_path / "t.parquet", pa.table({"v": column}), "parquet"), 10)
    with pytest.raises(InvalidArgument, match=f"t.parquet.*{message}"):
        batch.vectors("v")
    with pytest.raises(InvalidArgument, match=r"has no column 'w'\. Its columns are v"):
        batch.python("w")


@pytest.mark.parametrize("kind", ["parquet", "arrow", "stream"])
@given(data=st.data())
def test_a_damaged_file_is_an_error_that_names_it(files: dict[str, Path], kind: str, data: st.DataObject) -> None:
    """Cut short anywhere, after a head by which the format is known; a stream may end after any batch."""
    whole = files[kind].read_bytes()
    cut = files[kind].with_name(f"{kind}-cut")
    cut.write_bytes(whole[: data.draw(st.integers(8, len(whole) - 9))])
    rows: list[Any] = []
    raises = pytest.raises(InvalidArgument, match=f"{cut} cannot be read")
    with suppress(InvalidArgument) if kind == "stream" else raises:
        for batch in read_batches(cut, 5):
            rows += batch.python("id")
    assert rows == TABLE["id"].to_pylist()[: len(rows)]


def test_files_that_are_no_tables_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="missing cannot be read: No such file"):
        list(read_batches(tmp_path / "missing", 10))
    with pytest.raises(InvalidArgument, match="cannot be read: Is a directory"):
        count_rows(tmp_path)
    (tmp_path / "text").write_text("id,name\n1,x\n")
    with pytest.raises(InvalidArgument, match="of no known format"):
        detect(tmp_path / "text")
    (tmp_path / "empty").write_text("")
    assert list(read_batches(tmp_path / "empty", 10)) == []
    with pytest.raises(InvalidArgument, match="batch_rows is 0"):
        list(read_batches(tmp_path / "empty", 0))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the memory of a process is read from /proc")
@pytest.mark.parametrize("kind", FORMATS)
def test_memory_does_not_grow_with_the_file(tmp_path: Path, kind: str) -> None:
    """Reading a file many times as long takes about as much memory: the peak of a process of its own."""
    peaks = []
    for rows in (2_000, 30_000 if kind == "jsonl" else 150_000):
        vectors = np.random.default_rng(rows).integers(-99, 99, (rows, 64)).astype(np.float32)
        table = pa.table({"id": range(rows), "v": pa.FixedSizeListArray.from_arrays(vectors.ravel(), 64)})
        path = write(tmp_path / f"{kind}-{rows}", table, kind, group=1_000_000 if kind == "parquet" else 2_000)
        peaks.append(int(subprocess.check_output([sys.executable, "-c", PEAK, path])))
    assert peaks[1] - peaks[0] < 16_000  # KiB; the longer file holds 38,000 KiB, or as many as Python objects
    assert peaks[0] > 20_000


# Mapped pages of an Arrow file count as resident although the system may drop them: only anonymous memory is told.
PEAK = """
import sys
from pathlib import Path
from vsearch.storage.tables import read_batches
peak = 0
for batch in read_batches(Path(sys.argv[1]), 500):
    batch.vectors("v")
    status = Path("/proc/self/status").read_text()
    peak = max(peak, int(status.split("RssAnon:")[1].split()[0]))
sys.stdout.write(str(peak))
"""
