"""Strategies for payloads, and for filters that say something about given payloads.

Values come evenly from small sets, so that filters often hold, paths meet, and rare shapes meet each other. (Built up
from Hypothesis's own strategies they would lean towards its simplest examples, of which few filters hold: it draws the
seed here, and its report shows the case.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Any

from hypothesis import strategies as st

from vsearch.filters import tree
from vsearch.filters.paths import format_path
from vsearch.types import Payload, PointId

KEYS = ["a", "a", "a", "b", "b", "c", "x.y", 'q"[]']
# Numbers around the limits of float64's whole numbers, of int64 and of float64 itself.
EDGES = [2**53 - 1, 2**53, 2**53 + 1, 2**63 - 1, -(2**63), 2**63, -(2**63) - 1, 2**64 + 1, 10**400]
FLOATS = [-0.0, 0.5, 1.5, 2.0**53, 2.0**53 + 2, 2.0**63, -(2.0**63), 1e300, 5e-324]
TEXTS = [
    "",
    "ab",
    "Ab",
    "red fox",
    "the Red, FOX jumps",
    "fox red",
    "fox",
    "Straße",
    "STRASSE",
    "\u0391\u03a3.\u0392",  # the sigma is at the end of a word, but not for a lower case that skips the dot
    "\u03b1\u03c2",
    "\U0010ffff",
    "a\U0010ffff",
]
DATETIMES = [
    "2024-05-01",
    "2024-05-01T00:00",
    "2024-05-01 00:00:00",
    "2024-05-01T02:00:00+02:00",
    "2024-04-30T22:30:00 -0130",
    "2024-05-01t00:00:00.000000999z",
    "2024-05-01T00:00:00.000001Z",
    "2024-05-01 00:00:00.5 UTC",
    "2024-05-01T23:59:59.999999+23",
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59-14:00",
]
NO_DATETIMES = [
    "2024-02-30",
    "2024-5-1",
    "2024-05-01T25:00",
    "2024-05-01T00:00:60",
    "2024-05-01T00:00:00+24:00",
    "2024-05-01T00:00:00+",
    "20240501",
]
ODD_DEGREES = [None, "1", True, [1.0], [1, 2], 90.5, 181, -181, float("nan"), 10**400]


def within_64_bits(value: Any) -> bool:
    """Whether a value may be compared with: neither nan nor infinite as a float."""
    return not isinstance(value, (int, float)) or abs(value) < 2**1000


def places_in(value: Any, steps: tuple[Any, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Each (path, value) within a payload; elements of a list both as [] and by number."""
    if steps:
        yield format_path(steps), value
    if isinstance(value, dict):
        for key, one in value.items():
            yield from places_in(one, (*steps, key))
    elif isinstance(value, list) and steps:
        for number, one in enumerate(value):
            yield from places_in(one, (*steps, None))
            if number < 2:
                yield from places_in(one, (*steps, number))


class Maker:
    """Makes random payloads and filters."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.one_of = random.choice

    def mostly(self) -> bool:
        return self.random.random() < 0.75

    def some(self, make: Callable[[], Any], least: int = 0, most: int = 3) -> list[Any]:
        return [make() for _ in range(self.random.randint(least, most))]

    def point_id(self) -> PointId:
        return self.one_of([0, 1, 2, "0", "1"])

    def scalar(self) -> Any:
        common = [0, 1, 2, 1.0, True, False, "a", "b"]
        rare = [self.one_of(kind) for kind in (EDGES, FLOATS, TEXTS, DATETIMES, NO_DATETIMES)]
        rare += [self.random.randint(-(2**65), 2**65), self.random.uniform(-9, 9), float("nan"), float("inf")]
        return self.one_of(common if self.random.random() < 0.6 else rare)

    def wanted(self) -> Any:
        return next(value for value in iter(self.scalar, object()) if within_64_bits(value))

    def degrees(self) -> float:
        return self.random.randint(-8, 8) / 4  # the sides of a polygon are computed without rounding

    def place(self) -> Payload:
        whole = self.one_of([int, float, float])
        made: Payload = {"lat": whole(self.degrees()), "lon": whole(self.degrees())}
        if self.random.random() < 0.2:
            made[self.one_of(["lat", "lon"])] = self.one_of(ODD_DEGREES)
        if self.random.random() < 0.1:
            del made[self.one_of(["lat", "lon"])]
        return made

    def value(self, levels: int) -> Any:
        kind = self.one_of(["scalar", "scalar", "null", "scalars", "place", "object", "objects", "objects", "mixed"])
        if kind == "null":
            return None
        if kind == "place":
            return self.place()
        if kind == "scalars":
            return self.some(lambda: self.one_of([self.scalar(), self.scalar(), self.scalar(), None]))
        if kind == "scalar" or levels == 0:
            return self.scalar()
        if kind == "object":
            return self.payload(levels - 1)
        if kind == "objects":
            return self.some(lambda: self.one_of([self.payload(levels - 1), self.payload(levels - 1), self.place()]))
        return self.some(lambda: self.value(levels - 1))

    def payload(self, levels: int = 3) -> Payload:
        return {self.one_of(KEYS): self.value(levels) for _ in range(self.random.randint(0, 3))}

    def path(self) -> str:
        steps: list[Any] = []
        for _ in range(self.one_of([1, 1, 2, 3])):
            steps += [self.one_of(KEYS), *self.one_of([[], [], [], [None], [None], [None, None], [0], [1]])]
        return format_path(steps)

    def bounds(self, make: Callable[[], Any], at_most: int = 2) -> dict[str, Any]:
        return {name: make() for name in self.random.sample(tree.BOUNDS, self.random.randint(1, at_most))}

    def ring(self) -> tuple[tuple[float, float], ...]:
        points = self.some(lambda: (self.degrees(), self.degrees()), 3, 5)
        return (*points, points[0])

    def leaf(self, rows: Sequence[Any] = ()) -> tree.Leaf:
        """A condition, most often on a path and a value of one of the payloads."""
        found = [place for row in rows for place in places_in(row)]
        path, there = self.one_of(found) if found and self.mostly() else (self.path(), None)
        near = [one for one in (there if isinstance(there, list) else [there]) if within_64_bits(one)]
        kinds = ["equals", "in", "except", "range", "datetimes", "text", "count", "null", "empty", "exists", "geo"]
        kinds += ["text"] * 3 * any(isinstance(one, str) for one in near)
        kinds += ["geo"] * 6 * any(isinstance(one, dict) for one in near)
        return self.leaf_of(self.one_of(kinds), path, [one for one in near if isinstance(one, (str, int, float))])

    def leaf_of(self, kind: str, path: str, near: list[Any]) -> tree.Leaf:
        def scalar() -> Any:
            return self.one_of(near) if near and self.mostly() else self.wanted()

        def number() -> Any:
            numbers = [one for one in near if not isinstance(one, (str, bool))]
            return self.one_of(numbers if numbers and self.mostly() else [0, 1, 2, *EDGES[:-1], *FLOATS])

        match kind:
            case "equals":
                return tree.Equals(path, scalar())
            case "in":
                return tree.In(path, tuple(self.some(scalar)))
            case "except":
                return tree.Except(path, tuple(self.some(scalar)))
            case "range":
                return tree.Range(path, **self.bounds(number))
            case "datetimes":
                return tree.Range(path, **self.bounds(lambda: self.one_of(DATETIMES[:9])))
            case "text":
                return self.text(path, [one for one in near if isinstance(one, str)])
            case "count":
                return tree.ValuesCount(path, **self.bounds(lambda: self.random.randint(-1, 3)))
            case "geo":
                return self.geo(path)
        return {"null": tree.IsNull, "empty": tree.IsEmpty, "exists": tree.Exists}[kind](path)

    def text(self, path: str, near: list[str]) -> tree.TextMatch:
        text = self.one_of(near if near and self.mostly() else TEXTS)
        part = text[self.one_of([0, 0, 1]) : self.one_of([1, 3, 99])]
        modes: list[tree.TextMode] = ["substring", "prefix", "words", "any_word", "phrase"]
        return tree.TextMatch(path, part, self.one_of(modes), self.one_of([False, True]))

    def geo(self, path: str) -> tree.Leaf:
        kind = self.one_of(["radius", "box", "polygon"])
        if kind == "radius":
            return tree.GeoRadius(path, self.degrees(), self.degrees(), self.one_of([0, 5e4, 2e5, 5e5]))
        if kind == "box":
            return tree.GeoBox(path, *map(self.one_of, ([1, 90], [-1, 0, 179], [-1, 0], [1, 2, -179])))
        return tree.GeoPolygon(path, self.ring(), tuple(self.some(self.ring, 0, 1)))

    def filter(self, rows: Sequence[Any] = (), levels: int = 3, ids: bool = True) -> tree.Node:
        """A filter of at most so many levels, most often about the payloads."""
        found = [place for row in rows for place in places_in(row) if _has_objects(place[1])]
        combined = ["and", "or", "not", "min_should"] + ["nested"] * (4 if found else 1)
        kind = self.one_of(combined * (levels > 0) + ["leaf"] * 4 + ["ids"] * ids)
        if kind == "leaf":
            return self.leaf(rows)
        if kind == "ids":
            return tree.HasId(tuple(self.some(self.point_id)))
        if kind == "not":
            return tree.negate(self.filter(rows, levels - 1, ids))
        if kind == "nested":
            path, inner = self.one_of(found) if found and self.mostly() else (self.path(), [])
            objects = [one for one in inner if isinstance(one, dict)]
            return tree.Nested(path, self.filter(objects, levels - 1, ids=False))
        parts = self.some(lambda: self.filter(rows, levels - 1, ids), kind == "or", 3)
        if kind == "min_should":
            return tree.MinShould(tuple(parts), self.random.randint(1, 2))
        return tree.all_of(parts) if kind == "and" else tree.any_of(parts)


def _has_objects(value: Any) -> bool:
    return isinstance(value, list) and any(isinstance(one, dict) for one in value)


makers = st.randoms(use_true_random=True).map(Maker)
payloads = makers.map(Maker.payload)
filters = makers.map(lambda maker: maker.filter([maker.payload() for _ in range(2)]))


TERMS = [0, 1, 2, 3, 5, 70_000, 2**32 - 1]
WORDS = ["red", "fox", "Fox", "jumps", "\u00e9", "7"]


def sparse_vectors() -> st.SearchStrategy[dict[int, float]]:
    """{term: weight} over few terms, so that vectors share them; sums of products are exact."""
    return st.dictionaries(st.sampled_from(TERMS), st.integers(1, 8).map(lambda eighths: eighths / 8), max_size=4)


def texts() -> st.SearchStrategy[str]:
    """Texts over few words, with spaces between them, perhaps empty."""
    return st.lists(st.sampled_from(WORDS), max_size=5).map(" ".join)
