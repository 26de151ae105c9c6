"""How sides are compared: each with the smallest setting that reaches the wanted recall, by its best time of several
alternating rounds."""

from __future__ import annotations

import os
import time
from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

Setting = TypeVar("Setting")

THREADS = os.cpu_count() or 1
ROUNDS = 5
WANTED_RECALL = 0.99
BEAMS = (24, 32, 48, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 640, 768)  # of a graph's walk


def smallest(settings: Sequence[Setting], recall_of: Callable[[Setting], float]) -> tuple[Setting, float]:
    """The first setting that reaches the wanted recall, or the last, and what it reaches; recall grows with them."""
    setting = settings[min(bisect_left(settings, WANTED_RECALL, key=recall_of), len(settings) - 1)]
    return setting, recall_of(setting)


def best_s(*tasks: Callable[[], Any]) -> list[float]:
    """Best time of each task, in seconds, over alternating rounds."""
    times: list[list[float]] = [[] for _ in tasks]
    for _ in range(ROUNDS):
        for task, mine in zip(tasks, times, strict=True):
            start = time.perf_counter()
            task()
            mine.append(time.perf_counter() - start)
    return [min(mine) for mine in times]
