"""The kinds of fields. base.py says what the engine asks of one; a module each answers."""

from __future__ import annotations

from functools import lru_cache

from vsearch.fields.base import Kind
from vsearch.fields.dense import DenseKind
from vsearch.fields.sparse import SparseKind
from vsearch.fields.text import TextKind
from vsearch.types import Dense, Field, Sparse


@lru_cache(maxsize=1024)
def kind_of(field: Field) -> Kind:
    """The ways of a field."""
    if isinstance(field, Dense):
        return DenseKind(field)
    return SparseKind(field) if isinstance(field, Sparse) else TextKind(field)
