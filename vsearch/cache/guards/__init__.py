"""Guards against look-alikes: prompts whose vectors are close, but whose answers are not the same.

1. A prompt is taken apart once (prompt.py): words, their stems, what kind of word each is. What a guard looks for in
   it is kept with it, and the prompts of the latest calls are remembered.
2. Two prompts are laid side by side: the stems that only one has, and the words between what both begin and end with.
3. Each guard (quantities.py, names.py, senses.py) says whether they differ in what it looks for. Mostly each must have
   something that the other lacks: a detail that only one of them gives is more often left out than meant otherwise.
   Prompts that also differ in many other words are left to their vectors.

A guard compares words, by rules and lists, and understands nothing: it finds look-alikes that are the same but for a
number, a name, a negation, a thing of one kind. The words that guards know are English; numbers, dates in digits,
capitals and identifiers are found in any language that has spaces, and what a guard does not understand passes.

The work is bounded: of prompts longer than LONGEST characters, only so many are compared, from the first difference on.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import lru_cache
from typing import Final

from vsearch.cache.policy import Guard

from .names import entities_differ, identifiers_differ
from .prompt import Pair, Prompt
from .quantities import dates_differ, numbers_differ, units_differ
from .senses import negation_differs, polarity_differs, question_differs

__all__ = ["refusal"]

LONGEST: Final = 4096  # characters of a prompt that are compared
CONTEXT: Final = 64  # characters before the first difference that are compared too
LATEST: Final = 1024  # prompts that are remembered: some 10 MB if all are of 100 words

# The first that refuses is the reason given: those that are least often wrong come first.
GUARDS: Final[dict[Guard, Callable[[Pair], bool]]] = {
    "numbers": numbers_differ,
    "dates": dates_differ,
    "units": units_differ,
    "identifiers": identifiers_differ,
    "entities": entities_differ,
    "polarity": polarity_differs,
    "negation": negation_differs,
    "question": question_differs,
}

features = lru_cache(maxsize=LATEST)(Prompt)


def refusal(asked: str, cached: str, guards: Collection[str]) -> Guard | None:
    """The guard that says that an answer to `cached` does not answer `asked`, or None. `guards`: which are asked."""
    if asked == cached:
        return None
    if len(asked) > LONGEST or len(cached) > LONGEST:
        asked, cached = _where_they_differ(asked, cached)
        pair = Pair(Prompt(asked), Prompt(cached))
    else:
        pair = Pair(features(asked), features(cached))
    return next((name for name, differ in GUARDS.items() if name in guards and differ(pair)), None)


def _where_they_differ(a: str, b: str) -> tuple[str, str]:
    """LONGEST characters of each, from a little before the first difference on."""
    same, end = 0, min(len(a), len(b))  # the first `same` characters are the same, and at most `end`
    while same < end:
        middle = (same + end + 1) // 2
        if a[same:middle] == b[same:middle]:
            same = middle
        else:
            end = middle - 1
    start = max(0, same - CONTEXT)
    start = a.find(" ", start, same) + 1 or start  # not within a word
    return a[start : start + LONGEST], b[start : start + LONGEST]
