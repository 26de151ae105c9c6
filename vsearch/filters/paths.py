"""Paths into a payload, as Qdrant writes them: `author.name`, `authors[].name`, `scores[0]`, `"a.b".c`.

A path is keys joined by dots. After a key, `[]` takes every element of a list and `[n]` one of them; without them a
path never enters a list of objects. A key with a dot, a bracket or a quote is written in double quotes, in which a
quote is doubled: `"5"" disk"`. The canonical text quotes every key that is not made of letters, digits, `_` and `-`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from vsearch.errors import InvalidFilter

Step = str | int | None  # a key, one element of a list, every element of a list
Path = tuple[Step, ...]

EACH: Final = None

_KEY: Final = re.compile(r'"((?:[^"]|"")*)"|([^.\[\]"]+)')
_BRACKETS: Final = re.compile(r"\[([0-9]{0,18})\]")
_PLAIN: Final = re.compile(r"[\w-]+")


@lru_cache(maxsize=4096)
def _parse(text: str) -> Path:
    steps: list[Step] = []
    position = 0
    while True:
        key = _KEY.match(text, position)
        if key is None:
            break
        quoted, plain = key.groups()
        steps.append(plain if quoted is None else quoted.replace('""', '"'))
        position = key.end()
        while brackets := _BRACKETS.match(text, position):
            steps.append(int(brackets[1]) if brackets[1] else EACH)
            position = brackets.end()
        if position == len(text):
            return tuple(steps)
        if text[position] != ".":
            break
        position += 1
    hint = 'Write keys joined by dots, [] for list elements, and quotes around odd keys: authors[].name, "a.b"'
    raise InvalidFilter(f"path {text!r} cannot be read at character {position}", hint)


def parse_path(text: str) -> Path:
    """The steps of a path. Raises InvalidFilter where it cannot be read."""
    if not isinstance(text, str):
        raise InvalidFilter(f"path is {text!r}", "A path is a string such as author.name")
    return _parse(text)


def format_path(steps: Iterable[Step]) -> str:
    """The canonical text of a path: `parse_path` of it gives the same steps."""
    parts: list[str] = []
    for step in steps:
        if isinstance(step, str):
            parts.append("." if parts else "")
            parts.append(step if _PLAIN.fullmatch(step) else '"' + step.replace('"', '""') + '"')
        else:
            parts.append("[]" if step is EACH else f"[{step}]")
    return "".join(parts)
