"""A server in a process of its own."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def served(path: Path) -> Iterator[tuple[int, float]]:
    """Serve a database: the port, and the seconds from the start until it was ready."""
    start = time.perf_counter()
    command = [sys.executable, "-m", "vsearch", "serve", str(path), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    line = process.stdout.readline()
    ready_s = time.perf_counter() - start
    try:
        yield int(line.rpartition(":")[2]), ready_s
    finally:
        process.terminate()
        assert process.wait(20) == 0, "the server did not stop in order"
