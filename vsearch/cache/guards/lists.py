"""The words that guards know: vsearch/data/guards.txt and kinds.txt, in sections, and names.txt."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Final

from vsearch.analysis import tokens

DATA: Final = Path(__file__).parents[2] / "data"


@cache
def names() -> frozenset[str]:
    """Words that are names though written in small letters: places, peoples, languages, persons, products."""
    return frozenset(word for line in _lines((DATA / "names.txt").read_text("utf-8")) for word in line.split())


def words(section: str) -> frozenset[str]:
    return frozenset(word for line in _sections()[section] for word in line.split())


def groups(section: str) -> dict[str, str]:
    """Each word of a section whose lines are words for one thing, and the first word of its line."""
    return {word: line.split()[0] for line in _sections()[section] for word in line.split()}


def values(section: str) -> dict[str, int]:
    """Each word of a section whose lines start with a number, and this number."""
    lines = [line.split() for line in _sections()[section]]
    return {word: int(value) for value, *others in lines for word in others}


@cache
def kinds() -> dict[str, frozenset[tuple[str, str]]]:
    """The stem of each word of a kind of things, and (kind, the first of the words for this thing) of each it is in."""
    found: dict[str, frozenset[tuple[str, str]]] = {}
    for kind, lines in _sections("kinds.txt").items():
        for thing in (thing.split("/") for line in lines for thing in line.split()):
            for word in map(stem, thing):
                found[word] = found.get(word, frozenset()) | {(kind, thing[0])}
    return found


@cache
def opposites() -> dict[str, frozenset[str]]:
    """The stem of each word that has opposites, and their stems."""
    found: dict[str, frozenset[str]] = {}
    for line in _sections()["opposites"]:
        left, right = (frozenset(map(stem, side.split())) for side in line.split("|"))
        for ours, theirs in ((left, right), (right, left)):
            for word in ours:
                found[word] = found.get(word, frozenset()) | theirs
    return found


def stem(word: str) -> str:
    """What an English word in small letters has in common with its inflections."""
    return (tokens(word, "english") or [word])[0] if word.isascii() and word.isalpha() else word


@cache
def _sections(file: str = "guards.txt") -> dict[str, list[str]]:
    parts = [part.split("]\n", 1) for part in (DATA / file).read_text("utf-8").split("\n[")[1:]]
    return {name: _lines(body) for name, body in parts}


def _lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line and not line.startswith("#")]
