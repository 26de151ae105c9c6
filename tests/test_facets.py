"""Facets against what a scroll shows."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import vsearch
from tests.naive_filter import sites
from vsearch import F, FacetValue, growing

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-1, 2)
    | st.sampled_from([-(2**63), 10, 2**63 - 1])
    | st.sampled_from([0.0, 1.0, 0.5])
    | st.sampled_from(["", "x", "y", "1", "é", "True", "\U0010ffff"])
)
keys = st.sampled_from(["a", "b", "x.y"])
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=2), max_leaves=6
)
payloads = st.dictionaries(keys, values, max_size=3) | st.none()
PATHS = ["a", "b", "a.b", '"x.y"', "a[].b", "a[].a.b", "a[]", "a[0]", "a[0].b", "a[].b[]", "a[][].b", "none"]


def naive(docs: vsearch.Collection, path: str, condition: Any) -> list[tuple[str, Any, int]]:
    """(type, value, count), the whole list."""
    counts: dict[tuple[int, str, Any], int] = {}
    for point in docs.scroll(filter=condition, limit=1000):
        seen = set()
        for site in sites(point.payload or {}, path):
            for value in site if type(site) is list else [site]:
                if type(value) in (bool, int, str):
                    seen.add(((bool, int, str).index(type(value)), type(value).__name__, value))
        for value in seen:
            counts[value] = counts.get(value, 0) + 1
    order = sorted(counts, key=lambda one: (-counts[one], one[0], one[2]))
    return [(kind, value, counts[rank, kind, value]) for rank, kind, value in order]


def shown(found: list[FacetValue]) -> list[tuple[str, Any, int]]:
    return [(type(one.value).__name__, one.value, one.count) for one in found]


@settings(max_examples=40, suppress_health_check=list(HealthCheck))
@given(
    parts=st.lists(st.lists(payloads, max_size=12), min_size=1, max_size=4),
    dead=st.lists(st.integers(0, 20), max_size=4),
    limit=st.integers(1, 4),
)
def test_facets_count_what_a_scroll_shows(parts: Any, dead: list[int], limit: int) -> None:
    """Every part but the last is sealed; some points have died."""
    shm = Path("/dev/shm")
    with (
        pytest.MonkeyPatch.context() as patch,
        tempfile.TemporaryDirectory(dir=shm if shm.is_dir() else None) as folder,
        vsearch.open(folder, durability="os") as db,
    ):
        patch.setattr(growing, "CHUNK", 4)
        docs = db.create_collection("docs", fields={"v": vsearch.Dense(2)})
        first = 0
        for number, part in enumerate(parts):
            docs.upsert(range(first, first + len(part)), payloads=part)
            first += len(part)
            keep = docs._maintenance
            assert keep is not None
            if number < len(parts) - 1:
                keep.seal_all()
        docs.delete(ids=dead)
        for path in PATHS:
            for condition in (None, F("a").exists(), ~F.ids(range(0, 40, 3)), (F("b") == 1) | (F("a") == "x")):
                whole = naive(docs, path, condition)
                assert shown(docs.facet(path, filter=condition, limit=1000)) == whole
                assert shown(docs.facet(path, filter=condition, limit=limit)) == whole[:limit]


@pytest.fixture
def docs(db: vsearch.Database) -> vsearch.Collection:
    docs = db.create_collection("docs", fields={"v": vsearch.Dense(2)})
    tags: list[Any] = [["x", "y", "x"], "x", ["y", True, 1, 1.0], None, {"x": 1}, 1, True, 2.5, [["x"]], []]
    docs.upsert(range(10), payloads=[{"tag": tag} for tag in tags])
    return docs


def test_types_are_kept_apart(docs: vsearch.Collection) -> None:
    wanted = [("bool", True, 2), ("int", 1, 2), ("str", "x", 2), ("str", "y", 2)]
    for _ in range(2):
        assert shown(docs.facet("tag")) == wanted
        assert shown(docs.facet("tag", limit=2)) == wanted[:2]
        assert docs.facet("tag", filter=F("tag") == "y", limit=1) == [FacetValue("y", 2)]
        assert shown(docs.facet("tag[]")) == [("str", "x", 2), ("str", "y", 2), ("bool", True, 1), ("int", 1, 1)]
        assert docs.facet("none") == []
        docs.optimize()


def test_equal_counts_are_in_the_order_of_values_and_paths_name_elements(docs: vsearch.Collection) -> None:
    docs.upsert([20, 21], payloads=[{"m": [{"k": 10}, {"k": 2}]}, {"m": [{"k": [-1, "b"]}, {"k": "a"}]}])
    for _ in range(2):
        assert [one.value for one in docs.facet("m[].k")] == [-1, 2, 10, "a", "b"]
        assert [one.value for one in docs.facet("m[0].k")] == [-1, 10, "b"]
        assert [one.value for one in docs.facet("m[1].k")] == [2, "a"]
        docs.optimize()


def test_expired_and_replaced_points_are_not_counted(docs: vsearch.Collection) -> None:
    docs.optimize()
    docs.update(1, expires_at=time.time() + 0.05)
    docs.overwrite_payload({"tag": "z"}, ids=[0])
    time.sleep(0.06)
    assert shown(docs.facet("tag", limit=3)) == [("bool", True, 2), ("int", 1, 2), ("str", "y", 1)]


@pytest.mark.parametrize("limit", [0, -1, True, 2.0, None, "3"])
def test_a_bad_limit_is_refused(docs: vsearch.Collection, limit: Any) -> None:
    with pytest.raises(vsearch.InvalidArgument, match="limit"):
        docs.facet("tag", limit=limit)


@pytest.mark.parametrize("path", ["", "a..b", "a[", None, 3])
def test_a_bad_path_is_refused(docs: vsearch.Collection, path: Any) -> None:
    with pytest.raises(vsearch.InvalidArgument, match="path"):
        docs.facet(path)


def test_a_bad_filter_is_refused(docs: vsearch.Collection) -> None:
    with pytest.raises(vsearch.InvalidFilter):
        docs.facet("tag", filter="n = 1")  # type: ignore[arg-type]
