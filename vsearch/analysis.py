"""Texts to terms: what full-text fields store, and what their queries ask for.

1. A text is cut at white space. What each piece becomes is worked out once and then remembered, up to CACHED short
   pieces a language (37 MB of English), so that most of a text costs one look into a dict for each piece.
2. A piece is folded: NFKC (of more than MAX_MARKS marks in a row the rest is left out first), typographic apostrophes
   made plain, characters that nobody sees left out, in Arabic short vowels and tatweel too; then case folding, in
   Turkish with its two letters i.
3. Words are found: letters, digits and marks, starting with a letter or digit. An apostrophe inside holds a word
   together (don't, o'brien), but ends it in French and Italian, where its first half is an elided article or pronoun
   (l'avion). All else, underscores, symbols and emoji among it, parts words and cannot be found.
4. What is written without spaces (Chinese, Japanese, Korean, Thai, Lao, Burmese, Khmer, Yi) becomes overlapping pairs
   of characters, as Lucene's CJKAnalyzer has it: a character that stands alone is a word, but one within a longer run
   is not found by itself. Korean has spaces, but also endings, which pairs do without.
5. Words are cut after MAX_WORD characters; stop words of the language (data/stop_words.txt) are left out; the others
   are reduced to their stems by Snowball's stemmer of the language (Porter 2001, http://snowball.tartarus.org).
   Without a language there are neither stop words nor stems.
6. A term is stored as a number, XXH3 of its UTF-8. That some two of a million terms meet in one number has the
   probability 1e12 / 2 / 2**64 = 2.7e-8; each would then also find the other.

Terms depend on the releases of PyStemmer and of Python's Unicode tables.
"""

from __future__ import annotations

import re
import threading
import unicodedata
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
import xxhash
from numpy.typing import NDArray

from vsearch.errors import InvalidArgument, LimitExceeded
from vsearch.types import LANGUAGES, MAX_TERMS, MAX_TEXT_BYTES, FloatArray, IntArray, SparseRows

__all__ = ["analyse", "stop_words", "tokens"]

MAX_WORD: Final = 100  # characters of a word: longer ones are codes or blobs, and their beginnings tell them apart
MAX_MARKS: Final = 30  # in a row, as in Unicode's stream-safe format: sorting them takes quadratic time
CACHED: Final = 1 << 18  # pieces of text that are remembered: when they are full, all are forgotten
CACHED_LENGTH: Final = 32  # characters of a piece worth remembering: longer ones seldom come again
COUNTED_BYTES: Final = 8 << 20  # of numbers that are sorted at once: a million words
STOP_WORDS: Final = Path(__file__).parent / "data" / "stop_words.txt"

# What is written without spaces, by first and last code point; only letters, marks and letter-like numbers count.
UNSPACED: Final = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Myanmar
    (0x1100, 0x11FF),  # Hangul Jamo
    (0x1780, 0x17FF),  # Khmer
    (0x3005, 0x3007),  # ideographic iteration and closing marks, zero
    (0x3021, 0x312F),  # Hangzhou numerals, Hiragana, Katakana, Bopomofo
    (0x31A0, 0x31FF),  # Bopomofo Extended, Katakana Phonetic Extensions
    (0x3400, 0x4DBF),  # CJK Unified Ideographs Extension A
    (0x4E00, 0xA4CF),  # CJK Unified Ideographs, Yi
    (0xA960, 0xA97F),  # Hangul Jamo Extended-A
    (0xA9E0, 0xA9FF),  # Myanmar Extended-B
    (0xAA60, 0xAA7F),  # Myanmar Extended-A
    (0xAC00, 0xD7FF),  # Hangul Syllables, Jamo Extended-B
    (0xF900, 0xFAFF),  # CJK Compatibility Ideographs
    (0x1AFF0, 0x1B16F),  # Kana Extended, Kana Supplement
    (0x20000, 0x3FFFF),  # the planes of ideographs
)
MARKS_END: Final = 0x20000  # no marks beyond, but for variation selectors
APART: Final = ("french", "italian")  # where an apostrophe ends a word

INVISIBLE: Final = (  # soft hyphen, joiners, directional marks, word joiner, variation selectors
    *(0x00AD, 0x200C, 0x200D, 0x200E, 0x200F, 0x2060, 0xFEFF),
    *range(0xFE00, 0xFE10),
    *range(0xE0100, 0xE01F0),
)
COMMON: Final[dict[int, str]] = {
    **dict.fromkeys(INVISIBLE, ""),
    **dict.fromkeys((0x2018, 0x2019, 0x02BC), "'"),
    0x0130: "i",  # whose case folding elsewhere is i with a second dot
}
LETTERS: Final[dict[str | None, Mapping[int, str | int]]] = {
    "arabic": dict.fromkeys((0x0640, *range(0x064B, 0x0653), 0x0670), ""),  # tatweel, short vowels
    "romanian": str.maketrans("şţŞŢ", "șțȘȚ"),  # the cedilla that older encodings have for the comma below
    "turkish": {0x49: 0x131},  # I to the i without a dot
}


def analyse(texts: Sequence[str], language: str | None, what: str = "texts") -> SparseRows:
    """The terms of each text: row i holds, for text i, distinct terms as uint64 numbers, ascending, and as float32
    weights how often each occurs. `what` names the texts in errors.

    Raises InvalidArgument for an unknown language and for a row that is not a string, LimitExceeded for one of more
    than MAX_TEXT_BYTES of UTF-8 or MAX_TERMS distinct terms.
    """
    analyser = _analyser(language)
    if len(texts) == 1:
        return _counted_alone(texts[0], analyser, what)
    counted: list[tuple[IntArray, NDArray[np.uint64], FloatArray]] = []
    waiting: list[bytes] = []
    size = 0
    for row, text in enumerate(texts):
        _check(text, row, what)
        waiting.append(b"".join(map(analyser.__getitem__, text.split())))
        size += len(waiting[-1])
        if size >= COUNTED_BYTES:
            counted.append(_counted(waiting, row + 1 - len(waiting), what))
            waiting, size = [], 0
    counted.append(_counted(waiting, len(texts) - len(waiting), what))
    lengths, numbers, weights = (np.concatenate(arrays) for arrays in zip(*counted, strict=True))
    offsets = np.zeros(len(texts) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return SparseRows(offsets, numbers, weights)


def tokens(text: str, language: str | None) -> list[str]:
    """What the words of a text become, in their order: the terms that `analyse` counts. Raises as `analyse` does."""
    analyser = _analyser(language)
    _check(text, 0, "text")
    return [term for piece in text.split() for term in analyser.terms(piece)]


@cache
def stop_words(language: str) -> frozenset[str]:
    """The words of a language that are too common to be searched for, folded."""
    sections = STOP_WORDS.read_text("utf-8").split("\n[")[1:]
    words = dict(section.split("]", 1) for section in sections)
    return frozenset(words[language].split())


def _check(text: object, row: int, what: str) -> None:
    if not isinstance(text, str):
        raise InvalidArgument(f"{what}: row {row} is a {type(text).__name__}", "Use a string")
    # A character has at most 4 bytes, so that most texts need not be encoded to be known as short enough.
    if len(text) * 4 > MAX_TEXT_BYTES and (size := len(text.encode("utf-8", "surrogatepass"))) > MAX_TEXT_BYTES:
        raise LimitExceeded(f"{what}: row {row} has {size} bytes of UTF-8", f"Use at most {MAX_TEXT_BYTES}: split it")


def _counted(texts: list[bytes], first: int, what: str) -> tuple[IntArray, NDArray[np.uint64], FloatArray]:
    """(distinct terms a text, these terms, how often each occurs) of texts given as their terms' numbers; `first` is
    the row of the first of them, for errors."""
    numbers = np.frombuffer(b"".join(texts), np.uint64)
    rows = np.repeat(np.arange(len(texts)), np.array([len(text) for text in texts], np.int64) // 8)
    order = np.lexsort((numbers, rows))
    numbers = numbers[order]  # rows are in order already
    edges = np.ones(len(numbers) + 1, np.bool_)
    edges[1:-1] = (numbers[1:] != numbers[:-1]) | (rows[1:] != rows[:-1])
    bounds = np.flatnonzero(edges)
    starts = bounds[:-1]
    lengths = np.bincount(rows[starts], minlength=len(texts))
    if len(texts) and lengths.max() > MAX_TERMS:
        row = int(np.argmax(lengths > MAX_TERMS))
        message = f"{what}: row {first + row} has {lengths[row]} distinct words"
        raise LimitExceeded(message, f"Use at most {MAX_TERMS}: split it")
    return lengths, numbers[starts], (bounds[1:] - starts).astype(np.float32)


def _counted_alone(text: str, analyser: _Analyser, what: str) -> SparseRows:
    """The terms of one text, by as few arrays as possible: a query is one."""
    _check(text, 0, what)
    found = np.frombuffer(b"".join(map(analyser.__getitem__, text.split())), np.uint64).tolist()
    counts = sorted(Counter(found).items())
    if len(counts) > MAX_TERMS:
        raise LimitExceeded(f"{what}: row 0 has {len(counts)} distinct words", f"Use at most {MAX_TERMS}: split it")
    numbers = np.array([number for number, _ in counts], np.uint64)
    weights = np.array([count for _, count in counts], np.float32)
    return SparseRows(np.array([0, len(counts)], np.int64), numbers, weights)


@cache
def _analyser(language: str | None) -> _Analyser:
    if language is not None and language not in LANGUAGES:
        raise InvalidArgument(f"unknown language {language!r}", f"Use None or one of {', '.join(LANGUAGES)}")
    return _Analyser(language)


class _Analyser(dict[str, bytes]):
    """Pieces of text and the numbers of their terms, 8 bytes each; a missing one is worked out when it is looked up.

    Any number of threads may look up: what they store is the same whoever stores it.
    """

    def __init__(self, language: str | None) -> None:
        self.letters = {**COMMON, **LETTERS.get(language, {})}
        self.ascii_letters = any(code < 128 for code in self.letters)
        self.words = _words(language in APART)
        self.many_marks = re.compile(f"([{_marks()}\uff9e\uff9f]{{{MAX_MARKS}}})[{_marks()}\uff9e\uff9f]+")
        self.unspaced = re.compile(f"[{_unspaced()}]")
        self.stop: frozenset[str] = frozenset()
        self.stemmer = None
        self.lock = threading.Lock()  # a stemmer works for one thread at a time
        if language is not None:
            import Stemmer

            self.stop = stop_words(language)
            self.stemmer = Stemmer.Stemmer(language, maxCacheSize=0)  # words met again are remembered here

    def __missing__(self, piece: str) -> bytes:
        numbers = array("Q", [xxhash.xxh3_64_intdigest(term.encode()) for term in self.terms(piece)]).tobytes()
        if len(piece) <= CACHED_LENGTH:
            if len(self) >= CACHED:
                self.clear()
            self[piece] = numbers
        return numbers

    def terms(self, piece: str) -> list[str]:
        """The terms of a text without white space, in their order."""
        piece = self.fold(piece)
        plain = piece.isascii()
        words = [piece] if plain and piece.isalnum() else self.words.findall(piece)
        found = []
        for word in words:
            if not plain and self.unspaced.match(word):
                found += [word[i : i + 2] for i in range(max(1, len(word) - 1))]
            elif (word := word[:MAX_WORD]) not in self.stop:
                found.append(self.stem(word))
        return found

    def fold(self, piece: str) -> str:
        """The piece in the one spelling that stands for all those that should find one another."""
        if piece.isascii() and not self.ascii_letters:
            return piece.lower()
        if len(piece) > MAX_MARKS:
            piece = self.many_marks.sub(r"\1", piece)
        return unicodedata.normalize("NFKC", piece).translate(self.letters).casefold()

    def stem(self, word: str) -> str:
        if self.stemmer is None:
            return word
        with self.lock:
            return self.stemmer.stemWord(word) or word


@cache
def _words(apart: bool) -> re.Pattern[str]:
    """Finds the words of a folded text, and runs of what is written without spaces; `apart`: apostrophes end words."""
    letter, mark = rf"[^\W_{_unspaced()}]", f"[{_marks()}]"
    word = f"{letter}++(?:{mark}++{letter}*+)*+"
    return re.compile(f"{word}|[{_unspaced()}]++" if apart else f"{word}(?:'{word})*+|[{_unspaced()}]++")


@cache
def _marks() -> str:
    """All marks, as the inside of a class of characters in a regular expression."""
    return _ranges(code for code in range(MARKS_END) if unicodedata.category(chr(code))[0] == "M")


@cache
def _unspaced() -> str:
    codes = (code for first, last in UNSPACED for code in range(first, last + 1))
    return _ranges(code for code in codes if code >= MARKS_END or _letter_like(chr(code)))


def _letter_like(character: str) -> bool:
    category = unicodedata.category(character)
    return category[0] in "LM" or category == "Nl"


def _ranges(codes: Iterable[int]) -> str:
    """Ascending code points as ranges of a class of characters."""
    ends: list[list[int]] = []
    for code in codes:
        if ends and ends[-1][1] == code - 1:
            ends[-1][1] = code
        else:
            ends.append([code, code])
    return "".join(f"{chr(first)}-{chr(last)}" for first, last in ends)
