"""The command line: what it prints, what it writes, its exit codes, and imports that go on after a stop."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

import vsearch
from vsearch.__main__ import main
from vsearch.collection import Collection

ROWS, DIM = 40, 8
VECTORS = np.random.default_rng(7).normal(size=(ROWS, DIM)).astype(np.float32)
TABLE = pa.table(
    {
        "id": [f"p{i}" for i in range(ROWS)],
        "year": range(2000, 2000 + ROWS),
        "note": pa.array([None if i % 2 else f"[red]note[/red] {i}" for i in range(ROWS)]),
        "dense": pa.FixedSizeListArray.from_arrays(VECTORS.ravel(), DIM),
    }
)


class Shell:
    """Runs commands in this process; `db` is the directory of a database."""

    def __init__(self, folder: Path, capture: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.db = str(folder / "db")
        self._capture = capture

    def run(self, *args: object, code: int = 0) -> str:
        """What a command prints; on failure, its stderr."""
        self._capture.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main([str(arg) for arg in args])
        output = self._capture.readouterr()
        assert (stopped.value.code or 0) == code, output.err
        return output.err if code == 2 else output.out

    def table(self, name: str = "docs.parquet", table: pa.Table = TABLE) -> Path:
        parquet.write_table(table, self.folder / name, row_group_size=16)
        return self.folder / name


@pytest.fixture
def shell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(tmp_path, capsys)


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("imported")
    parquet.write_table(TABLE, folder / "docs.parquet")
    with pytest.raises(SystemExit, match="0"):
        main(["import", str(folder / "db"), "docs", str(folder / "docs.parquet"), "--create"])
    return folder


@pytest.fixture
def loaded(shell: Shell, imported: Path) -> Shell:
    """With the table imported into a collection `docs`, and as docs.parquet."""
    shutil.copytree(imported, shell.folder, dirs_exist_ok=True)
    return shell


def points(directory: str, collection: str = "docs") -> list[vsearch.Point]:
    with vsearch.open(directory, read_only=True) as db:
        return list(db.collection(collection).scroll(limit=1_000, with_vectors=True))


def test_import_stores_ids_vectors_and_the_other_columns(shell: Shell) -> None:
    text = shell.run("import", shell.db, "docs", shell.table(), "--create", "--batch", "7")
    assert text.startswith("imported 40 points into docs (")
    assert text.endswith("; it holds 40\n")
    found = {point.id: point for point in points(shell.db)}
    assert len(found) == ROWS
    for i, row in enumerate(TABLE.to_pylist()):
        point = found[row["id"]]
        assert point.payload == {key: row[key] for key in ("year", "note") if row[key] is not None}
        np.testing.assert_allclose((point.vectors or {})["dense"], VECTORS[i] / np.linalg.norm(VECTORS[i]), atol=1e-6)


def test_import_takes_names_of_columns_and_reads_json_lines(shell: Shell) -> None:
    path = shell.folder / "docs.jsonl"
    rows = [{"key": i, "a": [1, i], "b": [1, 0, i + 0.5], "tag": "x", "junk": 1} for i in range(5)]
    path.write_text("\n".join(map(json.dumps, rows)))
    options = ["--id", "key", "--vector", "left=a", "--vector", "b", "--skip", "junk", "--create", "--metric", "l2"]
    shell.run("import", shell.db, "docs", path, *options)
    with vsearch.open(shell.db, read_only=True) as db:
        schema = db.collection("docs").schema
    assert {name: (field.dim, field.metric) for name, field in schema.items()} == {"left": (2, "l2"), "b": (3, "l2")}
    assert [(point.id, point.payload) for point in points(shell.db)] == [(i, {"tag": "x"}) for i in range(5)]


def test_import_reads_several_files_and_replaces_points(loaded: Shell) -> None:
    more = TABLE.set_column(0, "id", pa.array([f"p{i + 30}" for i in range(ROWS)]))
    text = loaded.run("import", loaded.db, "docs", loaded.table("a.parquet"), loaded.table("b.parquet", more))
    assert text.startswith("imported 80 points")
    assert text.endswith("; it holds 70\n")


def interrupted(monkeypatch: pytest.MonkeyPatch, after: int, error: BaseException, write_first: bool) -> list[Any]:
    """From now on upserts are noted; number `after` fails, before or after its write."""
    upsert, seen = Collection.upsert, []

    def noting(self: Collection, ids: Any, *args: Any, **kwargs: Any) -> Any:
        seen.append(list(ids))
        if len(seen) == after and not write_first:
            raise error
        result = upsert(self, ids, *args, **kwargs)
        if len(seen) == after:
            raise error
        return result

    monkeypatch.setattr(Collection, "upsert", noting)
    return seen


@pytest.mark.parametrize("write_first", [False, True])
@pytest.mark.parametrize("after", [1, 3, 5, 8])
def test_a_stopped_import_goes_on_where_it_was(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, after: int, write_first: bool
) -> None:
    """Two files of 40 rows in batches of 10; the batch that was being written is written again."""
    other = TABLE.set_column(0, "id", pa.array([f"q{i}" for i in range(ROWS)]))
    command = ["import", shell.db, "docs", shell.table(), shell.table("q.parquet", other), "--create", "--batch", "10"]
    with monkeypatch.context() as patch:
        interrupted(patch, after, KeyboardInterrupt(), write_first)
        shell.run(*command, code=130)
    with monkeypatch.context() as patch:
        seen = interrupted(patch, 0, KeyboardInterrupt(), write_first)
        shell.run(*command)
    expected = [f"{letter}{i}" for letter in "pq" for i in range(ROWS)]
    assert [id for batch in seen for id in batch] == expected[10 * (after - 1) :]
    assert sorted(point.id for point in points(shell.db)) == sorted(expected)
    assert not (Path(shell.db) / "import.json").exists()


def test_a_stopped_import_begins_anew_when_the_file_or_the_collection_is_another(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop_and_repeat(between: Any, *options: str) -> int:
        """Rows written by the second run."""
        shell.run("import", shell.db, "docs", shell.table(), "--create", "--batch", "10")
        with monkeypatch.context() as patch:
            interrupted(patch, 3, KeyboardInterrupt(), False)
            shell.run("import", shell.db, "docs", path, "--batch", "10", code=130)
        between()
        with monkeypatch.context() as patch:
            seen = interrupted(patch, 0, KeyboardInterrupt(), False)
            shell.run("import", shell.db, "docs", path, "--create", "--batch", "10", *options)
        return sum(map(len, seen))

    def recreate() -> None:
        with vsearch.open(shell.db) as db:
            db.delete_collection("docs")

    path = shell.table("other.parquet")
    assert stop_and_repeat(lambda: None) == 20
    assert stop_and_repeat(recreate) == ROWS
    assert stop_and_repeat(lambda: None, "--skip", "year") == ROWS
    assert stop_and_repeat(lambda: os.utime(path, (1, 1))) == ROWS
    assert stop_and_repeat(lambda: (Path(shell.db) / "import.json").write_text("{")) == ROWS


def test_an_import_that_is_killed_loses_and_repeats_nothing_that_counts(shell: Shell) -> None:
    rows = 6_000
    vectors = np.random.default_rng(1).normal(size=(rows, DIM)).astype(np.float32)
    table = pa.table({"id": range(rows), "dense": pa.FixedSizeListArray.from_arrays(vectors.ravel(), DIM)})
    args = ["import", shell.db, "docs", str(shell.table("large.parquet", table)), "--create", "--batch", "5"]
    process = subprocess.Popen([sys.executable, "-m", "vsearch", *args], stdout=subprocess.DEVNULL)
    checkpoint = Path(shell.db) / "import.json"
    while not checkpoint.exists() and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    ((reached, _),) = json.loads(checkpoint.read_bytes())["docs"].values()
    assert 0 < reached < rows
    assert len(points(shell.db)) >= min(reached, 1_000)
    args[-1] = "2000"
    text = shell.run(*args)
    assert text.startswith(f"imported {rows - reached:,} points")
    assert text.endswith(f"; it holds {rows:,}\n")


def test_search_by_vector_file_and_point(loaded: Shell) -> None:
    query = VECTORS[5] + 0.01
    scores = (VECTORS @ query) / np.linalg.norm(VECTORS, axis=1) / np.linalg.norm(query)
    expected = [f"p{i}" for i in np.argsort(-scores)[:3]]
    np.save(loaded.folder / "one.npy", query)
    np.save(loaded.folder / "row.npy", query[None])
    files = [["--file", loaded.folder / name] for name in ("one.npy", "row.npy")]
    for way in (["--vector", json.dumps(query.tolist())], *files):
        found = json.loads(loaded.run("search", loaded.db, "docs", *way, "--limit", 3, "--json"))
        assert [hit["id"] for hit in found] == expected
        assert found[0]["score"] == pytest.approx(scores.max(), abs=1e-5)
        assert found[0]["payload"]["year"] == 2005
    scores = (VECTORS @ VECTORS[5]) / np.linalg.norm(VECTORS, axis=1)
    lines = loaded.run("search", loaded.db, "docs", "--like", "p5", "--limit", 4).splitlines()
    assert [line.split("\t")[1] for line in lines] == [f"p{i}" for i in np.argsort(-scores)[1:5]]  # not itself
    assert json.loads(lines[0].split("\t")[2])["year"] == 2000 + np.argsort(-scores)[1]


def test_text_of_payloads_is_shown_as_it_is(loaded: Shell) -> None:
    lines = loaded.run("search", loaded.db, "docs", "--vector", json.dumps(VECTORS[4].tolist()), "--limit", 1)
    assert lines.endswith('\t{"year": 2004, "note": "[red]note[/red] 4"}\n')


def test_search_with_filter_and_explain(loaded: Shell) -> None:
    query = ["--vector", json.dumps(VECTORS[0].tolist())]
    for where in ({"year": {"$gte": 2030}}, {"must": [{"key": "year", "range": {"gte": 2030}}]}):
        args = ["search", loaded.db, "docs", *query, "--filter", json.dumps(where), "--limit", 100]
        found = json.loads(loaded.run(*args, "--json"))
        assert sorted(hit["id"] for hit in found) == sorted(f"p{i}" for i in range(30, 40))
        assert "docs.dense" in loaded.run(*args, "--explain")
        plan = json.loads(loaded.run(*args, "--explain", "--json"))
        assert plan["steps"][0]["matched"] == 10
        assert plan["steps"][0]["measured"] is not None


def test_a_point_with_an_integer_id_is_found(shell: Shell) -> None:
    table = TABLE.set_column(0, "id", pa.array(range(ROWS)))
    shell.run("import", shell.db, "docs", shell.table(table=table), "--create")
    found = json.loads(shell.run("search", shell.db, "docs", "--like", "7", "--limit", 1000, "--json"))
    assert sorted(hit["id"] for hit in found) == [i for i in range(ROWS) if i != 7]


def test_stats_check_and_optimize(loaded: Shell) -> None:
    assert loaded.run("optimize", loaded.db).startswith("docs: optimized in ")
    assert loaded.run("optimize", loaded.db, "docs").startswith("docs: optimized in ")
    found = json.loads(loaded.run("stats", loaded.db, "--json"))
    assert [(docs["name"], docs["points"]) for docs in found["collections"]] == [("docs", ROWS)]
    text = loaded.run("stats", loaded.db)
    assert "docs" in text
    assert "dense 8 cosine" in text
    assert loaded.run("check", loaded.db) == "no problems found\n"


SPARSE = [{1: 1.0, 5: 0.5}, {5: 2.0}, {}]
TEXTS = ["a red fox", "the red wine", None]


def mixed_table(shell: Shell) -> Path:
    columns = {
        "id": ["a", "b", "c"],
        "v": pa.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], pa.list_(pa.float32())),
        "terms": [list(row) for row in SPARSE],
        "weights": pa.array([list(row.values()) for row in SPARSE], pa.list_(pa.float32())),
        "body": TEXTS,
        "n": [1, 2, 3],
    }
    return shell.table("mixed.parquet", pa.table(columns))


MIXED = ["--vector", "v", "--sparse", "s=terms,weights", "--text", "body"]


def test_sparse_vectors_and_texts_are_imported_searched_and_shown(shell: Shell) -> None:
    shell.run("import", shell.db, "docs", mixed_table(shell), "--create", *MIXED, "--language", "english")
    found = {point.id: point for point in points(shell.db)}
    assert [(found[one].vectors or {})["s"] for one in "abc"] == SPARSE
    assert [(found[one].vectors or {}).get("body") for one in "abc"] == TEXTS
    assert [found[one].payload for one in "abc"] == [{"n": 1}, {"n": 2}, {"n": 3}]
    for query in ('{"5": 1.0}', '{"indices": [5], "values": [1.0]}'):
        lines = shell.run("search", shell.db, "docs", "--using", "s", "--vector", query).splitlines()
        assert [line.split("\t")[:2] for line in lines] == [["2.000000", "b"], ["0.500000", "a"]]
    hits = json.loads(shell.run("search", shell.db, "docs", "--using", "body", "--text", "foxes", "--json"))
    assert [hit["id"] for hit in hits] == ["a"]
    for using, like in (("s", "a"), ("body", "a")):
        assert "\tb\t" in shell.run("search", shell.db, "docs", "--using", using, "--like", like)
    text = shell.run("stats", shell.db)
    for field in ("v 2 cosine", "s sparse", "body text english"):
        assert field in text
    assert "bm25" in shell.run("search", shell.db, "docs", "--using", "body", "--text", "fox", "--explain")
    for query in ('{"x": 1}', '{"-1": 1}', '{"5": "a"}', '{"indices": 5, "values": [1]}', "{}x"):
        shell.run("search", shell.db, "docs", "--using", "s", "--vector", query, code=2)
    assert shell.run("search", shell.db, "docs", "--text", "fox", code=2).startswith(
        "error: the collection has several"
    )
    shell.run("export", shell.db, "docs", shell.folder / "out.parquet")
    shell.run("import", shell.folder / "other", "copy", shell.folder / "out.parquet", "--create")
    assert {point.id: (point.vectors or {}).get("s") for point in points(str(shell.folder / "other"), "copy")} == {
        one: (found[one].vectors or {})["s"] for one in "abc"
    }


def test_a_sparse_matrix_is_imported(shell: Shell) -> None:
    path = shell.folder / "rows.npz"
    matrix = {"indptr": [0, 2, 3, 3], "indices": [1, 5, 5], "data": [1.0, 0.5, 2.0]}
    np.savez(path, **{name: np.array(values) for name, values in matrix.items()})
    assert shell.run("import", shell.db, "docs", path, "--create").startswith("imported 3 points")
    assert [(point.id, point.vectors) for point in points(shell.db)] == [
        (i, {"sparse": row}) for i, row in enumerate(SPARSE)
    ]
    shell.run("import", shell.db, "named", path, "--create", "--sparse", "s=matrix")
    assert [(point.vectors or {})["s"] for point in points(shell.db, "named")] == SPARSE


def test_what_is_no_column_of_that_kind_makes_no_collection(shell: Shell) -> None:
    path = mixed_table(shell)
    for options in (
        ["--text", "none"],
        ["--sparse", "s=body"],
        ["--sparse", "s=terms"],
        ["--text", "a", "--sparse", "a"],
    ):
        shell.run("import", shell.db, "docs", path, "--create", *options, code=2)
    shell.run("import", shell.db, "docs", path, "--create", "--text", "body", "--language", "klingon", code=2)
    with vsearch.open(shell.db) as db:
        assert db.collections() == []


def test_check_tells_of_damage(loaded: Shell) -> None:
    loaded.run("optimize", loaded.db)
    largest = max((Path(loaded.db) / "segments").rglob("*"), key=lambda path: path.is_file() and path.stat().st_size)
    data = bytearray(largest.read_bytes())
    data[len(data) // 2] ^= 1
    largest.write_bytes(data)
    assert largest.name in loaded.run("check", loaded.db, code=1)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["search", "DB", "none", "--vector", "[1]"], "no collection named 'none'"),
        (["search", "DB", "docs"], "needs one query vector"),
        (["search", "DB", "docs", "--vector", "[1]", "--like", "p1"], "needs one query vector"),
        (["search", "DB", "docs", "--vector", "[1"], "--vector is not JSON"),
        (["search", "DB", "docs", "--vector", "[1, 2]"], "8"),
        (["search", "DB", "docs", "--vector", '"x"'], ""),
        (["search", "DB", "docs", "--like", "nobody"], "no point 'nobody'"),
        (["search", "DB", "docs", "--like", "p1", "--using", "other"], "other"),
        (["search", "DB", "docs", "--like", "p1", "--filter", '{"a": {"$no": 1}}'], "$no"),
        (["search", "DB", "docs", "--file", "FILE"], "is not a NumPy file"),
        (["search", "DB", "docs", "--file", "missing.npy"], "missing.npy"),
        (["search", "DB", "docs", "--file", "empty.npy"], "is not a NumPy file"),
        (["search", "DB", "docs", "--file", "scalar.npy"], "Give one vector"),
        (["search", "DB", "docs", "--file", "rows.npy"], "Give one vector"),
        (["search", "DB", "docs", "--file", "arrays.npz"], "holds several arrays"),
        (["search", "DB", "docs", "--like", "9" * 5_000], "has 5000 bytes"),
        (["search", "nowhere", "docs", "--like", "p1"], "nowhere"),
        (["stats", "nowhere"], "nowhere"),
        (["check", "nowhere"], "nowhere"),
        (["optimize", "nowhere"], "nowhere"),
        (["optimize", "DB", "none"], "no collection named 'none'"),
        (["import", "DB", "none", "FILE"], "Use --create"),
        (["import", "nowhere", "docs", "FILE"], "Use --create"),
        (["import", "DB", "docs", "missing.parquet"], "missing.parquet cannot be read"),
        (["import", "nowhere", "docs", "FILE", "missing.parquet", "--create"], "missing.parquet cannot be read"),
        (["import", "DB", "docs", "FILE", "--id", "key"], "no column 'key'"),
        (["import", "DB", "docs", "FILE", "--vector", "other=dense"], "no field named 'other'"),
        (["import", "DB", "docs", "FILE", "--vector", "dense=year"], "not lists of numbers"),
        (["import", "DB", "docs", "FILE", "--vector", "dense=a", "--vector", "dense=b"], "each field once"),
        (["import", "DB", "docs", "FILE", "--id", "note"], "rows 0 to 39"),
        (["import", "DB", "new", "FILE", "--create", "--metric", "cos"], "unknown metric 'cos'"),
    ],
)
def test_what_cannot_be_done_is_one_line_on_stderr(
    loaded: Shell, monkeypatch: pytest.MonkeyPatch, command: list[str], message: str
) -> None:
    monkeypatch.chdir(loaded.folder)
    Path("empty.npy").touch()
    np.save("scalar.npy", 1.0)
    np.save("rows.npy", VECTORS)
    np.savez("arrays.npz", VECTORS)
    names = {"DB": loaded.db, "FILE": "docs.parquet"}
    text = loaded.run(*(names.get(arg, arg) for arg in command), code=2)
    assert text.startswith("error: ")
    assert text.count("\n") == 1
    assert message in text
    assert not Path("nowhere").exists()


def test_a_wrong_option_is_no_traceback(shell: Shell) -> None:
    assert "No such option" in shell.run("stats", shell.db, "--none", code=2)


def test_a_locked_database_is_an_error(loaded: Shell) -> None:
    with vsearch.open(loaded.db):
        assert str(os.getpid()) in loaded.run("optimize", loaded.db, code=2)


def test_version(shell: Shell) -> None:
    assert shell.run("--version") == f"vsearch {vsearch.__version__}\n"
