"""What collections, fields and aliases may be called, and which fields a collection may have."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from vsearch.errors import InvalidArgument, LimitExceeded
from vsearch.types import MAX_FIELDS, MAX_NAME_LENGTH, Dense, Field, Sparse, Text

BAD_NAME: Final = re.compile(r"[\x00-\x1f\x7f/\\:*?\"<>|]|^\.{1,2}$|^\s|\s$")


def check_name(what: str, name: object) -> None:
    """Raises InvalidArgument, which tells of what it is the name, unless it can be one."""
    if not isinstance(name, str) or not name:
        raise InvalidArgument(f"the {what} name is {name!r}", "Use a string of at least one character")
    if len(name) > MAX_NAME_LENGTH:
        raise InvalidArgument(f"the {what} name has {len(name)} characters", f"Use at most {MAX_NAME_LENGTH}")
    try:
        name.encode()
    except UnicodeEncodeError:
        raise InvalidArgument(f"the {what} name {name!r} is not valid Unicode", "Remove lone surrogates") from None
    if BAD_NAME.search(name):
        raise InvalidArgument(
            f"the {what} name {name!r} holds characters of paths or control characters",
            'Avoid / \\ : * ? " < > | and edge spaces',
        )


def check_fields(fields: Mapping[str, Field]) -> None:
    """Raises InvalidArgument or LimitExceeded unless these can be the fields of a collection."""
    if not isinstance(fields, Mapping) or not fields:
        raise InvalidArgument("a collection needs at least one field", 'Say fields={"dense": vsearch.Dense(384)}')
    if len(fields) > MAX_FIELDS:
        raise LimitExceeded(f"{len(fields)} fields", f"At most {MAX_FIELDS}")
    for field_name, field in fields.items():
        if field_name != "":  # which names the one vector of a collection made through Qdrant's interface
            check_name("field", field_name)
        if not isinstance(field, Dense | Sparse | Text):
            raise InvalidArgument(
                f"field {field_name!r} is a {type(field).__name__}",
                "Use vsearch.Dense(dim), vsearch.Sparse() or vsearch.Text()",
            )
