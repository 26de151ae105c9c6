"""The obvious analysis: a whole text normalised at once, read character by character, its words counted in a dict."""

from __future__ import annotations

import unicodedata
from collections import Counter
from itertools import pairwise

import Stemmer
import xxhash

from vsearch.analysis import stop_words

BLOCKS = [  # of scripts written without spaces
    *((0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1100, 0x11FF), (0x1780, 0x17FF), (0x3005, 0x3007), (0x3021, 0x312F)),
    *((0x31A0, 0x31FF), (0x3400, 0x4DBF), (0x4E00, 0xA4CF), (0xA960, 0xA97F), (0xA9E0, 0xA9FF), (0xAA60, 0xAA7F)),
    *((0xAC00, 0xD7FF), (0xF900, 0xFAFF), (0x1AFF0, 0x1B16F)),
]


def naive_analyse(texts, language):
    """A list of (number, count), ascending, for each text."""
    counts = [Counter(naive_tokens(text, language)) for text in texts]
    return [sorted((xxhash.xxh3_64_intdigest(term.encode()), count) for term, count in row.items()) for row in counts]


def naive_tokens(text, language):
    stop = {naive_fold(word, language) for word in stop_words(language)} if language else set()
    found = []
    for kind, word in naive_words(naive_fold(text, language), language not in ("french", "italian")):
        if kind == "unspaced":
            found += [word] if len(word) == 1 else [a + b for a, b in pairwise(word)]
        elif word[:100] not in stop:
            found.append(Stemmer.Stemmer(language).stemWord(word[:100]) if language else word[:100])
    return found


def naive_fold(text, language):
    kept, marks = "", 0
    for character in text:
        marks = marks + 1 if character in "\uff9e\uff9f" or unicodedata.category(character)[0] == "M" else 0
        # A variation selector beyond the first plane is no mark here: there it is an invisible character.
        marks = 0 if ord(character) >= 0xE0100 else marks
        kept += character if marks <= 30 else ""
    return "".join(naive_letter(c, language) for c in unicodedata.normalize("NFKC", kept)).casefold()


def naive_letter(character, language):
    code = ord(character)
    if code in (0xAD, 0x2060, 0xFEFF) or 0x200C <= code <= 0x200F or 0xFE00 <= code <= 0xFE0F:
        return ""
    if 0xE0100 <= code <= 0xE01EF or (language == "arabic" and (0x64B <= code <= 0x652 or code in (0x640, 0x670))):
        return ""
    if code == 0x130:
        return "i"
    if character in "\u2018\u2019\u02bc":
        return "'"
    if language == "romanian":
        return {"ş": "ș", "ţ": "ț", "Ş": "Ș", "Ţ": "Ț"}.get(character, character)
    return "\u0131" if language == "turkish" and character == "I" else character


def naive_words(text, joined):
    """(kind, word) of a folded text; `joined`: an apostrophe between letters belongs to the word."""
    kinds = [naive_kind(character) for character in text] + ["other"] * 2
    i = 0
    while i < len(text):
        start = i
        if kinds[i] == "unspaced":
            while kinds[i] == "unspaced":
                i += 1
            yield "unspaced", text[start:i]
        elif kinds[i] == "letter":
            while kinds[i] in ("letter", "mark") or (text[i : i + 1] == "'" and joined and kinds[i + 1] == "letter"):
                i += 1
                # A mark continues a word whatever its script, which only the first character of a run decides.
                while kinds[i] == "unspaced" and unicodedata.category(text[i])[0] == "M":
                    i += 1
            yield "spaced", text[start:i]
        else:
            i += 1


def naive_kind(character):
    code, category = ord(character), unicodedata.category(character)
    if 0x20000 <= code < 0x40000:
        return "unspaced"
    if any(first <= code <= last for first, last in BLOCKS) and (category[0] in "LM" or category == "Nl"):
        return "unspaced"
    if character.isalnum():
        return "letter"
    return "mark" if category[0] == "M" and code < 0x20000 else "other"
