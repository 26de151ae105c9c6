"""Where compiled kernels are kept, each case in a Python of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import vsearch

PACKAGE = Path(vsearch.__file__).parent


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A folder to import a small vsearch from: the errors, the types, and this index folder's base."""
    root = tmp_path / "site"
    index = root / "vsearch" / "index"
    index.mkdir(parents=True)
    (root / "vsearch" / "__init__.py").touch()
    for name in ("__init__.py", "jit.py", "patience.py"):
        shutil.copy(PACKAGE / "index" / name, index / name)
    (index / "leaf.py").write_text("from .jit import kernel\n\n@kernel\ndef leaf():\n    return 1\n")
    (index / "top.py").write_text(
        "from .jit import kernel\nfrom .leaf import leaf\n\n"
        "@kernel(fastmath=True)\ndef top():\n    return 10 + leaf()\n"
    )
    return root


def run(package: Path, code: str, **variables: str) -> str:
    """What a new Python prints."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("NUMBA_", "XDG_"))}
    script = "import sys\nshow = lambda *a: sys.stdout.write(' '.join(map(str, a)))\n" + textwrap.dedent(code)
    command = [sys.executable, "-c", script]
    environment = {**clean, **variables}
    return subprocess.run(command, cwd=package, env=environment, check=True, capture_output=True, text=True).stdout


CALL = "from vsearch.index.top import top; r = top(); show(r, sum(top.stats.cache_hits.values()))"


def compiled(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.nbc"))


@pytest.mark.parametrize(("variable", "place"), [("NUMBA_CACHE_DIR", "."), ("XDG_CACHE_HOME", "."), ("HOME", ".cache")])
def test_kernels_are_kept_in_the_users_cache_folder(package: Path, tmp_path: Path, variable: str, place: str) -> None:
    folder = tmp_path / "user"
    assert run(package, CALL, **{variable: str(folder)}) == "11 0"
    kept = compiled(folder / place / "vsearch" / "kernels")
    assert len(kept) >= 2
    assert run(package, CALL, **{variable: str(folder)}) == "11 1"
    assert compiled(folder / place / "vsearch" / "kernels") == kept
    assert not compiled(package)


def test_an_edit_in_another_file_is_noticed(package: Path, tmp_path: Path) -> None:
    """numba alone would not: the changed kernel is in another file than the cached one that calls it."""
    cache = str(tmp_path / "user")
    assert run(package, CALL, XDG_CACHE_HOME=cache) == "11 0"
    leaf = package / "vsearch" / "index" / "leaf.py"
    leaf.write_text(leaf.read_text().replace("return 1", "return 2"))
    assert run(package, CALL, XDG_CACHE_HOME=cache) == "12 0"


def test_a_cache_folder_that_cannot_be_written_is_done_without(package: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()  # the parent is a file: not even root can make a folder there
    assert run(package, CALL, XDG_CACHE_HOME=str(tmp_path / "file" / "below")) == "11 0"
    assert not compiled(tmp_path)


def test_a_disk_that_fills_up_does_not_stop_a_kernel(package: Path, tmp_path: Path) -> None:
    code = """
    import builtins, tempfile, numba.core.caching as caching
    from vsearch.index.top import top
    def full(*arguments):
        raise OSError(28, "No space left on device")
    caching.IndexDataCacheFile.save = full
    show(top(), top())
    """
    assert run(package, code, XDG_CACHE_HOME=str(tmp_path / "user")) == "11 11"


def test_processes_that_compile_at_once_keep_each_others_kernels(package: Path, tmp_path: Path) -> None:
    """numba looks which names are free and writes its index later; without a lock two versions would get one name."""
    (package / "vsearch" / "index" / "twice.py").write_text(
        "from .jit import kernel\n\n@kernel\ndef twice(x):\n    return x + x\n"
    )
    code = """
    import time, numba.core.caching as caching
    from vsearch.index.twice import twice
    save = caching.IndexDataCacheFile._save_index
    caching.IndexDataCacheFile._save_index = lambda *a: (time.sleep(1), save(*a))
    show(twice({argument}), sum(twice.stats.cache_hits.values()))
    """
    cases = {"3": "6", "1.5": "3.0", "2j": "4j"}
    for hits in "01":
        with ThreadPoolExecutor() as pool:
            told = pool.map(lambda a: run(package, code.format(argument=a), XDG_CACHE_HOME=str(tmp_path)), cases)
        assert list(told) == [f"{expected} {hits}" for expected in cases.values()]
    assert len(compiled(tmp_path / "vsearch")) == len(cases)


def test_a_constant_compiles_no_version_of_its_own(package: Path, tmp_path: Path) -> None:
    (package / "vsearch" / "index" / "sums.py").write_text(
        "import numpy as np\nfrom .jit import kernel\n\n@kernel\ndef twice(x):\n    return x + x\n\n"
        "@kernel\ndef sums(n):\n    return twice(1) + twice(2) + twice(np.int64(n))\n"
    )
    code = "from vsearch.index.sums import sums, twice; show(sums(3), len(twice.signatures))"
    for place in (tmp_path / "user", package / "vsearch" / "__init__.py" / "below"):  # also where none can be kept
        assert run(package, code, XDG_CACHE_HOME=str(place)) == "12 1"


def test_the_users_numba_settings_are_left_alone(package: Path, tmp_path: Path) -> None:
    code = """
    import numba
    before = numba.config.CACHE_DIR
    from vsearch.index.top import top
    show(numba.config.CACHE_DIR == before)
    """
    assert run(package, code, XDG_CACHE_HOME=str(tmp_path / "user")) == "True"
    assert run(package, code, NUMBA_CACHE_DIR=str(tmp_path / "user")) == "True"


def test_without_compilation_kernels_are_plain_functions(package: Path, tmp_path: Path) -> None:
    code = "from vsearch.index.top import top; show(top(), type(top).__name__)"
    assert run(package, code, NUMBA_DISABLE_JIT="1", XDG_CACHE_HOME=str(tmp_path / "user")) == "11 function"
    assert not compiled(tmp_path)


def test_kernels_release_the_lock_of_the_interpreter() -> None:
    from vsearch.index.flat_scan import scan_rows

    assert scan_rows.targetoptions["nogil"]
    assert not scan_rows.targetoptions["fastmath"]
