"""Guards on what a prompt is about: entities, and identifiers of code."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Final

from .lists import groups, kinds, names
from .prompt import (
    CANDIDATE,
    CAPITALS,
    DIGIT,
    KIND,
    MARK,
    NAME,
    NAMELESS,
    PARTS,
    SHOUTED,
    TOWARDS,
    Pair,
    Prompt,
    Word,
    starts,
)

APART: Final = 3  # prompts with more words of their own than this are paraphrases: a name may have become a description
WITHIN: Final = frozenset(["a", "an", "the", "of", "and", "new"])  # words that names have or lack
OWNERS: Final = frozenset(["my", "your", "his", "her", "our", "their", "its", "this", "that"])
ALIASES: Final = groups("aliases")
ENDINGS: Final = frozenset(  # of one name: of a country, its people and its adjective
    ["", "s", "n", "an", "ian", "ean", "ese", "i", "is", "y", "ish", "ns", "ans", "ians", "es", "a", "o"]
)
ONE_WAY: Final = frozenset(["to", "into", "than", "from", "by", "for", "over", "before", "after", "as", "of", "with"])
BOTH_WAYS: Final = frozenset(
    ["far", "distance", "close", "near", "different", "difference", "similar", "equal", "same"]
)
REACH: Final = 6  # words around to, into and than that are looked at
LEAST_STEM: Final = 4  # letters that India and Indian have in common
LEAST_TYPO: Final = 5  # letters of a word that may have a wrong one
INITIALS: Final = range(2, 6)  # letters of an abbreviation

QUOTED: Final = re.compile(r"`([^`\n]{1,80})`|\"([^\"\n]{1,80})\"|\u201c([^\u201d\n]{1,80})\u201d")
QUOTED_WORDS: Final = 2  # a longer quotation is prose, which other guards compare
CODE: Final = re.compile(  # in a text without spaces
    r"https?://[^\"'<>]+|www\..+"  # addresses
    r"|(?<![\w/])(?:~|\.{1,2})?(?:/[\w.@+-]+){2,}|\b[A-Za-z]:\\.+|(?<![\w/.])/[a-z][\w.-]+"  # paths
    r"|(?<![\w-])--?[A-Za-z][\w-]*"  # flags
    r"|\b0x[0-9A-Fa-f]+\b"
    r"|\b[A-Za-z][A-Za-z0-9]*(?:_\w+)+|\b_+[A-Za-z]\w*"  # snake_case
    r"|\b[a-z]+[A-Z][A-Za-z0-9]*\b|\b[A-Z][a-z0-9]+[A-Z]\w*\b"  # camelCase
    r"|\b[A-Za-z_]\w+(?:\.[A-Za-z_]\w+)+(?:\(\))?|\b[A-Za-z_]\w*\(\)"  # dotted, called
    r"|\b[A-Z]{2,}-?\d{2,}\b|\b[A-Z]\d{3,}\b"  # numbers of errors
)
PUNCTUATION: Final = "?!.,:;"  # around words that are no code
LONG_CODE: Final = 200  # characters of a text without spaces that are looked at


def named(prompt: Prompt) -> list[bool]:
    """For each word whether it names something: a known name, or one with a capital within a sentence, unless all words
    of the prompt have one. Empty if none does."""
    given = prompt.words
    capitals: list[bool] = []
    if any(prompt.capitals[1:]) or prompt.says & CAPITALS:
        capitals = [word.capitals > start for word, start in zip(given, prompt.of(starts), strict=True)]
    if True in capitals:
        content = [word for word in given if word.content and word.lower.isalpha()]
        if len(content) > 3 and all(word.capitals for word in content):
            capitals = [False] * len(given)
    elif not prompt.says & NAME:
        return []
    found = [
        word.says & NAME != 0 or (capital and word.lower not in (NAMELESS if word.capitals == 1 else SHOUTED))
        for word, capital in zip(given, capitals or [False] * len(given), strict=True)
    ]
    if True not in found:
        return []
    for place, word in enumerate(given):
        if word.lower in PARTS and (found[place + 1 : place + 2] == [True] or (place and found[place - 1])):
            found[place] = True
    return found


def candidates(prompt: Prompt) -> frozenset[str]:
    """The stems of words that may be named: the others never are."""
    return frozenset([word.stem for word in prompt.words if word.says & CANDIDATE])


def marked(prompt: Prompt) -> list[bool]:
    """For each word whether it is a name or has a capital within a sentence."""
    return [
        name or word.capitals > start
        for name, word, start in zip(_named(prompt), prompt.words, prompt.of(starts), strict=True)
    ]


def _named(prompt: Prompt) -> list[bool]:
    return prompt.of(named) or [False] * len(prompt.words)


def moves(prompt: Prompt) -> frozenset[tuple[str, str]]:
    """(from, to) of each "from X to Y", "to Y from X", "X to Y" and "X better than Y": the last word of each."""
    if not prompt.says & TOWARDS:
        return frozenset()
    found: set[tuple[str, str]] = set()
    words, lowers = prompt.words, prompt.lowers
    for place, word in enumerate(words):
        target = _end(words, place + 1) if word.says & TOWARDS and place else None
        if target is None:
            continue
        before, end = range(max(0, place - REACH), place), min(place + REACH, len(words))
        sources = [at for at in (*before, *range(place + 1, end)) if lowers[at] == "from"]
        if word.lower == "than":
            found.update((words[at].stem, target) for at in before if words[at].content)
        elif sources:
            found.update((source, target) for at in sources[:1] if (source := _end(words, at + 1)))
        elif words[place - 1].content:
            found.add((words[place - 1].stem, target))
    return frozenset(found)


def _end(words: Sequence[Word], place: int) -> str | None:
    """The stem of the last of the words from here on that are no function words."""
    while place < len(words) and (words[place].lower in WITHIN or words[place].lower in OWNERS):
        place += 1
    stem = None
    while place < len(words) and words[place].content:
        stem = words[place].stem
        place += 1
    return stem


def entities_differ(pair: Pair) -> bool:
    """Each prompt has a name that the other has not, or another thing of one kind (tea, coffee; mother, aunt), or they
    are the same but that one has a name where the other has something else, or one goes from A to B and the other from
    B to A. Names are known ones in any letters, and words with a capital within a sentence. What passes: a name that
    only one has, other forms of it (India, Indian, U.S., America; a wrong letter; an abbreviation of the other's
    words), and prompts that differ in many other words."""
    a, b = pair.a, pair.b
    if a.says & b.says & TOWARDS and len(pair.only_a) + len(pair.only_b) < 3 and _turned(a.of(moves), b.of(moves)):
        return True
    if not (pair.only_a or pair.only_b) and _swapped(pair):
        return True
    if a.says & b.says & KIND and _other_of_a_kind(pair.only_a, pair.only_b) and pair.apart() <= APART:
        return True
    if not (a.says | b.says) & CANDIDATE:
        return False
    a_span, b_span = pair.spans()
    if pair.replaced() and (_replaced_name(a, a_span, b, b_span) or _replaced_name(b, b_span, a, a_span)):
        return True
    if pair.only_a.isdisjoint(a.of(candidates)) or pair.only_b.isdisjoint(b.of(candidates)) or pair.apart() > APART:
        return False
    only_a = {word.lower for word, name in zip(a.words, _named(a), strict=True) if name and word.stem in pair.only_a}
    only_b = {word.lower for word, name in zip(b.words, _named(b), strict=True) if name and word.stem in pair.only_b}
    if not (only_a and only_b):
        return False
    ours = [word.lower if word.stem in pair.only_a else "" for word in a.words]
    theirs = [word.lower if word.stem in pair.only_b else "" for word in b.words]
    return _unmatched(only_a, theirs) and _unmatched(only_b, ours)


def _turned(ours: frozenset[tuple[str, str]], theirs: frozenset[tuple[str, str]]) -> bool:
    only = ours - theirs
    return any((target, source) in theirs - ours for source, target in only)


def _swapped(pair: Pair) -> bool:
    """Whether the prompts are the same but that what stood before and after a word such as to or than has changed
    places, unless they ask what is so both ways."""
    a, b = pair.between()
    if sorted([word.lower for word in a]) != sorted([word.lower for word in b]):
        return False
    ours, theirs = _before(a), _before(b)
    return bool(ours - theirs and theirs - ours) and BOTH_WAYS.isdisjoint(pair.a.lowers)


def _before(given: Sequence[Word]) -> set[str]:
    """The stems of the words before the first of ONE_WAY, without function words."""
    place = next((place for place, word in enumerate(given) if word.lower in ONE_WAY), 0)
    return {word.stem for word in given[:place] if word.content}


def _other_of_a_kind(only_a: Collection[str], only_b: Collection[str]) -> bool:
    """Whether two things are of one kind, of which the words of one prompt only and of the other say one each."""
    known = kinds()
    ours = {thing for word in only_a if word in known for thing in known[word]}
    theirs = {thing for word in only_b if word in known for thing in known[word]}
    if not (ours and theirs):
        return False
    return not {kind for kind, _ in ours - theirs}.isdisjoint([kind for kind, _ in theirs - ours])


def _replaced_name(one: Prompt, here: slice, other: Prompt, there: slice) -> bool:
    """Whether names, and nothing else, stand here in one prompt where there, in the other, is something else: in place
    of a word that is a name only by its capital, another word with one."""
    a, b = one.words[here], other.words[there]
    if any(word.content and not word.says & CANDIDATE and word.lower not in WITHIN for word in a):
        return False
    marks = one.of(marked)[here]
    if True not in marks:
        return False
    capital = {word.lower for word, mark in zip(a, marks, strict=True) if mark}
    others = {word.lower for word, mark in zip(b, other.of(marked)[there], strict=True) if mark}
    function = {word.lower for word in b if not word.content} - others
    if {word.lower for word in a} - capital - WITHIN != function - WITHIN:
        return False
    known = {word.lower for word in a if word.says & NAME}
    content = {word.lower for word in b if word.content} - WITHIN
    ours, theirs = [word.lower for word in a], [word.lower for word in b]
    return (_unmatched(known, theirs) and _unmatched(content | others, ours)) or (
        _unmatched(capital, theirs) and _unmatched(others, ours)
    )


def _unmatched(given: Collection[str], others: Sequence[str]) -> bool:
    """Whether one of the names is none of the other words, in whatever form, and no abbreviation of them. Words that do
    not count are empty."""
    if not given:
        return False
    initials = "".join([word[0] if word else " " for word in others])
    joined = "".join(others)
    return any(
        name not in others
        and not (len(name) in INITIALS and name in initials)
        and not (len(name) > max(INITIALS) and name in joined)
        and not any(_one_name(name, word) for word in others)
        for name in given
    )


def _one_name(name: str, other: str) -> bool:
    """Whether two words may be one name: India and Indian, or one letter that is wrong."""
    if name in ALIASES and ALIASES[name] == ALIASES.get(other):
        return True
    short, long = (name, other) if len(name) <= len(other) else (other, name)
    if long == short + "s":
        return True
    if len(short) >= LEAST_STEM and long.startswith(stem := short.rstrip("aeoy")) and long[len(stem) :] in ENDINGS:
        return True
    if len(short) < LEAST_TYPO or len(long) - len(short) > 1 or (name in names() and other in names()):
        return False
    wrong = next((at for at, letter in enumerate(short) if letter != long[at]), len(short))
    return short[wrong + (len(short) == len(long)) :] == long[wrong + 1 :]


def identifiers(prompt: Prompt) -> frozenset[str]:
    """In small letters."""
    found: set[str] = set()
    if not prompt.says & (MARK | DIGIT | CAPITALS):
        return frozenset()
    for piece in prompt.text.split():
        bare = piece.strip(PUNCTUATION)
        if not (bare.isalpha() and bare[1:].islower()) and len(bare) > 1:
            found.update(CODE.findall(piece[:LONG_CODE]))
    if "`" in prompt.text or '"' in prompt.text or "\u201c" in prompt.text:
        found.update("".join(name) for name in QUOTED.findall(prompt.text))
    lower = {name.lower() for name in found if name.count(" ") < QUOTED_WORDS}
    return frozenset(lower - names())


def identifiers_differ(pair: Pair) -> bool:
    """Each prompt has a name of code, path, flag, address, number of an error, or quotation, that does not occur in the
    other in whatever letters. One that only one prompt has passes."""
    ours = pair.a.of(identifiers)
    theirs = pair.b.of(identifiers) if ours else ours
    if not (ours and theirs) or ours == theirs:
        return False
    a, b = pair.a.text.lower(), pair.b.text.lower()
    return any(name not in b for name in ours) and any(name not in a for name in theirs)
