"""The demo, as on a machine that has just been warmed up: kernels compile once, and the answers are the right ones."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import vsearch
from vsearch.index.jit import cache_folder


def test_the_demo_shows_the_right_answers_and_keeps_its_database(tmp_path: Path) -> None:
    """In a pipe: no colour, and no line wider than 80 columns. After a warm-up nothing is left to compile. (Begins with
    the kernels that there are: on a new machine those of a warm-up, since `make test` begins with it, and this.)"""
    kept = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "FORCE_COLOR")}
    environment = {**kept, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}

    def run(*arguments: str) -> str:
        command = [sys.executable, "-m", "vsearch", *arguments]
        process = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment)
        assert process.returncode == 0, process.stderr
        assert "\x1b" not in process.stdout + process.stderr
        return process.stdout

    def compiled() -> set[str]:
        return {path.name for path in (tmp_path / "cache").rglob("*.nbc")}

    folder = cache_folder()
    assert folder is not None
    kernels_only = shutil.ignore_patterns("*.tmp.*")  # other tests may be saving theirs
    shutil.copytree(folder, tmp_path / "cache" / "vsearch" / "kernels" / Path(folder).name, ignore=kernels_only)
    before = compiled()
    text = run("warmup")
    kernels = compiled()
    assert kernels
    assert text.startswith(f"{len(kernels - before)} kernels compiled in ")
    assert str(tmp_path / "cache") in text
    assert run("warmup").startswith("0 kernels compiled in ")
    for first in (True, False):
        text = run("demo", "demo-db")
        assert compiled() == kernels
        assert max(map(len, text.splitlines())) <= 80
        assert "compiled first" not in text
        assert ("written  5,000 points" in text) == first
        (definition,) = [line for line in text.splitlines() if "corrode, eat, rust" in line]
        assert definition.split()[0] == "*"
        rows = {line.split()[0]: line.split() for line in text.splitlines() if line.strip()}
        assert rows["exact"][1:4] == ["1.000", "67%", "0.449"]  # as an exact scan with NumPy has it
        assert float(rows["default"][1]) >= 0.9
    with vsearch.open(tmp_path / "demo-db", read_only=True) as db:
        assert db.collection("wordnet").count() == 5_000
