"""A prompt taken apart, once for all guards, and two of them side by side.

Most of a prompt costs one look into a dict for each piece between white space: what it is made of is remembered.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import chain, compress
from typing import Any, Final, NamedTuple, TypeVar

from vsearch.analysis import stop_words

from .lists import groups, kinds, names, opposites, stem, values, words

T = TypeVar("T")

# What stands before a word that starts a sentence; then a number with points or commas, an abbreviation with points, or
# a word, whose apostrophes are inside, and which may end in the signs of C++ and C#.
WORD: Final = re.compile(
    r"([.?!:;\n\"\u201c\u201d(\[]\s*)?"
    r"(\d+(?:[.,]\d+)+[^\W\d_]*|(?:[A-Z]\.){2,}|[^\W_]+(?:['\u2019][^\W_]+)*(?:\+\+|#(?!\w))?)"
)
APOSTROPHE: Final = "\u2019"  # as typeset
REMEMBERED: Final = 1 << 16  # words, and pieces of text: when they are full, all are forgotten
LONG_WORD: Final = 40  # characters: longer ones seldom come again and are not remembered
BREAK: Final = " . "  # what a new line is made: it ends a sentence
ENDING: Final = frozenset('.?!:;"\u201c\u201d([')  # before a word that starts a sentence
MARKS: Final = frozenset('_-/\\.(`"\u201c')  # in identifiers
NO_WORDS: Final[tuple[tuple[Any, ...], ...]] = ((),) * 5
FEW: Final = 7  # words that stand where other words stood are at most so many: those of a name

FUNCTION: Final = stop_words("english") | words("function")
NAMELESS: Final = FUNCTION | groups("units").keys() | words("nameless")  # though they have a capital
SHOUTED: Final = NAMELESS - {"us", "it", "who", "ms"}  # though all their letters are capitals
PARTS: Final = words("name parts")
ASKING: Final = frozenset(["why", "when", "where", "who", "whom", "whose", "how"])

# What guards look for: bits, of a word and of the prompt that has it.
DIGIT, NUMBER, DATE, UNIT, NEGATION, QUESTION, NAME, TOWARDS = (1 << bit for bit in range(8))
KIND, OPPOSED, REVERSED, CANDIDATE, CAPITALS, MARK = (1 << bit for bit in range(8, 14))
REVERSING: Final = ("un", "dis", "non", "il", "ir", "im", "in", "mis", "anti")  # what turns a word around
SAYS: Final = (
    (NUMBER, values("numbers").keys() | values("scales").keys()),
    (DATE, groups("months").keys() | groups("weekdays").keys() | words("relative days") | words("periods")),
    (UNIT, groups("units").keys()),
    (NEGATION, words("negations")),
    (QUESTION, ASKING),
    (TOWARDS, frozenset(["to", "into", "than"])),
)


class Word(NamedTuple):
    """`lower`: in small letters, without the possessive and the points of U.S. `stem`: what it has in common with its
    inflections. `capitals`: 0, 1: it starts with one, 2: it has others; I has none. `content`: it is no function word.
    `says`: the bits."""

    lower: str
    stem: str
    capitals: int
    content: bool
    says: int


class _Words(dict[str, Word]):
    """Words by how they are written; a missing one is worked out when it is looked up. Any number of threads may."""

    def __missing__(self, text: str) -> Word:
        lower = text.lower().replace(APOSTROPHE, "'").removesuffix("'s")
        if lower.endswith("."):
            lower = lower.replace(".", "")
        root = stem(lower)
        capitals = 2 if any(map(str.isupper, text[1:])) else int(text[0].isupper() and lower != "i")
        says = sum(bit for bit, known in SAYS if lower in known)
        says |= DIGIT * any(map(str.isdigit, text))
        says |= NAME * (lower in names()) | KIND * (root in kinds())
        says |= OPPOSED * (root in opposites()) | REVERSED * root.startswith(REVERSING)
        says |= CAPITALS * (capitals > 1)
        if says & NAME or lower in PARTS or (capitals and lower not in (FUNCTION if capitals == 1 else SHOUTED)):
            says |= CANDIDATE
        if lower.endswith("n't"):
            says |= NEGATION
        word = Word(lower, root, capitals, lower not in FUNCTION, says)
        if len(text) <= LONG_WORD:
            if len(self) >= REMEMBERED:
                self.clear()
            self[text] = word
        return word


class Piece(NamedTuple):
    """What stands between white space: its `words`, for each whether a sentence `starts` with it, whether the piece
    `leads` with a word, and whether a sentence `ends` with it."""

    words: tuple[Word, ...]
    starts: tuple[bool, ...]
    leads: bool
    ends: bool


class _Pieces(dict[str, Piece]):
    """As _Words."""

    def __missing__(self, text: str) -> Piece:
        found = WORD.findall(text)
        starts = tuple([before != "" for before, _ in found])
        ends = text[-1] in ENDING and not (found and text.endswith(found[-1][1]))  # but not with U.S.
        leads = bool(found) and text.startswith(found[0][1])
        piece = Piece(tuple([_WORDS[word] for _, word in found]), starts, leads, ends)
        if len(text) <= LONG_WORD:
            if len(self) >= REMEMBERED:
                self.clear()
            self[text] = piece
        return piece


_WORDS: Final = _Words()
_PIECES: Final = _Pieces()


class Prompt:
    """`text`, its `words` in their order, `lowers` and `capitals` of all, `stems` of all and of those that are
    `content`, `says`: what any of them says; and what guards have found in it so far."""

    __slots__ = ("_found", "capitals", "content", "lowers", "says", "stems", "text", "words")

    def __init__(self, text: str) -> None:
        self.text = text
        self.words = list(chain.from_iterable([piece.words for piece in _pieces(text)]))
        self.lowers, stems, self.capitals, content, says = zip(*self.words, strict=True) if self.words else NO_WORDS
        self.stems = frozenset(stems)
        self.content = frozenset(compress(stems, content))
        self.says: int = 0 if MARKS.isdisjoint(text) else MARK
        for bits in says:
            self.says |= bits
        self._found: dict[Callable[[Prompt], Any], Any] = {}

    def of(self, find: Callable[[Prompt], T]) -> T:
        """What `find` finds in this prompt, found once."""
        found: T | None = self._found.get(find)
        if found is None:
            found = self._found[find] = find(self)
        return found


def starts(prompt: Prompt) -> list[bool]:
    """For each word whether a sentence starts with it."""
    found: list[bool] = []
    start = False
    for piece in _pieces(prompt.text):
        found += piece.starts
        if start and piece.leads:
            found[-len(piece.words)] = True
        start = piece.ends
    return [True, *found[1:]] if found else found


def _pieces(text: str) -> list[Piece]:
    return list(map(_PIECES.__getitem__, (text.replace("\n", BREAK) if "\n" in text else text).split()))


class Pair:
    """Two prompts and where they differ: `only_a`, `only_b`: stems that only one of them has."""

    __slots__ = ("_spans", "a", "b", "only_a", "only_b")

    def __init__(self, a: Prompt, b: Prompt) -> None:
        self.a, self.b = a, b
        self.only_a = a.stems - b.stems
        self.only_b = b.stems - a.stems
        self._spans: tuple[slice, slice] | None = None

    def spans(self) -> tuple[slice, slice]:
        """Where the words of each are between those that both begin with and those that both end with."""
        if self._spans is None:
            a, b = self.a.lowers, self.b.lowers
            first = _alike(a, b)
            end = _alike(a[first:][::-1], b[first:][::-1])
            self._spans = slice(first, len(a) - end), slice(first, len(b) - end)
        return self._spans

    def between(self) -> tuple[list[Word], list[Word]]:
        """The words of each that `spans` are of."""
        a, b = self.spans()
        return self.a.words[a], self.b.words[b]

    def few(self) -> int:
        """How many words the longer of the two spans has."""
        a, b = self.between()
        return max(len(a), len(b))

    def replaced(self) -> bool:
        """Whether a few words stand in one where the other has a few others, and all else is the same."""
        return self.few() <= FEW and all(span.start < span.stop for span in self.spans())

    def apart(self) -> int:
        """How many words, other than function words, only one of the two has: paraphrases have many."""
        return len(self.a.content & self.only_a) + len(self.b.content & self.only_b)


def _alike(a: Sequence[str], b: Sequence[str]) -> int:
    """How many words both begin with."""
    count = 0
    for ours, theirs in zip(a, b, strict=False):
        if ours != theirs:
            break
        count += 1
    return count
