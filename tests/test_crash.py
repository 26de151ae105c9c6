"""SIGKILL at random moments and at every failpoint: nothing acknowledged is lost, nothing is half there.

More kills: `python -m bench crash --kills 1000`.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from bench import crash
from vsearch.storage import failpoints

KILLS = 12
VISITS = (1, 4)  # each failpoint kills at its nth visit, one of these


@pytest.fixture(autouse=True)
def _small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limits that the worker uses, restored afterwards."""
    from vsearch import compaction, growing, maintenance

    for module, name in (
        (growing, "MIN_ROWS"),
        (growing, "MAX_ROWS"),
        (compaction, "MIN_INDEX_ROWS"),
        (maintenance, "QUIET_S"),
    ):
        monkeypatch.setattr(module, name, getattr(module, name))
    crash.shrink_limits()


def test_kills_at_random_moments_lose_nothing(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    for number in range(KILLS):
        crash.kill_once(tmp_path / "db", tmp_path / "journal", seed + number, rng.uniform(0.01, 0.4))


def test_kills_at_every_failpoint_lose_nothing(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    for number, name in enumerate(failpoints.names()):
        point = f"{name}=kill:{rng.choice(VISITS)}"
        crash.kill_once(tmp_path / "db", tmp_path / "journal", seed + number, 0.5, point)


def test_the_check_notices_a_lost_write(tmp_path: Path) -> None:
    import vsearch

    model = {"0-1": (1, 1), "0-2": (2, 2)}
    with vsearch.open(tmp_path / "db") as db:
        docs = crash.open_collection(db)
        crash.make(docs, 0, ["put", [["0-1", 1], ["0-2", 2]]])
        assert crash.verify(db, [{}, model]) == model
        docs.delete(ids=["0-2"])
        with pytest.raises(AssertionError, match=r"acknowledged and not stored: \{'0-2': 2\}"):
            crash.verify(db, [model])
