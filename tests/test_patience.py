"""People are told that kernels are compiled when that takes a while, and not otherwise."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from vsearch.index import patience


class Timer:
    """A timer that tests fire."""

    def __init__(self, seconds: float, action: object) -> None:
        self.seconds, self.action, self.cancelled, self.daemon = seconds, action, False, False
        timers.append(self)

    def start(self) -> None:
        pass

    def cancel(self) -> None:
        self.cancelled = True


timers: list[Timer] = []


def happening(module: str) -> SimpleNamespace:
    return SimpleNamespace(data={"dispatcher": SimpleNamespace(py_func=SimpleNamespace(__module__=module))})


@pytest.fixture
def listener(monkeypatch: pytest.MonkeyPatch) -> patience.Compiling:
    timers.clear()
    monkeypatch.setattr(patience.threading, "Timer", Timer)
    return patience.Compiling()


def test_quick_compiling_is_not_told(listener: patience.Compiling, caplog: pytest.LogCaptureFixture) -> None:
    ours = happening("vsearch.index.flat_scan")
    listener.on_start(ours)
    listener.on_start(ours)  # a kernel that calls another
    listener.on_end(ours)
    assert not timers[0].cancelled
    listener.on_end(ours)
    assert timers[0].cancelled
    assert not caplog.records


def test_slow_compiling_is_told_once(listener: patience.Compiling, caplog: pytest.LogCaptureFixture) -> None:
    ours = happening("vsearch.index.flat_scan")
    listener.on_start(ours)
    timers[0].action()  # type: ignore[operator]
    listener.on_end(ours)
    listener.on_start(ours)
    assert len(timers) == 1
    assert [record.message for record in caplog.records] == [patience.MESSAGE]


def test_the_functions_of_others_are_not_told(listener: patience.Compiling) -> None:
    listener.on_start(happening("somebody.elses"))
    assert not timers


def test_a_first_search_tells(tmp_path: Path) -> None:
    code = (
        "import numpy as np\n"
        "from vsearch.index import patience\n"
        "patience.PATIENCE_S = 0.01\n"
        "from vsearch.index.flat import Flat\n"
        "from vsearch.types import SearchParams\n"
        "Flat(np.ones((9, 4), np.float32), {}, 'dot').search(np.ones((1, 4), np.float32), 1, SearchParams())\n"
    )
    environment = {"XDG_CACHE_HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert patience.MESSAGE in run.stderr
