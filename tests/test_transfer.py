"""Export and import: points come back as they were, in constant memory, from the library and the command line."""

from __future__ import annotations

import json
import time
import tracemalloc
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

import vsearch
from tests.test_cli import Shell
from vsearch import transfer
from vsearch.collection import Collection
from vsearch.errors import InvalidArgument
from vsearch.storage import exporting, tables
from vsearch.storage.tables import describe, detect, read_batches
from vsearch.transfer import Imported, export, import_file

FORMATS = ("parquet", "arrow")
FIELDS = {
    "": vsearch.Dense(2, metric="dot"),
    "id": vsearch.Dense(1, metric="l2"),
    "dense": vsearch.Dense(3, metric="l2", dtype="float16", m=7),
    "payload": vsearch.Dense(2, metric="dot", index="flat"),
}
NAMES = (f"c{number}" for number in count())


@pytest.fixture(scope="module")
def module_db(tmp_path_factory: pytest.TempPathFactory) -> Iterator[vsearch.Database]:
    with vsearch.open(tmp_path_factory.mktemp("transfer") / "db", durability="os") as database:
        yield database


def exported(docs: Collection, path: Path, kind: str = "parquet", **options: Any) -> Path:
    path.write_bytes(b"".join(export(docs, kind, **options)))  # type: ignore[arg-type]
    return path


def imported(db: vsearch.Database, path: Path, fields: dict[str, vsearch.Dense], **options: Any) -> Collection:
    docs = db.create_collection(next(NAMES), fields)
    assert all(batch.rows for batch in import_file(docs, path, **options))
    return docs


def contents(docs: Collection) -> str:
    """All points as text, in which 1, 1.0, "1" and True are different, and 0.0 and -0.0."""
    points = docs.scroll(limit=10_000, with_vectors=True)
    rows = [[p.id, p.payload, p.expires_at, p.vectors] for p in points]
    return json.dumps(rows, default=lambda array: [str(array.dtype), array.tolist()])


text = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False, allow_infinity=False), text
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3), max_leaves=6
)
keys = st.sampled_from(["id", "payload", "dense", "", "expires_at"]) | text
payloads = st.none() | st.dictionaries(keys, values, max_size=3)
integers = st.integers(0, 9) | st.integers(0, 2**64 - 1)
ids = st.one_of(*(st.lists(one, unique_by=repr, max_size=8) for one in (integers, text, integers | text)))
components = st.floats(-60_000, 60_000, width=16)
later_s = time.time() + 1_000_000
expiries = st.none() | st.floats(later_s, 1e11) | st.integers(int(later_s), 10**10)


def vectors(n: int) -> st.SearchStrategy[dict[str, Any]]:
    """Of n points; some lack a field, or all do."""

    def rows(dim: int) -> Any:
        row = st.lists(components, min_size=dim, max_size=dim)
        return st.one_of(
            st.just([None] * n), *(st.lists(one, min_size=n, max_size=n) for one in (row, row | st.none()))
        )

    return st.fixed_dictionaries({name: rows(field.dim) for name, field in FIELDS.items()})


@pytest.mark.parametrize("kind", FORMATS)
@settings(max_examples=25)
@given(data=st.data())
def test_points_come_back_as_they_were(module_db: vsearch.Database, kind: str, data: st.DataObject) -> None:
    docs = module_db.create_collection(next(NAMES), FIELDS)
    point_ids = data.draw(ids)
    n = len(point_ids)
    rows = [data.draw(st.lists(one, min_size=n, max_size=n)) for one in (payloads, expiries)]
    docs.upsert(point_ids, data.draw(vectors(n)), *rows)
    path = exported(docs, module_db.path.parent / "file", kind, batch_rows=data.draw(st.integers(1, 9)))
    again = imported(module_db, path, FIELDS, batch_rows=data.draw(st.integers(1, 9)))
    assert contents(again) == contents(docs)
    module_db.delete_collection(docs.name)
    module_db.delete_collection(again.name)


def test_vectors_come_back_bit_for_bit_and_directions_nearly(module_db: vsearch.Database) -> None:
    rng = np.random.default_rng(3)
    fields = {"exact": vsearch.Dense(17, metric="dot"), "cosine": vsearch.Dense(17), "": vsearch.Dense(1, metric="l2")}
    docs = module_db.create_collection(next(NAMES), fields)
    found = {name: rng.normal(size=(500, field.dim)).astype(np.float32) for name, field in fields.items()}
    found["exact"][0] = [-0.0, 1e-45, -1e-38, *range(14)]
    docs.upsert(range(500), found)  # type: ignore[arg-type]
    for kind in FORMATS:
        again = imported(module_db, exported(docs, module_db.path.parent / "file", kind), fields)
        for point in again.scroll(limit=1_000, with_vectors=True):
            stored = point.vectors or {}
            assert stored["exact"].tobytes() == found["exact"][point.id].tobytes()
            assert stored[""].tobytes() == found[""][point.id].tobytes()
            unit = found["cosine"][point.id] / np.linalg.norm(found["cosine"][point.id])
            np.testing.assert_allclose(stored["cosine"], unit, atol=1e-6)


def test_every_millisecond_comes_back(module_db: vsearch.Database) -> None:
    fields = {"dense": vsearch.Dense(1, metric="l2")}
    docs = module_db.create_collection(next(NAMES), fields)
    ends = [int(later_s) + i + i / 1000 for i in range(1_000)]
    docs.upsert(range(1_000), payloads=[{}] * 1_000, expires_at=ends)  # type: ignore[arg-type]
    again = imported(module_db, exported(docs, module_db.path.parent / "file"), fields)
    assert contents(again) == contents(docs)


@pytest.fixture
def docs(db: vsearch.Database) -> Collection:
    """100 points: half of them have both fields."""
    made = db.create_collection("docs", {"dense": vsearch.Dense(2, metric="l2"), "id": vsearch.Dense(1, metric="dot")})
    rows = {"dense": [[i, 1] for i in range(100)], "id": [[i] if i % 2 else None for i in range(100)]}
    made.upsert(range(100), rows, [{"n": i} if i % 3 else None for i in range(100)])  # type: ignore[arg-type]
    return made


def test_other_tools_read_exports(docs: Collection, tmp_path: Path) -> None:
    table = parquet.read_table(exported(docs, tmp_path / "t.parquet", batch_rows=40))
    assert table.column_names == ["id", "dense", "vector:id", "payload", "expires_at"]
    assert table.slice(1, 2).to_pylist() == [
        {"id": 1, "dense": [1.0, 1.0], "vector:id": [1.0], "payload": '{"n":1}', "expires_at": None},
        {"id": 2, "dense": [2.0, 1.0], "vector:id": None, "payload": '{"n":2}', "expires_at": None},
    ]
    groups = parquet.read_metadata(tmp_path / "t.parquet")
    assert [groups.row_group(i).num_rows for i in range(groups.num_row_groups)] == [40, 40, 20]
    assert (
        pa.ipc.open_stream(exported(docs, tmp_path / "t.arrow", "arrow").read_bytes()).read_all().to_pylist()
        == table.to_pylist()
    )
    described = {name: field.to_dict() for name, field in docs.schema.items()}
    for path in (tmp_path / "t.parquet", tmp_path / "t.arrow"):
        assert describe(path) == {"export": 1, "id": "integer", "fields": described}


def test_an_empty_collection_is_exported(db: vsearch.Database, tmp_path: Path) -> None:
    empty = db.create_collection("empty", {"dense": vsearch.Dense(2)})
    for kind in FORMATS:
        assert imported(db, exported(empty, tmp_path / kind, kind), empty.schema).count() == 0


def test_wrong_arguments_are_refused_at_once(docs: Collection) -> None:
    with pytest.raises(InvalidArgument, match="unknown format 'csv'"):
        export(docs, "csv")  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match="batch_rows is 0"):
        export(docs, batch_rows=0)


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize(("mine", "other"), [(int, str), (str, int)])
def test_points_that_live_throughout_are_exported_once(
    db: vsearch.Database, tmp_path: Path, kind: str, mine: type, other: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is written meanwhile may be missing, above all ids of a kind that the file has no place for."""
    monkeypatch.setattr(transfer, "POINTS_AT_ONCE", 7)
    docs = db.create_collection("docs", {"dense": vsearch.Dense(1, metric="l2")})
    docs.upsert([mine(i) for i in range(100)], {"dense": np.zeros((100, 1))})
    pieces = export(docs, kind, batch_rows=1)  # type: ignore[arg-type]
    docs.upsert([other(500)], {"dense": [[1.0]]})
    first = next(pieces)
    docs.delete([mine(0), mine(50)])
    docs.upsert([mine(2**63), *(other(i) for i in range(100))], {"dense": np.zeros((101, 1))})
    (tmp_path / "file").write_bytes(first + b"".join(pieces))
    found = [id for batch in read_batches(tmp_path / "file", 1_000) for id in batch.python("id")]
    assert len(set(found)) == len(found)
    assert found[0] == mine(0)  # it was written before it was deleted
    assert set(found) - {mine(0)} == {*(mine(i) for i in range(1, 100) if i != 50), mine(2**63)}


@pytest.mark.parametrize("kind", FORMATS)
def test_an_export_may_be_closed_early(docs: Collection, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    held = pa.total_allocated_bytes()
    seen: list[Any] = []
    pieces = export(docs, kind, batch_rows=1, progress=lambda *done: seen.append(done))  # type: ignore[arg-type]
    next(pieces)
    assert pa.total_allocated_bytes() >= held
    pieces.close()
    assert pa.total_allocated_bytes() == held
    assert len(seen) <= 1
    assert list(pieces) == []
    export(docs, kind).close()  # type: ignore[arg-type]


def test_an_error_on_the_way_ends_an_export(docs: Collection, db: vsearch.Database) -> None:
    pieces = export(docs, "parquet", batch_rows=1)
    next(pieces)
    db.delete_collection("docs")
    with pytest.raises(vsearch.NotFound):
        list(pieces)


@pytest.mark.parametrize("kind", FORMATS)
def test_export_and_import_hold_little(
    module_db: vsearch.Database, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """48 MB of payloads, after many that are small: a page of so many large ones would not fit the bound."""
    monkeypatch.setattr(exporting, "BATCH_BYTES", 1 << 20)
    monkeypatch.setattr(tables, "RUN_BYTES", 1 << 20)
    docs = module_db.create_collection(next(NAMES), {"dense": vsearch.Dense(8)})
    rng = np.random.default_rng(0)
    for start in range(0, 4_000, 500):
        payloads = [{"text": rng.bytes(12_000 if start >= 2_000 else 1).hex()} for _ in range(500)]
        docs.upsert(range(start, start + 500), {"dense": rng.normal(size=(500, 8))}, payloads)  # type: ignore[arg-type]
    arrow_held = pa.total_allocated_bytes()
    nbytes = largest = 0
    tracemalloc.start()
    try:
        with (tmp_path / "file").open("wb") as file:
            for piece in export(docs, kind):  # type: ignore[arg-type]
                largest = max(largest, len(piece), pa.total_allocated_bytes() - arrow_held)
                nbytes += file.write(piece)
        export_peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert nbytes > 20_000_000
    assert largest < 4_000_000
    assert export_peak < 12_000_000
    batches = list(read_batches(tmp_path / "file", 10_000))
    assert max(batch.rows for batch in batches[len(batches) // 2 :]) < 200
    assert sum(batch.rows for batch in batches) == 4_000


# Import


def test_import_goes_in_durable_batches(docs: Collection, db: vsearch.Database, tmp_path: Path) -> None:
    path = exported(docs, tmp_path / "file")
    target = db.create_collection("target", docs.schema)
    batches = import_file(target, path, batch_rows=30, start=20)
    assert target.count() == 0
    assert next(batches) == Imported(30, 10, 29)
    assert target.count() == 10
    assert list(batches) == [Imported(60, 30, 59), Imported(90, 30, 89), Imported(100, 10, 99)]
    assert target.count() == 80


def test_columns_of_exports_are_renamed_and_skipped(docs: Collection, db: vsearch.Database, tmp_path: Path) -> None:
    path = exported(docs, tmp_path / "file")
    other = {"other": docs.schema["dense"]}
    with pytest.raises(InvalidArgument, match=r"vectors of a field 'dense', the collection has not.* Skip the column"):
        imported(db, path, other)
    with pytest.raises(InvalidArgument, match="no field named 'dense'"):
        imported(db, path, other, vectors={"dense": "dense"})
    renamed = imported(db, path, other, vectors={"other": "dense"}, skip=["payload"])
    (point,) = renamed.get(7, with_vectors=True)
    assert (point.payload, point.vectors["other"].tolist()) == (None, [7, 1])  # type: ignore[index]
    (point,) = imported(db, path, {"dense": docs.schema["dense"]}, skip=["vector:id"]).get(7, with_vectors=True)
    assert list(point.vectors or {}) == ["dense"]


def table_with(metadata: Any, path: Path, **columns: Any) -> Path:
    """An export of one point, changed."""
    spec = {"export": 1, "id": "integer", "fields": {"dense": vsearch.Dense(2, metric="l2").to_dict()}}
    table = {"id": [1], "dense": [[1.0, 2.0]], "payload": ["{}"], "expires_at": [None], **columns}
    made = pa.table({name: column for name, column in table.items() if column is not None})
    parquet.write_table(made.replace_schema_metadata({"vsearch": json.dumps({**spec, **metadata})}), path)
    return path


@pytest.mark.parametrize(
    ("metadata", "columns", "message"),
    [
        ({"export": 2}, {}, "is an export of version 2"),
        ({"export": "1"}, {}, "is an export of version '1'"),
        ({"id": "float"}, {}, "ids of the kind 'float'"),
        ({"id": []}, {}, "ids of the kind"),
        ({"fields": 5}, {}, "describes its columns wrongly"),
        ({"fields": {"dense": 5}}, {}, "describes its columns wrongly"),
        ({"fields": {"dense": {"kind": "cubic"}}}, {}, "fields of the kind 'cubic'"),
        ({"fields": {"dense": {"kind": "dense", "dim": 0}}}, {}, "dim is 0"),
        ({"fields": {"dense": {"kind": "dense", "dim": 2, "new": 1}}}, {}, "describes its columns wrongly"),
        ({"id": "json"}, {}, "rows 0 to 0 of the upload are refused: .*int"),
        ({"id": "json"}, {"id": ["{"]}, "the id in row 0 is not JSON"),
        ({}, {"id": [None]}, "id None in row 0"),
        ({}, {"id": [-1]}, "id -1"),
        ({}, {"payload": ["["]}, "the payload in row 0 is not JSON"),
        ({}, {"payload": ["[" * 100_000]}, "the payload in row 0 is not JSON"),
        ({}, {"payload": ["[]"]}, "the payload in row 0 is a list"),
        ({}, {"payload": ['{"a": NaN}']}, "the payload in row 0 holds nan"),
        ({}, {"payload": [5]}, "the payload in row 0 is not JSON"),
        ({}, {"payload": None}, "the upload has no column 'payload'"),
        ({}, {"expires_at": ["soon"]}, "expires_at is 'soon'"),
        ({}, {"expires_at": [float("inf")]}, "expires_at is inf"),
        ({}, {"dense": [[1.0]]}, "dimension 1"),
        ({}, {"dense": ["x"]}, "column 'dense' holds string"),
        ({}, {"dense": None}, "the upload has no column 'dense'"),
    ],
)
def test_damaged_exports_are_refused(
    db: vsearch.Database, tmp_path: Path, metadata: dict[str, Any], columns: dict[str, Any], message: str
) -> None:
    docs = db.create_collection("docs", {"dense": vsearch.Dense(2, metric="l2")})
    assert [batch.rows for batch in import_file(docs, table_with({}, tmp_path / "good"))] == [1]
    with pytest.raises(InvalidArgument, match=message) as caught:
        list(import_file(docs, table_with(metadata, tmp_path / "bad", **columns), name="the upload"))
    assert str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize(
    "content", [b"x,y", b"PAR1", b"ARROW1\0\0", b"\xff\xff\xff\xff\x10", b'{"id": 1', b'{"id": 1}']
)
def test_errors_of_uploads_name_no_paths(docs: Collection, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "upload"
    path.write_bytes(content)
    with pytest.raises(InvalidArgument, match="the upload") as caught:
        list(import_file(docs, path, name="the upload"))
    assert str(tmp_path) not in str(caught.value)
    for read in (tables.count_rows, describe, detect):
        with pytest.raises(InvalidArgument, match="the upload cannot be read: No such file"):
            read(tmp_path / "none", "the upload")


def test_metadata_of_other_programs_is_theirs(db: vsearch.Database, tmp_path: Path) -> None:
    """Files with ordinary metadata, or none, are ordinary: `payload` and `expires_at` are columns like any others."""
    columns = {"id": ["a"], "dense": [[1.0, 2.0]], "payload": ["{}"], "expires_at": [5]}
    for metadata in (None, {"pandas": "{}"}, {"vsearch": "{}"}):
        parquet.write_table(pa.table(columns).replace_schema_metadata(metadata), tmp_path / "t")
        docs = imported(db, tmp_path / "t", {"dense": vsearch.Dense(2)})
        assert docs.get("a")[0].payload == {"payload": "{}", "expires_at": 5}


def test_arrow_files_with_damaged_offsets_are_refused(docs: Collection, tmp_path: Path) -> None:
    batch = pa.record_batch({"id": ["a", "b"], "dense": [[1.0, 2.0]] * 2})
    for make in (pa.ipc.new_file, pa.ipc.new_stream):
        with make(tmp_path / "t", batch.schema) as writer:
            writer.write_batch(batch)
        data = (tmp_path / "t").read_bytes()
        offsets = np.array([0, 1, 2], np.int32).tobytes()
        assert data.count(offsets) == 1
        (tmp_path / "t").write_bytes(data.replace(offsets, np.array([0, 1 << 30, 2], np.int32).tobytes()))
        with pytest.raises(InvalidArgument, match="cannot be read"):
            list(import_file(docs, tmp_path / "t"))


def test_numbers_that_float32_cannot_hold_are_refused(db: vsearch.Database, tmp_path: Path) -> None:
    docs = db.create_collection("docs", {"dense": vsearch.Dense(1)})
    parquet.write_table(pa.table({"id": [1], "dense": [[1e300]]}), tmp_path / "t.parquet")
    (tmp_path / "t.jsonl").write_text('{"id": 1, "dense": [1e300]}')
    for name in ("t.parquet", "t.jsonl"):
        with pytest.raises(InvalidArgument, match="row 0 holds NaN or infinity"):
            list(import_file(docs, tmp_path / name))


# The command line


@pytest.fixture
def shell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(tmp_path, capsys)


def filled(shell: Shell) -> str:
    with vsearch.open(shell.db) as db:
        docs = db.create_collection("docs", {"": vsearch.Dense(2, metric="l2"), "b": vsearch.Dense(1, dtype="float16")})
        rows = {"": [[i, 0.5] for i in range(50)], "b": [[1.0] if i % 2 else None for i in range(50)]}
        docs.upsert(list(range(49)) + ["x"], rows, [{"n": i} for i in range(50)], expires_at=2e9)
        return contents(docs)


@pytest.mark.parametrize(("name", "options"), [("t.parquet", []), ("t.ARROW", []), ("t", ["--format", "arrow"])])
def test_a_collection_goes_to_another_database(shell: Shell, name: str, options: list[str]) -> None:
    expected = filled(shell)
    file = shell.folder / name
    printed = shell.run("export", shell.db, "docs", file, *options)
    assert printed.startswith(f"exported 50 points to {file} (")
    assert detect(file) == ("parquet" if name == "t.parquet" else "stream")
    shell.run("import", shell.folder / "other", "copy", file, "--create", "--batch", 7)
    with vsearch.open(shell.folder / "other") as db, vsearch.open(shell.db, read_only=True) as original:
        assert db.collection("copy").schema == original.collection("docs").schema
        assert contents(db.collection("copy")) == expected


def test_import_creates_the_fields_that_are_asked_for(shell: Shell) -> None:
    filled(shell)
    file = shell.folder / "t.parquet"
    shell.run("export", shell.db, "docs", file)
    shell.run("import", shell.db, "a", file, "--create", "--skip", "vector:")
    shell.run("import", shell.db, "b", file, "--create", "--vector", "x=vector:")
    error = shell.run("import", shell.db, "c", file, "--create", "--vector", "x=payload", code=2)
    assert "has no vectors in 'payload'" in error
    with vsearch.open(shell.db, read_only=True) as db:
        assert list(db.collection("a").schema) == ["b"]
        assert list(db.collection("b").schema) == ["x"]
        assert db.collections() == ["a", "b", "docs"]


def test_import_into_the_field_without_a_name(shell: Shell) -> None:
    filled(shell)
    (shell.folder / "t.jsonl").write_text('{"id": 7, "v": [3, 4]}\n')
    shell.run("import", shell.db, "docs", shell.folder / "t.jsonl", "--vector", "=v")
    with vsearch.open(shell.db, read_only=True) as db:
        assert (db.collection("docs").get(7, with_vectors=True)[0].vectors or {})[""].tolist() == [3, 4]
    assert "each field once" in shell.run("import", shell.db, "docs", shell.folder / "t.jsonl", "--vector", "=", code=2)


def test_files_are_replaced_only_by_force_and_whole(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(shell)
    file = shell.folder / "t.parquet"
    file.write_text("precious")
    assert "Use --force" in shell.run("export", shell.db, "docs", file, code=2)
    with monkeypatch.context() as patch:
        stopped = KeyboardInterrupt()
        patch.setattr(Collection, "scroll", lambda *args, **kwargs: (_ for _ in ()).throw(stopped))
        shell.run("export", shell.db, "docs", file, "--force", code=130)
    with monkeypatch.context() as patch:
        failure = vsearch.Corruption("segment 1 is damaged")
        patch.setattr(Collection, "scroll", lambda *args, **kwargs: (_ for _ in ()).throw(failure))
        assert "segment 1 is damaged" in shell.run("export", shell.db, "docs", file, "--force", code=2)
    assert file.read_text() == "precious"
    shell.run("export", shell.db, "docs", file, "--force")
    assert parquet.read_metadata(file).num_rows == 50
    assert sorted(path.name for path in shell.folder.iterdir()) == ["db", "t.parquet"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["DB", "docs", "t.csv"], "the name of t.csv tells no format"),
        (["DB", "docs", "t.parquet", "--format", "csv"], "unknown format 'csv'"),
        (["DB", "docs", "t.parquet", "--format", ""], "unknown format ''"),
        (["DB", "none", "t.parquet"], "no collection named 'none'"),
        (["nowhere", "docs", "t.parquet"], "nowhere"),
        (["DB", "docs", "missing/t.parquet"], "no directory missing"),
        (["DB", "docs", "db", "--format", "arrow", "--force"], "db is a directory"),
    ],
)
def test_exports_that_cannot_be_made(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    filled(shell)
    monkeypatch.chdir(shell.folder)
    error = shell.run("export", *(shell.db if word == "DB" else word for word in arguments), code=2)
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert message in error
    assert [path.name for path in shell.folder.iterdir()] == ["db"]
