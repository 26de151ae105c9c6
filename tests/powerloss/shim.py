"""Runs a program under the recording library, which is built from shim.c when it is first needed.

    record(["-c", program], root, journal)     # in the test
    powerloss.ack("message")                   # in the program

The library is preloaded into the child and its children (LD_PRELOAD), so only on Linux, and only calls that go through
the C library are seen: those of Python, of RocksDB and of Rust do.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import cast

from .journal import snapshot
from .replay import verify

SOURCE = Path(__file__).with_name("shim.c")


@cache
def build() -> Path:
    """The built library. Raises RuntimeError with the reason when it cannot be built here."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if not sys.platform.startswith("linux") or sys.maxsize < 1 << 32:
        raise RuntimeError("recording needs 64-bit Linux")
    if compiler is None:
        raise RuntimeError("recording needs a C compiler: neither cc nor gcc is there")
    folder = tempfile.mkdtemp(prefix="powerloss-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    library = Path(folder, "shim.so")
    command = [compiler, "-shared", "-fPIC", "-O1", "-pthread", "-o", str(library), str(SOURCE), "-ldl"]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    if built.returncode:
        raise RuntimeError(f"the recording library does not compile: {built.stderr}")
    return library


@cache
def unavailable() -> str | None:
    """Why nothing can be recorded on this machine; None when it can."""
    try:
        with tempfile.TemporaryDirectory(prefix="powerloss-") as folder:
            record(["-c", "import powerloss; powerloss.ack('')"], Path(folder, "root"), Path(folder, "journal"))
    except RuntimeError as error:
        return str(error)
    return None


def record(
    argv: Sequence[str], root: Path, journal: Path, *, timeout_s: float = 60.0, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Runs Python with the arguments `argv` and records in `journal` what it does to files below the folder `root`.

    The folder is made when it is missing; what lies in it already counts as durable. With a journal of an earlier run
    on the same folder, the recording goes on where that one ended. A program that ends by itself is checked to have
    been recorded completely.

    Raises RuntimeError when the program fails (unless check=False), Unsupported when it wrote unseen or in a way that
    cannot be simulated.
    """
    root, journal = root.resolve(), journal.resolve()
    root.mkdir(parents=True, exist_ok=True)
    if journal.is_relative_to(root):
        raise ValueError(f"the journal {journal} lies in the recorded folder {root}")
    if not journal.exists():
        snapshot(root, journal)
    environment = {
        **os.environ,
        "LD_PRELOAD": " ".join(filter(None, [str(build()), os.environ.get("LD_PRELOAD")])),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(SOURCE.parents[1]), os.environ.get("PYTHONPATH")])),
        "VSEARCH_RECORD_ROOT": str(root),
        "VSEARCH_RECORD_JOURNAL": str(journal),
    }
    done = subprocess.run(
        [sys.executable, *argv], env=environment, capture_output=True, text=True, timeout=timeout_s, check=False
    )
    if check and done.returncode:
        raise RuntimeError(f"the recorded program ended with {done.returncode}: {done.stderr}")
    if done.returncode >= 0:
        verify(journal, root)
    return done


def ack(message: str) -> None:
    """Called by the recorded program: from here on it may be held to `message`. Raises RuntimeError elsewhere."""
    data = message.encode()
    _ack()(data, len(data))


@cache
def _ack() -> Callable[[bytes, int], None]:
    try:
        function = ctypes.CDLL(None).powerloss_ack
    except AttributeError:
        raise RuntimeError("nothing is recorded: this program was not started by record()") from None
    function.argtypes, function.restype = (ctypes.c_char_p, ctypes.c_size_t), None
    return cast("Callable[[bytes, int], None]", function)
