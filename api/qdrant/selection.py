"""Parts of a payload, chosen by paths: `a.b` reaches into an object, `a[].b` into each object of a list."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vsearch.filters.paths import EACH, Path, Step


def only(payload: dict[str, Any], paths: Sequence[Path]) -> dict[str, Any]:
    """What the paths lead to, within the objects and lists on the way; a value on the way that is neither is kept."""
    part: dict[str, Any] = _only(payload, paths)
    return part


def without(payload: dict[str, Any], paths: Sequence[Path]) -> dict[str, Any]:
    """All but what the paths lead to."""
    rest: dict[str, Any] = _without(payload, paths)
    return rest


def _only(value: Any, paths: Sequence[Path]) -> Any:
    by_step = _by_step(paths)
    if () in paths:
        return value
    if isinstance(value, dict):
        return {key: _only(inner, by_step[key]) for key, inner in value.items() if key in by_step}
    if isinstance(value, list):
        return [_only(element, by_step[EACH]) for element in value] if EACH in by_step else []
    return value


def _without(value: Any, paths: Sequence[Path]) -> Any:
    by_step = _by_step(paths)
    if isinstance(value, dict):
        return {
            key: _without(inner, by_step[key]) if key in by_step else inner
            for key, inner in value.items()
            if () not in by_step.get(key, ())
        }
    if isinstance(value, list) and EACH in by_step:
        return [_without(element, by_step[EACH]) for element in value if () not in by_step[EACH]]
    return value


def _by_step(paths: Sequence[Path]) -> dict[Step, list[Path]]:
    """First step -> what follows it, in the order given."""
    grouped: dict[Step, list[Path]] = {}
    for path in paths:
        if path:
            grouped.setdefault(path[0], []).append(path[1:])
    return grouped
