"""Payload columns go to an Arrow file and come back from a map of it; damage is Corruption and never a crash."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st
from storage_crash import in_fresh_process

from vsearch.errors import Corruption, InvalidArgument, UnsupportedFormat
from vsearch.storage import columns
from vsearch.types import Column

DTYPES = {"int": np.int64, "float": np.float64, "bool": np.uint8, "str": np.int32}
ITEMS: dict[str, st.SearchStrategy[Any]] = {
    "int": st.integers(-(2**63), 2**63 - 1),
    "float": st.floats(),
    "bool": st.integers(0, 1),
}
words = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


def column(path: str, kind: str, rows: Sequence[Sequence[Any]], dictionary: Sequence[str] = ()) -> Column:
    offsets = np.cumsum([0, *map(len, rows)], dtype=np.int64)
    values = np.array([value for row in rows for value in row], DTYPES.get(kind, np.int32))
    return Column(path, kind, offsets, values, dictionary)  # type: ignore[arg-type]


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[Column], int]:
    """Any columns of the same number of rows."""
    rows = draw(st.integers(0, 6))
    made = []
    for path in draw(st.lists(words, max_size=4, unique=True)):
        kind = draw(st.sampled_from(["int", "float", "bool", "str", "null", "list", "object"]))
        dictionary = sorted(draw(st.sets(words, max_size=5))) if kind == "str" else []
        item = ITEMS.get(kind, st.integers(0, 2**31 - 1))
        if kind == "str":
            item = st.sampled_from(range(len(dictionary))) if dictionary else st.nothing()
        row = st.lists(item, max_size=3) if kind != "str" or dictionary else st.just([])
        made.append(column(path, kind, draw(st.lists(row, min_size=rows, max_size=rows)), dictionary))
    return made, rows


def assert_same(found: list[Column], expected: list[Column]) -> None:
    assert [(c.path, c.type) for c in found] == [(c.path, c.type) for c in expected]
    for one, other in zip(found, expected, strict=True):
        for a, b in ((one.offsets, other.offsets), (one.values, other.values)):
            assert (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())
            assert not a.flags.writeable or not a.size
        assert list(one.dictionary) == list(other.dictionary)


SAMPLE = [
    column("year", "int", [[1999], [], [2024, 2025]]),
    column("tags[].näme", "str", [[0, 1], [1], []], ["a", "été 日本 🎉"]),
    column("score", "float", [[0.5], [float("nan")], [-0.0]]),
    column("ok", "bool", [[1], [0], []]),
    column("tags", "list", [[2], [1], [0]]),
    column("none", "str", [[], [], []]),
]


@given(tables())
def test_columns_come_back(tmp_path_factory: pytest.TempPathFactory, table: tuple[list[Column], int]) -> None:
    made, rows = table
    path = tmp_path_factory.getbasetemp() / "columns.arrow"
    path.unlink(missing_ok=True)
    checksum, nbytes = columns.write(path, made, rows)
    data = path.read_bytes()
    assert (checksum, nbytes) == (xxhash.xxh3_64_hexdigest(data), len(data))
    assert_same(columns.read(path), made)
    found = columns.read(path, checksum)
    assert_same(found, made)
    again = path.with_suffix(".again")
    again.unlink(missing_ok=True)
    assert columns.write(again, found, rows) == (checksum, nbytes)  # what was read can be written, and is the same


def test_arrays_are_views_of_the_file(tmp_path: Path) -> None:
    columns.write(tmp_path / "a", SAMPLE, 3)
    before = pa.total_allocated_bytes()
    found = columns.read(tmp_path / "a")
    assert pa.total_allocated_bytes() - before < 1000
    (tmp_path / "a").unlink()
    assert_same(found, SAMPLE)
    assert not found[0].values.flags.owndata


def test_other_arrow_tools_can_read_the_file(tmp_path: Path) -> None:
    columns.write(tmp_path / "a", SAMPLE, 3)
    table = pa.ipc.open_file(tmp_path / "a").read_all()
    assert table.column("year:int").to_pylist() == [[1999], [], [2024, 2025]]
    assert table.column("tags[].näme:str").to_pylist() == [["a", "été 日本 🎉"], ["été 日本 🎉"], []]
    assert json.loads(table.schema.metadata[b"vsearch"])["rows"] == 3


def test_a_dictionary_is_a_sequence_that_makes_strings_when_asked(tmp_path: Path) -> None:
    texts = [f"word {i}" for i in range(70_000)]
    columns.write(tmp_path / "a", [column("w", "str", [[0, 69_999]], texts)], 1)
    found = columns.read(tmp_path / "a")[0].dictionary
    assert (len(found), found[0], found[-1], found[69_999]) == (70_000, texts[0], texts[-1], texts[-1])
    assert found[np.int32(5)] == "word 5"  # type: ignore[call-overload]
    assert found[3:9:2] == texts[3:9:2]
    assert list(found) == texts
    assert found == texts
    assert found != texts[:-1]
    assert "word 7" in found
    assert found.index("word 7") == 7
    with pytest.raises(IndexError):
        found[70_000]


def test_lone_surrogates_are_refused_and_leave_no_file(tmp_path: Path) -> None:
    for bad in ([column("w", "str", [[0]], ["\ud800"])], [column("\ud800", "int", [[0]])]):
        with pytest.raises(InvalidArgument, match="cannot be stored"):
            columns.write(tmp_path / "a", bad, 1)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "bad",
    [
        Column("x", "int", np.array([0, 1]), np.zeros(1, np.int32)),
        Column("x", "int", np.array([0, 1], np.int32), np.zeros(1, np.int64)),  # type: ignore[arg-type]
        Column("x", "int", np.array([0, 1, 1]), np.zeros(1, np.int64)),
        Column("x", "int", np.array([1, 1]), np.zeros(1, np.int64)),
        Column("x", "int", np.array([0, 2]), np.zeros(1, np.int64)),
        Column("x", "str", np.array([0, 1]), np.ones(1, np.int32), ["a"]),
        Column("x", "str", np.array([0, 1]), -np.ones(1, np.int32), ["a"]),
        Column("x", "other", np.array([0, 1]), np.ones(1, np.int32)),  # type: ignore[arg-type]
    ],
)
def test_a_column_that_contradicts_itself_is_a_bug(tmp_path: Path, bad: Column) -> None:
    with pytest.raises(AssertionError, match="bug: column x"):
        columns.write(tmp_path / "a", [bad], 1)
    assert not list(tmp_path.iterdir())


# Damage.


def use(found: list[Column]) -> None:
    """Touches all that a filter would."""
    for each in found:
        each.values.sum()
        each.offsets.sum()
        list(each.dictionary)


@pytest.fixture
def sample(tmp_path: Path) -> tuple[Path, bytes, str]:
    path = tmp_path / "sample"
    checksum, _ = columns.write(path, SAMPLE, 3)
    return path, path.read_bytes(), checksum


def test_every_truncation_is_corruption_that_names_the_file(sample: tuple[Path, bytes, str]) -> None:
    path, data, _ = sample
    for length in [*range(40), *range(40, len(data), 61), *range(len(data) - 40, len(data))]:
        path.write_bytes(data[:length])
        with pytest.raises(Corruption, match=str(path)):
            columns.read(path)


def test_a_missing_file_is_corruption_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(Corruption, match=f"{tmp_path / 'a'} is missing"):
        columns.read(tmp_path / "a")


def test_with_the_checksum_every_flipped_bit_is_corruption(sample: tuple[Path, bytes, str]) -> None:
    path, data, checksum = sample
    for position in range(0, len(data), 37):
        damaged = bytearray(data)
        damaged[position] ^= 1 << (position % 8)
        path.write_bytes(damaged)
        with pytest.raises(Corruption, match=f"{path} is damaged: its checksum"):
            columns.read(path, checksum)


def flip_everywhere(path: Path, seed: int) -> None:
    columns.write(path, SAMPLE, 3)
    data = path.read_bytes()
    rng = np.random.default_rng(seed)
    for position in range(int(rng.integers(7)), len(data), 7):
        damaged = bytearray(data)
        damaged[position] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        try:
            use(columns.read(path))
        except Corruption as error:
            assert str(path) in error.message  # noqa: PT017  in a process of its own
    for _ in range(200):
        damaged = bytearray(data)
        start = int(rng.integers(len(data)))
        damaged[start : start + 32] = rng.bytes(len(damaged[start : start + 32]))
        path.write_bytes(damaged)
        try:
            use(columns.read(path))
        except Corruption:
            continue


def test_without_the_checksum_damage_is_corruption_or_other_values_but_never_a_crash(tmp_path: Path, seed: int) -> None:
    in_fresh_process(flip_everywhere, tmp_path / "a", seed)


@pytest.mark.parametrize("length", [-1, -(2**63), 10**6, 2**62])
def test_lengths_and_offsets_that_do_not_fit_the_file_are_corruption(
    sample: tuple[Path, bytes, str], length: int
) -> None:
    path, data, _ = sample
    nodes = [
        at for rows in (2, 3) for at in finds(data, struct.pack("<qq", rows, 0))
    ]  # Arrow's lengths and null counts
    assert len(nodes) >= 12
    offsets = finds(data, struct.pack("<qqqq", 0, 1, 1, 3))  # of the years
    assert len(offsets) == 1
    for at in [*nodes, offsets[0], offsets[0] + 24]:
        path.write_bytes(data[:at] + struct.pack("<q", length) + data[at + 8 :])
        with pytest.raises(Corruption, match=str(path)):
            columns.read(path)
    path.write_bytes(data[: offsets[0] + 24] + struct.pack("<q", 2) + data[offsets[0] + 32 :])
    with pytest.raises(Corruption, match=r"offsets from 0 to 2 for 3 values"):
        columns.read(path)


def finds(data: bytes, part: bytes) -> list[int]:
    return [at for at in range(len(data)) if data.startswith(part, at)]


def test_text_that_is_not_utf8_is_corruption_when_it_is_used(sample: tuple[Path, bytes, str]) -> None:
    path, data, _ = sample
    path.write_bytes(data.replace("été".encode(), b"\xff\xff\xff\xff\xff"))
    found = columns.read(path)
    with pytest.raises(Corruption, match=str(path)):
        found[1].dictionary[0]
    with pytest.raises(Corruption, match=str(path)):
        list(found[1].dictionary)


def rewritten(path: Path, change: Any) -> None:
    """The sample with another description or other arrays, and a checksum that fits."""
    table = pa.ipc.open_file(pa.py_buffer(path.read_bytes()))
    batch = table.get_batch(0)
    description = json.loads(table.schema.metadata[b"vsearch"])
    batches = change(description, batch) or [batch]
    text = json.dumps(description).encode()
    metadata = {b"vsearch": text, b"vsearch.xxh3": xxhash.xxh3_64_hexdigest(text).encode()}
    schema = batches[0].schema.with_metadata(metadata) if batches else table.schema
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        for each in batches:
            writer.write_batch(each.replace_schema_metadata(metadata))


def years(batch: Any, rows: list[Any], kind: Any) -> list[Any]:
    return [batch.set_column(0, "year:int", pa.array(rows, kind))]


LIES: list[Any] = [
    lambda description, batch: description.update(rows=4),
    lambda description, batch: description.update(rows="3"),
    lambda description, batch: description.pop("rows") and None,
    lambda description, batch: description.update(columns=3),
    lambda description, batch: description["columns"].pop() and None,
    lambda description, batch: description["columns"][0].pop() and None,
    lambda description, batch: description["columns"][0].__setitem__(1, "float"),
    lambda description, batch: description["columns"][0].__setitem__(1, "other"),
    lambda description, batch: description["columns"][0].__setitem__(2, 4),
    lambda description, batch: description["columns"][1].__setitem__(3, 4),
    lambda description, batch: [batch, batch],
    lambda description, batch: [batch.slice(0, 2)],
    lambda description, batch: [batch.drop_columns(["year:int"])],
    lambda description, batch: years(batch, [[1], None, [2, 3]], pa.large_list(pa.int64())),
    lambda description, batch: years(batch, [[1], [], [None, 3]], pa.large_list(pa.int64())),
    lambda description, batch: years(batch, [[1], [], [2, 3]], pa.list_(pa.int64())),
]


@pytest.mark.parametrize("lie", LIES)
def test_a_description_that_does_not_fit_is_corruption(sample: tuple[Path, bytes, str], lie: Any) -> None:
    path = sample[0]
    rewritten(path, lambda description, batch: None)
    assert_same(columns.read(path), SAMPLE)  # rewriting as such does no harm
    rewritten(path, lie)
    with pytest.raises(Corruption, match=str(path)):
        columns.read(path)


def test_a_description_changed_alone_is_corruption_and_a_newer_version_unsupported(
    sample: tuple[Path, bytes, str],
) -> None:
    path, data, _ = sample
    path.write_bytes(data.replace(b'[\\"year\\"', b'[\\"yeas\\"').replace(b'["year"', b'["yeas"'))
    assert path.read_bytes() != data
    with pytest.raises(Corruption, match="description does not match"):
        columns.read(path)
    path.write_bytes(data)
    rewritten(path, lambda description, batch: description.update(version=2))
    with pytest.raises(UnsupportedFormat, match=f"{path} has format 2"):
        columns.read(path)


def test_an_arrow_file_of_somebody_else_is_corruption(tmp_path: Path) -> None:
    batch = pa.record_batch([pa.array([1])], names=["a"])
    with pa.OSFile(str(tmp_path / "a"), "wb") as sink, pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)
    with pytest.raises(Corruption, match=str(tmp_path)):
        columns.read(tmp_path / "a")
