"""What is installed from the wheel is the package, all of it and nothing else, and it works outside the checkout."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import zipfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("index", "storage", "api")
SMOKE = """
import sys
import numpy as np
import vsearch

assert vsearch.__file__.startswith(sys.prefix), vsearch.__file__
vectors = np.eye(3, 8, dtype=np.float32)
with vsearch.open("db") as db:
    docs = db.create_collection("docs", fields={"dense": vsearch.Dense(8)})
    docs.upsert(["a", "b", "c"], vectors={"dense": vectors}, payloads=[{"n": n} for n in range(3)])
    assert docs.search(vectors[1], using="dense", limit=1)[0].id == "b"
with vsearch.open("db") as db:
    hit = db.collection("docs").search(vectors[2], using="dense", limit=1, filter=vsearch.F("n") >= 0)[0]
    assert (hit.id, hit.payload) == ("c", {"n": 2}), hit
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy: what an earlier build left in the checkout must not get into it."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("vsearch", *FOLDERS, "tests"):
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    isolation = ["--no-build-isolation"] if has_setuptools(77) else []  # without it pip needs the network
    pip("wheel", "--no-deps", *isolation, "--wheel-dir", out, source)
    (path,) = out.glob("*.whl")
    return path


def has_setuptools(major: int) -> bool:
    try:
        return int(version("setuptools").split(".")[0]) >= major
    except PackageNotFoundError:
        return False


def pip(*args: str | Path) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q", *args]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    info = {name for name in names if name.split("/")[0].endswith(".dist-info")}
    assert all(name.startswith("vsearch/") for name in names - info)
    linked = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]
    own = [path for path in (ROOT / "vsearch").rglob("*") if path.suffix in (".py", ".typed", ".parquet", ".txt")]
    expected = {path.relative_to(ROOT).as_posix() for path in own}
    expected |= {f"vsearch/{path.relative_to(ROOT).as_posix()}" for path in linked}
    assert names - info == expected
    licences = {name.partition("/licenses/")[2] for name in info}
    assert {"LICENSE", "vsearch/data/LICENSE-WordNet.txt"} <= licences


def test_the_installed_package_works_outside_the_checkout(wheel: Path, tmp_path: Path) -> None:
    """In an environment that takes its dependencies from this one, so that nothing is fetched."""
    home = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", home], check=True)
    pip("--python", home / "bin" / "python", "install", "--no-deps", "--no-index", wheel)
    # Paths in a .pth file come after the environment's own packages; .pth files there (editable installs) are not read.
    (packages,) = (home / "lib").glob("python*/site-packages")
    (packages / "dependencies.pth").write_text("\n".join(sysconfig.get_path(name) for name in ("purelib", "platlib")))
    run = subprocess.run([home / "bin" / "python", "-I", "-c", SMOKE], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    command = subprocess.run([home / "bin" / "vsearch", "stats", "db"], cwd=tmp_path, capture_output=True, text=True)
    assert command.returncode == 0, command.stderr
    assert "docs" in command.stdout
