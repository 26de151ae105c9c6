"""A server in a process of its own, as users run it: `with serving(path) as server: server.url`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

STARTS_WITHIN_S = 60


@dataclass
class Server:
    """`log`: what it has written to stderr so far, which `reader` collects."""

    process: subprocess.Popen[str]
    url: str
    log: list[str]
    reader: threading.Thread

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def stop(self, number: int = signal.SIGTERM, timeout_s: float = 20) -> int:
        """Send a signal and wait for the end; returns the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(timeout_s)
        finally:
            self.process.kill()
            self.process.wait()
            self.reader.join()
            for stream in (self.process.stdout, self.process.stderr):
                assert stream is not None
                stream.close()


def start(path: Path, *options: str, environment: dict[str, str] | None = None) -> Server:
    """A server over the database in `path` on a free port; returns once it takes requests."""
    command = [sys.executable, "-m", "vsearch", "serve", str(path), "--port", "0", *options]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **(environment or {})},
    )
    assert process.stdout is not None
    log: list[str] = []
    reader = threading.Thread(target=_collect, args=(process, log), daemon=True)
    reader.start()
    killer = threading.Timer(STARTS_WITHIN_S, process.kill)
    killer.start()
    line = process.stdout.readline()
    killer.cancel()
    if " at http" not in line:
        process.kill()
        process.wait()
        raise AssertionError(f"the server did not start: {line}{''.join(log)}")
    return Server(process, line.rpartition(" at ")[2].strip(), log, reader)


def _collect(process: subprocess.Popen[str], log: list[str]) -> None:
    assert process.stderr is not None
    log.extend(process.stderr)


@contextmanager
def serving(path: Path, *options: str, environment: dict[str, str] | None = None) -> Iterator[Server]:
    """A server that is stopped at the end, when it must exit with code 0."""
    server = start(path, *options, environment=environment)
    try:
        yield server
    except BaseException:
        server.stop(signal.SIGKILL)
        raise
    assert server.stop() == 0, "".join(server.log)
