"""One writer at a time, told who the other one is."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from vsearch.errors import Locked, NotFound
from vsearch.storage.lock import DirectoryLock

HOLD = """
import sys, pathlib
from vsearch.storage.lock import DirectoryLock
DirectoryLock(pathlib.Path(sys.argv[1])).acquire()
sys.stdout.write("held\\n"); sys.stdout.flush()
sys.stdin.read()
"""


@contextmanager
def holder(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that has the lock."""
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdin=pipe, stdout=pipe, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def test_the_second_owner_in_a_process_is_refused_until_the_first_lets_go(tmp_path: Path) -> None:
    first, second = DirectoryLock(tmp_path), DirectoryLock(tmp_path)
    first.acquire()
    for lock in (first, second):
        with pytest.raises(Locked, match=rf"{tmp_path} is open for writing in this process \({os.getpid()}\)"):
            lock.acquire()
    second.release()  # it holds nothing: the first keeps its lock
    with pytest.raises(Locked):
        second.acquire()
    first.release()
    first.release()
    second.acquire()
    second.release()


def test_another_process_is_named_and_its_death_frees_the_lock(tmp_path: Path) -> None:
    lock = DirectoryLock(tmp_path)
    with holder(tmp_path) as process:
        with pytest.raises(Locked, match=f"{tmp_path} is open for writing in process {process.pid}"):
            lock.acquire()
        process.kill()
        process.wait()
        assert str(process.pid) in (tmp_path / "LOCK.vsearch").read_text()  # what it left is no obstacle
        lock.acquire()
    assert str(os.getpid()) in (tmp_path / "LOCK.vsearch").read_text()
    lock.release()


@pytest.mark.parametrize("content", ["", "garbage", "\xff\n\n\n", "-5\nhost\n"])
def test_an_owner_that_cannot_be_read_is_another_process(tmp_path: Path, content: str) -> None:
    with holder(tmp_path):
        (tmp_path / "LOCK.vsearch").write_text(content)
        with pytest.raises(Locked, match="another process"):
            DirectoryLock(tmp_path).acquire()


def test_an_owner_on_another_host_is_named_with_it(tmp_path: Path) -> None:
    with holder(tmp_path):
        (tmp_path / "LOCK.vsearch").write_text("77\nelsewhere\n")
        with pytest.raises(Locked, match="process 77 on elsewhere"):
            DirectoryLock(tmp_path).acquire()


FORK = """
import os, pathlib, signal, sys, time
from vsearch.storage.lock import DirectoryLock
lock = DirectoryLock(pathlib.Path(sys.argv[1]))
lock.acquire()
child = os.fork()
if child == 0:
    lock.release()  # of the child's copy: the parent keeps its lock
    time.sleep(60)
sys.stdout.write(f"{child}\\n"); sys.stdout.flush()
sys.stdin.read()
"""


def test_a_forked_child_neither_frees_nor_keeps_its_parents_lock(tmp_path: Path) -> None:
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", FORK, str(tmp_path)], stdin=pipe, stdout=pipe, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        try:
            time.sleep(0.1)  # so that the child has released its copy
            with pytest.raises(Locked):
                DirectoryLock(tmp_path).acquire()
            parent.kill()
            parent.wait()
            lock = DirectoryLock(tmp_path)
            lock.acquire()
            lock.release()
        finally:
            os.kill(child, 9)


def test_what_an_earlier_owner_wrote_is_gone_as_a_whole(tmp_path: Path) -> None:
    (tmp_path / "LOCK.vsearch").write_text("1234567890\n" + "x" * 1000)
    lock = DirectoryLock(tmp_path)
    lock.acquire()
    assert (tmp_path / "LOCK.vsearch").read_text().split("\n")[::2] == [str(os.getpid()), ""]
    lock.release()


def test_a_missing_directory_is_created(tmp_path: Path) -> None:
    lock = DirectoryLock(tmp_path / "a" / "b")
    lock.acquire()
    assert (tmp_path / "a" / "b" / "LOCK.vsearch").is_file()
    lock.release()


def test_somebody_elses_directory_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(NotFound, match=r"thesis\.txt"):
        DirectoryLock(tmp_path).acquire()
    assert os.listdir(tmp_path) == ["thesis.txt"]
