"""Snapshots of the engine: they show one instant, and let the database be closed."""

from __future__ import annotations

from pathlib import Path

import pytest

from vsearch.errors import Closed
from vsearch.storage.rocks import IDS, POINTS, Engine


def put(engine: Engine, **values: str) -> None:
    batch = engine.batch()
    for key, value in values.items():
        batch.put(IDS, key.encode(), value.encode())
        batch.put(POINTS, key.encode(), value.encode())
    engine.commit(batch)


def test_a_snapshot_shows_the_instant_at_which_it_was_taken(tmp_path: Path) -> None:
    engine = Engine.open(tmp_path / "db")
    put(engine, a="1", b="1")
    before = engine.snapshot()
    put(engine, a="2", c="2")
    batch = engine.batch()
    batch.delete(IDS, b"b")
    engine.commit(batch)
    after = engine.snapshot()
    assert before.get_many(IDS, [b"a", b"b", b"c"]) == [b"1", b"1", None]
    assert after.get_many(IDS, [b"a", b"b", b"c"]) == [b"2", None, b"2"]
    assert before.get(POINTS, b"c") is None
    assert list(before.scan(IDS, b"a", b"z")) == [(b"a", b"1")]  # what was removed since may be left out
    assert list(after.scan(IDS, b"a", b"z")) == [(b"a", b"2"), (b"c", b"2")]
    engine.close()


def test_closing_ends_snapshots_that_are_still_held(tmp_path: Path) -> None:
    engine = Engine.open(tmp_path / "db")
    put(engine, a="1")
    held = engine.snapshot()
    scan = held.scan(IDS, b"a", b"z")
    engine.close()
    with pytest.raises(Closed):
        held.get(IDS, b"a")
    with pytest.raises(Closed):
        list(scan)
    Engine.open(tmp_path / "db").close()  # nothing holds RocksDB's lock
