"""`vsearch backup`, `restore`, `export` and `import` with a server in place of a directory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

import vsearch
from tests.serving import serving

KEY = "a-key-for-everything"


def command(*arguments: object, key: str = KEY) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "vsearch", *map(str, arguments), "--api-key", key]
    return subprocess.run(line, capture_output=True, text=True, timeout=60)


def test_export_and_import_through_a_server(tmp_path: Path) -> None:
    X = np.random.default_rng(0).normal(size=(50, 4))
    file = tmp_path / "docs.parquet"
    with serving(tmp_path / "db", "--api-key", KEY) as server, vsearch.connect(server.url, api_key=KEY) as db:
        docs = db.create_collection("docs", {"v": vsearch.Dense(4, metric="l2")})
        docs.upsert([*range(25), *map(str, range(25))], {"v": X}, [{"n": i} for i in range(50)])
        done = command("export", server.url, "docs", file)
        assert done.returncode == 0, done.stderr
        again = command("export", server.url, "docs", file)
        assert (again.returncode, "--force" in again.stderr) == (2, True)
        missing = command("import", server.url, "copy", file)
        assert (missing.returncode, "--create" in missing.stderr) == (2, True)
        done = command("import", server.url, "copy", file, "--create")
        assert done.returncode == 0, done.stderr
        assert "imported 50 points into copy" in done.stdout
        copy = db.collection("copy")
        assert copy.schema == docs.schema
        for one, other in zip(docs.scroll(with_vectors=True), copy.scroll(with_vectors=True), strict=True):
            assert (one.id, one.payload) == (other.id, other.payload)
            assert one.vectors is not None
            assert other.vectors is not None
            assert np.array_equal(one.vectors["v"], other.vectors["v"])


def test_backup_and_restore_through_a_server(tmp_path: Path) -> None:
    X = np.random.default_rng(0).normal(size=(50, 4))
    file = tmp_path / "all.snapshot"
    with serving(tmp_path / "db", "--api-key", KEY) as server, vsearch.connect(server.url, api_key=KEY) as db:
        docs = db.create_collection("docs", {"v": vsearch.Dense(4)})
        docs.upsert(range(50), {"v": X}, [{"n": i} for i in range(50)])
        done = command("backup", server.url, file)
        assert done.returncode == 0, done.stderr
        assert "1 collection to" in done.stdout
        assert db.snapshots() == []
        locked = command("backup", tmp_path / "db", tmp_path / "other")
        assert locked.returncode == 2
        assert "vsearch backup http" in locked.stderr
        wrong = command("backup", server.url, tmp_path / "other", key="a-wrong-key-it-is")
        assert wrong.returncode == 2
        assert "API key" in wrong.stderr
        assert not (tmp_path / "other").exists()
        docs.delete(ids=[1, 2, 3])
        done = command("restore", file, server.url, "--collection", "docs", "--as", "copy")
        assert done.returncode == 0, done.stderr
        assert db.collection("copy").count() == 50
        assert docs.count() == 47
        everything = command("restore", file, server.url)
        assert (everything.returncode, "one collection" in everything.stderr) == (2, True)
    assert command("restore", file, tmp_path / "new").returncode == 0
    with vsearch.open(tmp_path / "new") as restored:
        assert restored.check() == []
        assert restored.collection("docs").count() == 50
