"""Guards on what a prompt counts and measures: numbers, dates, units."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Final

from .lists import groups, values, words
from .prompt import DATE, DIGIT, NUMBER, UNIT, Pair, Prompt, Word

APART: Final = 5  # prompts with more words of their own than this are paraphrases, whose numbers may differ in form

COUNTED: Final = DIGIT | NUMBER
DATED: Final = DATE | DIGIT
MEASURED: Final = UNIT | DIGIT

VALUES: Final = values("numbers")
SCALES: Final = values("scales")
VAGUE: Final = words("vague numbers") | SCALES.keys()
JOINING: Final = frozenset(["and", "or", "vs", "versus"])  # between things whose order says nothing
DIGITS: Final = re.compile(
    r"(\d+(?:,\d{2,3}(?!\d))*(?:\.\d+)*)"
    r"(?:\s?(hundred|thousand|k|lakhs?|lac|million|mn?|crores?|billion|bn?|trillion)(?![^\W_]))?",
    re.IGNORECASE,
)
PENSION: Final = "401"  # the plan 401(k) is no number of thousands

MONTHS: Final = ["", *dict.fromkeys(groups("months").values())]  # from 1 on
DATES: Final = groups("months") | groups("weekdays")
RELATIVE: Final = words("relative days")
PERIODS: Final = words("periods")
UNSURE: Final = words("unsure dates")
BEFORE: Final = words("before dates")
WHICH: Final = frozenset(["last", "next", "this", "previous", "coming", "past"])  # before a period
YEAR: Final = re.compile(r"(?:1[5-9]|20)\d\d(?:s|'s)?")
ISO: Final = re.compile(r"\b((?:1[5-9]|20)\d\d)[-/](\d\d?)[-/](\d\d?)\b")
DAY: Final = re.compile(r"(\d\d?)(?:st|nd|rd|th)?")

NOTHING: Final = Word("", "", 0, False, 0)
UNITS: Final = groups("units")
SYMBOL: Final = re.compile(r"[$\u20ac\u00a3\u20b9\u00a5%\u2103\u2109]|\u00b0[CF]\b")
GLUED: Final = re.compile(r"\d([a-z]+)$")  # to its number
LETTERS: Final = frozenset(["c", "f", "m", "g", "l", "v", "w", "h"])  # units only beside a number


def numbers(prompt: Prompt) -> tuple[list[str], list[str]]:
    """(numbers, vague ones), in digits; those written in digits come first."""
    return _numbers(prompt.words, prompt.text) if prompt.says & COUNTED else ([], [])


def numbers_differ(pair: Pair) -> bool:
    """Each prompt has a number that the other has not; or they are the same but for numbers or their order, among them
    words that are numbers only at times (one). 2,000 is 2k and two thousand, 8.0 is 8. A number that only one has
    passes, and so do prompts that differ in many other words."""
    if not (pair.a.says & COUNTED and pair.b.says & COUNTED):
        return False
    ours, vague = pair.a.of(numbers)
    theirs, others_vague = pair.b.of(numbers)
    if not ((ours or vague) and (theirs or others_vague)):
        return False
    if _replaced(pair, _all_numbers):
        return True
    only_a = set(ours).difference(theirs, others_vague)
    only_b = set(theirs).difference(ours, vague)
    return bool(only_a and only_b) and pair.apart() <= APART


def _replaced(pair: Pair, find: Callable[[Sequence[Word]], list[str]]) -> bool:
    """Whether two prompts are the same but for what `find` finds, or its order."""
    if not pair.replaced():
        return False
    a, b = pair.between()
    ours, theirs = find(a), find(b)
    if len(ours) == len(theirs) and not any(word.lower in JOINING for word in a):
        return ours != theirs
    return bool(set(ours).difference(theirs)) and bool(set(theirs).difference(ours))


def _all_numbers(given: Sequence[Word]) -> list[str]:
    sure, vague = _numbers(given)
    return sure + vague


def _numbers(given: Sequence[Word], text: str | None = None) -> tuple[list[str], list[str]]:
    """`text`: of the words, if there is one: digits are looked for in it."""
    sure: list[str] = []
    if any(word.says & DIGIT for word in given):
        digits = DIGITS.findall(" ".join([word.lower for word in given]) if text is None else text)
        sure = [_plain(number, scale) for number, scale in digits]
    vague: list[str] = []
    for spelt, value in _spelt(given):
        (vague if spelt in VAGUE else sure).append(str(value))
    return sure, vague


def _plain(digits: str, scale: str) -> str:
    """2 of 2.0, 2000 of 2,000 and of 2 with a scale of k; versions, of more points, stay as they are."""
    digits = digits.replace(",", "")
    if scale and digits.count(".") < 2 and digits != PENSION:
        digits = f"{float(digits) * SCALES[scale.lower()]:.6f}"
    if "." in digits:
        digits = digits.rstrip("0").rstrip(".")
    return digits.lstrip("0") or "0"


def _spelt(given: Sequence[Word]) -> Iterator[tuple[str, int]]:
    """(its word, value) of each number written in words; one of several words has them all."""
    spelt, total = "", 0
    for word in given:
        value = scale = None
        if word.says & NUMBER:
            value = VALUES.get(word.lower)
            scale = SCALES.get(word.lower) if len(word.lower) > 2 else None  # k and m alone are letters
        if spelt and value is not None and value < 10 and total % 100 in range(20, 100, 10):
            spelt, total = spelt + word.lower, total + value
        elif spelt and scale:
            spelt, total = spelt + word.lower, total * scale
        else:
            if spelt:
                yield spelt, total
            total = value if value is not None else scale or 0
            spelt = word.lower if value is not None or scale else ""
    if spelt:
        yield spelt, total


def dates(prompt: Prompt) -> frozenset[str]:
    found: set[str] = set()
    if not prompt.says & DATED:
        return frozenset()
    lowers = ["", *prompt.lowers, ""]
    for place, word in enumerate(prompt.words, 1):
        before, after = lowers[place - 1], lowers[place + 1]
        if word.says & DIGIT:
            if YEAR.fullmatch(word.lower):
                found.add(word.lower)
        elif not word.says & DATE:
            continue
        elif word.lower in RELATIVE:
            found.add(word.lower)
        elif word.lower in PERIODS:
            if before in WHICH:
                found.add(f"{before} {word.lower}")
        else:
            days = [int(day[1]) for day in map(DAY.fullmatch, (before, after)) if day]
            if word.lower not in UNSURE or before in BEFORE or before in WHICH or days:
                found.add(DATES[word.lower])
                if before in WHICH:
                    found.add(before)
                found.update(f"day {day}" for day in days)
    for year, month, day in ISO.findall(prompt.text):
        if not 1 <= int(month) <= 12:
            continue
        found.update((year, MONTHS[int(month)], f"day {int(day)}"))
    return frozenset(found)


def dates_differ(pair: Pair) -> bool:
    """Each prompt has a year, month, day of a month or of the week, or word such as tomorrow, that the other has not;
    or they are the same but for dates or their order, among them words that are dates only at times (may). A date that
    only one has passes."""
    if not (pair.a.says & DATED and pair.b.says & DATED):
        return False
    ours, theirs = pair.a.of(dates), pair.b.of(dates)
    return bool(ours - theirs and theirs - ours) or (
        bool(pair.a.says & pair.b.says & DATE) and _replaced(pair, _all_dates)
    )


def _all_dates(given: Sequence[Word]) -> list[str]:
    return [DATES.get(word.lower, word.lower) for word in given if word.says & DATE and word.lower not in PERIODS]


def units(prompt: Prompt) -> frozenset[str]:
    found = set(_units(prompt.words)) if prompt.says & MEASURED else set()
    if prompt.says & DIGIT:
        found.update(UNITS[symbol.lower()] for symbol in SYMBOL.findall(prompt.text))
    return frozenset(found)


def _units(given: Sequence[Word]) -> list[str]:
    """Those in words and letters, in their order."""
    found: list[str] = []
    for word, after in pairwise([*given, NOTHING]):
        if word.says & UNIT:
            found.append(UNITS[word.lower])
        elif word.says & DIGIT and not after.says & UNIT:
            glued = GLUED.search(word.lower + after.lower if word.lower.isdigit() else word.lower)
            if glued and (glued[1] in UNITS or glued[1] in LETTERS):
                found.append(UNITS.get(glued[1], glued[1]))
    return found


def units_differ(pair: Pair) -> bool:
    """Each prompt has a unit of measure, time or money that the other has not, however it is written; or they are the
    same but for units or their order. A unit that only one has passes, and so do prompts that differ in many other
    words."""
    if not (pair.a.says & MEASURED and pair.b.says & MEASURED):
        return False
    ours, theirs = pair.a.of(units), pair.b.of(units)
    if not (ours and theirs):
        return False
    return bool(ours - theirs and theirs - ours and pair.apart() <= APART) or _replaced(pair, _units)
