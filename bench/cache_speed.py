"""How long a lookup and a store take, in one thread with the vector given; memory and reopening.

Entries are real questions and definitions (bench/cache_vectors.py). Lookups that hit are other people's questions with
the same answer; those that miss are sentences. A figure is the best of three rounds, since machines are shared; a
percentile is that of all calls of a round. A round before them, which warms pages and kernels, does not count.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import vsearch
from bench.cache_peers import run_peers
from bench.cache_vectors import THRESHOLD, Filling, Prompts, filling
from bench.report import Report
from vsearch.cache.cache import Cache
from vsearch.cache.policy import CachePolicy

ROUNDS = 3
STORED = 1_000
FILLED = 20_000  # entries of one `store_many`
MISS_S = 200e-6  # a miss in all
SMALL, LARGE, QUICK = 100_000, 1_000_000, 10_000


@dataclass(frozen=True, slots=True)
class Wanted:
    """Microseconds of a lookup."""

    p50: float
    p99: float


def run_speed(folder: Path, report: Report, quick: bool) -> float:
    """Add all figures, those beside GPTCache too; returns the seconds of a lookup at 100,000 entries."""
    with tempfile.TemporaryDirectory() as path:
        lookup_s = _measure(folder, Path(path), QUICK if quick else SMALL, Wanted(100, 300), report, True)
    if not quick:
        with tempfile.TemporaryDirectory() as path:
            _measure(folder, Path(path), LARGE, Wanted(200, 600), report, False)
    return lookup_s


def _measure(folder: Path, path: Path, entries: int, wanted: Wanted, report: Report, peers: bool) -> float:
    data = filling(folder, entries)
    name = f"{entries:,} entries"
    with vsearch.open(path / "db") as db:
        cache = _created(db, "cache", "os", entries, data)
        start = time.perf_counter()
        _fill(cache, data)
        fill_s = time.perf_counter() - start
        note = f"{fill_s:.0f} s"
        report.row(f"fill_{entries}", f"{name}: store_many, entries/s", len(cache) / fill_s, None, note)
        lookup_s = _lookups(cache, data, name, wanted, report)
        _stores(cache, data, name, report)
        if peers:
            synced = _created(db, "synced", "sync", entries, data)
            _fill(synced, data)
            run_peers(cache, synced, data, path, report)
            db.delete_cache("synced")
    _reopen(path / "db", data, name, report)
    return lookup_s


def _created(db: vsearch.Database, name: str, durability: Any, entries: int, data: Filling) -> Cache:
    dim = data.stored.vectors.shape[1]
    policy, most = CachePolicy(THRESHOLD), 2 * entries
    return db.create_cache(name, dim, default=policy, durability=durability, max_entries=most, max_bytes=64 << 30)


def _fill(cache: Cache, data: Filling) -> None:
    for at in range(0, len(data.stored), FILLED):
        some = data.stored[at : at + FILLED]
        cache.store_many(some.texts, data.answers[at : at + FILLED], some.vectors)


def _lookups(cache: Cache, data: Filling, name: str, wanted: Wanted, report: Report) -> float:
    """Of questions that hit, that miss, and both; returns the median seconds of both."""
    few = min(len(data.hits), len(data.misses), 2_000)
    hits, misses = data.hits[:few], data.misses[:few]
    sorts = {"hits": hits, "misses": misses, "hits and misses": _alternating(hits, misses)}
    median_s = 0.0
    for sort, asked in sorts.items():
        found = sum(
            cache.check(text, vector) is not None for text, vector in zip(asked.texts, asked.vectors, strict=True)
        )
        rounds = [
            _times(lambda row, a=asked: cache.check(a.texts[row], a.vectors[row]), len(asked)) for _ in range(ROUNDS)
        ]
        p50, p99 = (min(np.percentile(times, at) for times in rounds) for at in (50, 99))
        mean, median_s = min(times.mean() for times in rounds), p50
        key = f"{sort.replace(' ', '_')}_{len(data.stored)}"
        note = f"mean {mean * 1e6:.0f} us; {found / len(asked):.0%} of {len(asked):,} answered"
        report.row(f"{key}_p50_us", f"{name}: check, {sort}, p50, us", p50 * 1e6, ("<=", wanted.p50), note)
        report.row(f"{key}_p99_us", f"{name}: check, {sort}, p99, us", p99 * 1e6, ("<=", wanted.p99))
        if sort == "misses":
            report.row(f"miss_{len(data.stored)}_ms", f"{name}: a miss in all, ms", mean * 1e3, ("<=", MISS_S * 1e3))
    texts = data.stored.texts[:few]
    times = min((_times(lambda row: cache.check(texts[row]), few) for _ in range(ROUNDS)), key=np.median)
    note = f"p99 {np.percentile(times, 99) * 1e6:.0f} us"
    report.row(
        f"exact_{len(data.stored)}_us", f"{name}: check, the same prompt, p50, us", np.median(times) * 1e6, None, note
    )
    return median_s


def _stores(cache: Cache, data: Filling, name: str, report: Report) -> None:
    """Stores of entries that are new; they are removed again."""
    fresh = data.fresh[-STORED:]
    times = _times(
        lambda row: cache.store(fresh.texts[row], data.answers[row], fresh.vectors[row], tags=["timed"]), STORED
    )
    p50, p99 = (np.percentile(times, at) * 1e6 for at in (50, 99))
    report.row(f"store_{len(data.stored)}_us", f"{name}: store, p50, us", p50, None, f"p99 {p99:.0f} us")
    cache.invalidate(tag="timed")


def _reopen(path: Path, data: Filling, name: str, report: Report) -> None:
    """In a process of its own: seconds from opening the database to the first answer, and the memory of an entry: what
    is resident after some lookups beyond that of a process with an empty cache that has done as many."""
    code = (
        "import sys, time, tempfile, psutil, numpy as np, vsearch\n"
        "path, question, vectors = sys.argv[1], sys.argv[2], np.load(sys.argv[3])\n"
        "warm = vsearch.open(tempfile.mkdtemp()).create_cache('warm', vectors.shape[1])\n"
        "warm.store_many([str(i) for i in range(4000)], ['a'] * 4000, np.resize(vectors, (4000, vectors.shape[1])))\n"
        "for i, v in enumerate(vectors): warm.check(f'what {i}', v)\n"
        "before = psutil.Process().memory_info().rss\n"
        "start = time.perf_counter()\n"
        "cache = vsearch.open(path).cache('cache')\n"
        "cache.check(question, vectors[0])\n"
        "opened = time.perf_counter() - start\n"
        "for i, v in enumerate(vectors): cache.check(f'what {i}', v)\n"
        "print(opened, psutil.Process().memory_info().rss - before, len(cache))\n"
    )
    with tempfile.NamedTemporaryFile(suffix=".npy") as file:
        np.save(file, data.hits.vectors[:500])
        file.flush()
        command = [sys.executable, "-c", code, str(path), data.hits.texts[0], file.name]
        out = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    entries = int(out[2])
    report.row(f"reopen_{len(data.stored)}_s", f"{name}: reopen to first answer, s", float(out[0]))
    note = f"{int(out[1]) / 2**20:,.0f} MB"
    report.row(f"bytes_{len(data.stored)}", f"{name}: memory of an entry, bytes", int(out[1]) / entries, None, note)


def _alternating(a: Prompts, b: Prompts) -> Prompts:
    texts = [text for pair in zip(a.texts, b.texts, strict=True) for text in pair]
    return Prompts(texts, np.stack([a.vectors, b.vectors], 1).reshape(len(texts), -1))


def _times(task: Callable[[int], Any], count: int) -> NDArray[np.float64]:
    """Seconds of each call, float64 [count]."""
    times = np.empty(count)
    for row in range(count):
        start = time.perf_counter()
        task(row)
        times[row] = time.perf_counter() - start
    return times
