"""Payload filters: one tree, three spellings, two evaluations.

    F("year") >= 2020   builder.py ─┐                    ┌─ match.py     one payload at a time
    Qdrant's JSON       qdrant.py  ─┼─> tree.py (Node) ──┤
    MongoDB's documents mongo.py   ─┘                    └─ evaluate.py  the columns of a segment

Columns come from payloads by flatten.py; paths.py and values.py say what a path selects and what a value means.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vsearch.errors import InvalidFilter

from . import mongo, qdrant
from .builder import F, min_should
from .tree import And, Node

__all__ = ["F", "Node", "min_should", "parse_filter"]


def parse_filter(value: Any) -> Node | None:
    """The tree of a filter in any spelling (a Node, a dict, or None); None where every point matches.

    A dict with must, should, must_not or min_should, or of the shape of one of Qdrant's conditions, is read as Qdrant's
    JSON, any other as a MongoDB document. (A payload field of such a name is reached by F.)

    Raises InvalidFilter.
    """
    if isinstance(value, Node):
        node = value
    elif isinstance(value, Mapping):
        node = qdrant.parse(_as_filter(value)) if qdrant.is_condition(value) else mongo.parse(value)
    elif value is None:
        return None
    else:
        hint = 'Use F("year") >= 2020, Qdrant\'s JSON, or {"year": {"$gte": 2020}}'
        raise InvalidFilter(f"filter is {value!r}", hint)
    return None if node == And(()) else node


def _as_filter(spec: Mapping[str, Any]) -> Mapping[str, Any]:
    return spec if any(clause in spec for clause in qdrant.CLAUSES) else {"must": [spec]}
