"""Guards on what a prompt wants to know: negation, polarity, and the kind of question."""

from __future__ import annotations

import re
from typing import Final

from .lists import opposites, stem, words
from .prompt import APOSTROPHE, FEW, FUNCTION, NEGATION, OPPOSED, QUESTION, REVERSED, REVERSING, Pair, Prompt, starts

APART: Final = 2  # prompts with more words of their own than this are paraphrases: a negation may have become a word
REACH: Final = 6  # words after a negation that are looked at for what it negates

NEARLY: Final = words("near negations")
LEAST_REVERSED: Final = 4  # letters of a word before which these turn it around: into is not the reverse of to
# Negations that leave the question as it is.
IDLE: Final = re.compile(
    r"\b(?:(?:or|if|why) not\b|no(?:t (?:only|just)\b| (?:matter|doubt)\b| ?[.:#](?=\W*\w))|neither\b(?=.*\bnor\b)"
    r"|(?:phone|account|mobile|roll|serial|id) no\b|or \w+n't\b"
    r"|(?:when|because|since) (?:i|you|we|he|she|they|it|one) (?:can't|cannot|can not)\b"
    r"|(?:i|we) (?:can't|cannot|can not|don't know|do not know)\b)"  # what cannot be done is asked for
    r"|/ ?\w+n't\b|, (?:is|are|do|does|did|was|were|ca|wo)n't (?:it|you|they|we|he|she)(?=\W*(?:$|[?.!]))"
)
COUNTED: Final = frozenset(["many", "much", "long", "often", "old", "far", "big", "tall", "fast", "high"])  # after how
WITH_HOW: Final = frozenset(map(stem, ["come", *COUNTED]))


def negatives(prompt: Prompt) -> list[int]:
    """The places of words that negate."""
    if not prompt.says & NEGATION:
        return []
    return [place for place, word in enumerate(prompt.words) if word.says & NEGATION]


def negations(prompt: Prompt) -> list[int]:
    """The places of words that negate, less those that are idle."""
    found = prompt.of(negatives)
    return found[len(IDLE.findall(prompt.text.lower().replace(APOSTROPHE, "'"))) :] if found else found


def negation_differs(pair: Pair) -> bool:
    """One prompt negates what the other has without a negation. What passes: a negation of something that the other
    does not speak of, one that the other says in a word (unsafe, avoid), idle ones (or not, isn't it), and prompts that
    differ in many other words."""
    if not (pair.a.says | pair.b.says) & NEGATION or len(pair.a.of(negatives)) == len(pair.b.of(negatives)):
        return False
    few = pair.few()
    if few <= 1 and not any(word.lower == "no" for span in pair.between() for word in span):
        return True
    ours, theirs = pair.a.of(negations), pair.b.of(negations)
    if len(ours) == len(theirs):
        return False
    if pair.apart() > (APART if few <= FEW else 1):
        return False
    if ours and theirs:
        return few <= FEW and abs(len(ours) - len(theirs)) == 1
    plain, other, places = (pair.a, pair.b, theirs) if theirs else (pair.b, pair.a, ours)
    if any(word in NEARLY or word.startswith(REVERSING) for word in set(plain.lowers).difference(other.lowers)):
        return False
    return any(_negated(other, place) in plain.stems for place in places)


def _negated(prompt: Prompt, place: int) -> str | None:
    """The stem of the next word that is no function word, or else of the last one before."""
    near = [*prompt.words[place + 1 : place + 1 + REACH], *reversed(prompt.words[:place][-REACH:])]
    return next((word.stem for word in near if word.content), None)


def polarity_differs(pair: Pair) -> bool:
    """Each prompt has a word that is the opposite of one that only the other has (enable, disable; safe, unsafe). What
    passes: opposites of which one is negated (not happy, unhappy), and prompts that differ in many other words."""
    only_a, only_b = pair.only_a, pair.only_b
    if not (only_a and only_b):
        return False
    found: set[str] = set()
    if pair.a.says & pair.b.says & OPPOSED:
        opposed = opposites()
        found = {word for word in only_a if word in opposed and not only_b.isdisjoint(opposed[word])}
    if not found:
        either = (pair.a.says | pair.b.says) & REVERSED
        if not (either and (_reversed(only_a, only_b) or _reversed(only_b, only_a))):
            return False
    if len(pair.a.of(negations)) % 2 != len(pair.b.of(negations)) % 2:
        return False
    if found and found <= FUNCTION:
        return pair.apart() == 0  # in and out, before and after have other uses too
    return pair.few() <= 2 or pair.apart() <= APART


def _reversed(ours: frozenset[str], theirs: frozenset[str]) -> bool:
    return any(
        any(word == prefix + other for prefix in REVERSING for other in theirs if len(other) >= LEAST_REVERSED)
        for word in ours
        if word.startswith(REVERSING)
    )


def kinds(prompt: Prompt) -> frozenset[str]:
    """The kinds of answer that question words ask for. What, which, how, and questions of yes or no ask for any."""
    found: set[str] = set()
    if not prompt.says & QUESTION:
        return frozenset()
    lowers = [*prompt.lowers, ""]
    for place, word in enumerate(prompt.words):
        if not word.says & QUESTION:
            continue
        kind, after = word.lower, lowers[place + 1]
        if kind == "how":
            kind = "why" if after == "come" else f"how {after}" if after in COUNTED else "any"
        elif kind == "when" and not prompt.of(starts)[place] and lowers[place - 1] not in ("and", "or"):
            continue  # it joins clauses
        found.add("who" if kind in ("whom", "whose") else kind)
    return frozenset(found)


def question_differs(pair: Pair) -> bool:
    """Both prompts ask by question words (why, when, where, who, how many and the like), have none of them in common,
    and differ in no other word. What, which, and questions of yes or no pass, and how beside any other: how do I get it
    is also where."""
    if not pair.a.says & pair.b.says & QUESTION:
        return False
    if not (pair.a.content & pair.only_a <= WITH_HOW and pair.b.content & pair.only_b <= WITH_HOW):
        return False
    ours, theirs = pair.a.of(kinds), pair.b.of(kinds)
    return bool(ours and theirs) and ours.isdisjoint(theirs) and "any" not in ours | theirs
