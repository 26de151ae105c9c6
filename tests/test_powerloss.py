"""Power loss at any instant: with durability "sync" nothing acknowledged is lost; and each acknowledgement syncs.

The simulator is tests/powerloss; it is skipped, with the reason, where it cannot be built.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import vsearch
from bench import crash
from tests import powerloss

CUTS = 35  # places, each in three modes: least, most and a random part of what was not synced survives

pytestmark = pytest.mark.skipif(powerloss.unavailable() is not None, reason=str(powerloss.unavailable()))

WORKER = """
import pathlib, sys
import powerloss
from bench import crash
path, journal, seed = sys.argv[1:]
crash.work(pathlib.Path(path), pathlib.Path(journal), int(seed), lambda line: powerloss.ack(line.decode()), changes=30)
"""

SINGLE_WRITES = """
import sys
import numpy as np
import powerloss, vsearch
db = vsearch.open(sys.argv[1], durability=sys.argv[2])
docs = db.create_collection("docs", fields={"v": vsearch.Dense(4)})
powerloss.ack("ready")
for i in range(20):
    docs.upsert([i], vectors={"v": np.ones((1, 4))})
    powerloss.ack(str(i))
"""


def test_nothing_acknowledged_is_lost_at_any_cut(tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    root, events = tmp_path / "db", tmp_path / "events"
    powerloss.record(["-c", WORKER, str(root), str(tmp_path / "unused"), str(seed)], root, events)
    checked = 0
    for cut, image, acked in powerloss.cuts(events, count=CUTS, seed=seed):
        journal = crash.Journal(tmp_path / "none")
        for line in acked:
            journal.replay(json.loads(line))
        with vsearch.open(image) as db:
            try:
                crash.verify(db, journal.possible(), search=checked % 20 == 0)
            except (AssertionError, vsearch.VSearchError) as error:
                raise AssertionError(f"{cut}: {error}") from error
        checked += 1
    assert checked >= 100


def test_the_simulator_sees_what_durability_os_gives_up(tmp_path: Path) -> None:
    root, events = tmp_path / "db", tmp_path / "events"
    powerloss.record(["-c", SINGLE_WRITES, str(root), "os"], root, events)
    lost = 0
    for _, image, acked in powerloss.cuts(events, count=30, modes=("least",)):
        with vsearch.open(image) as db:
            count = db.collection("docs").count() if "docs" in db.collections() else 0
        lost += count < len(acked) - 1
    assert lost


def test_every_acknowledged_single_write_is_synced(tmp_path: Path) -> None:
    for durability, least in (("sync", 1), ("os", 0)):
        root, events = tmp_path / durability, tmp_path / f"{durability}.events"
        powerloss.record(["-c", SINGLE_WRITES, str(root), durability], root, events)
        counts = powerloss.sync_counts(events)[1:21]
        assert len(counts) == 20
        assert min(counts) >= least
        if durability == "os":
            assert sum(counts) == 0
