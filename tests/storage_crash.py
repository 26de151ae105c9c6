"""Kills a process at a failpoint: what the storage tests share.

A test starts one fresh process (`in_fresh_process`), which forks a child for every case: forking is quick, and safe
there because nothing has started a thread in the fresh process.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import signal
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vsearch.storage import failpoints


def in_fresh_process(function: Callable[..., None], *arguments: Any) -> None:
    """Runs a function of a test module in a new Python; its traceback is on stderr when it fails."""
    process = multiprocessing.get_context("spawn").Process(target=function, args=arguments)
    process.start()
    process.join()
    assert process.exitcode == 0


def forked(action: Callable[[], Any], specification: str = "") -> bool:
    """Runs an action in a child with failpoints armed; False when it was killed there. It must not fail otherwise."""
    child = os.fork()
    if child == 0:
        try:
            failpoints.arm(specification)
            action()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return False
    assert status == 0, f"with {specification!r} the child ended with status {status}"
    return True


def visits(action: Callable[[], None], record: Path) -> list[str]:
    """The failpoints that an action visits, as `name:1`, `name:2`, in order."""

    def run() -> None:
        with open(record, "w") as file:
            failpoints.reach = lambda name: file.write(f"{name}\n") and None  # type: ignore[assignment]
            action()

    assert forked(run)
    names = record.read_text().split()
    record.unlink()
    return [f"{name}:{names[: i + 1].count(name)}" for i, name in enumerate(names)]


def kill_everywhere(
    folder: Path, action: Callable[[Path], None], check: Callable[[Path, str], None], every_visit: bool = True
) -> int:
    """Runs `action` on copies of `folder`, killed at each visit of a failpoint, and `check` on what each kill leaves.

    Without `every_visit` only one visit of each failpoint kills, any of them. Returns how many kills there were.
    """
    copy = folder.with_name(f"{folder.name}-copy")
    shutil.copytree(folder, copy)
    points = visits(lambda: action(copy), folder.with_name("visits"))
    shutil.rmtree(copy)
    if not every_visit:
        names = [point.split(":")[0] for point in points]
        points = [f"{name}:{random.randint(1, names.count(name))}" for name in dict.fromkeys(names)]
    for point in points:
        name, visit = point.split(":")
        shutil.copytree(folder, copy)
        assert not forked(lambda: action(copy), f"{name}=kill:{visit}"), point
        assert forked(lambda point=point: check(copy, point))
        shutil.rmtree(copy)
    return len(points)
