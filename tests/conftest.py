"""What every test may use: a seed that is told, a database in a temporary folder, the folder of real data."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

import vsearch
from tests.fake_upstream import FakeUpstream, fake_upstream

# Every run tries other examples; a failure prints the blob that repeats it (`@reproduce_failure`).
settings.register_profile(
    "ci",
    deadline=None,  # kernels compile in the first example
    derandomize=False,
    print_blob=True,
    max_examples=50,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("ci")

SEED = int(os.environ.get("VSEARCH_SEED") or secrets.randbelow(1 << 32))

# Rules of the sources first, since they take a second; then what takes a minute by itself, so that no worker is left
# with it at the end.
ORDER = {name: place for place, name in enumerate(["test_tidy.py", "test_demo.py", "test_crash.py", "test_model.py"])}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: ORDER.get(item.path.name, len(ORDER)))


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """The seed of this run, shown with the report of a test that fails."""
    request.node.add_report_section("setup", "seed", f"repeat with VSEARCH_SEED={SEED}")
    return SEED


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Any]:
    """An empty database in a folder of its own."""
    with vsearch.open(tmp_path / "db") as database:
        yield database


@pytest.fixture(scope="module")
def upstream() -> Iterator[FakeUpstream]:
    """A server that speaks OpenAI's protocol, one for a file of tests."""
    with fake_upstream() as upstream:
        yield upstream


@pytest.fixture
def fresh_upstream(upstream: FakeUpstream) -> None:
    """That server, as if nothing had been asked yet."""
    upstream.reset()


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real data: VSEARCH_DATA, or shared/data beside the checkout."""
    path = Path(os.environ.get("VSEARCH_DATA") or Path(__file__).parents[2] / "shared" / "data")
    if not (path / "wordnet" / "docs.parquet").is_file():
        pytest.skip(f"no data in {path}: set VSEARCH_DATA to run the tests on real data")
    return path
