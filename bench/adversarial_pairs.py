"""Look-alikes: real questions and what becomes of them when one detail is changed, so that the answer is another.

A pair is a question and its changed twin, of one kind:

- number: a number is another; number inserted: both get one, not the same;
- date: another year, month, weekday, or day (today, tomorrow); unit: after a number, another unit;
- negation: a "not" comes or goes, with becomes without; polarity: a word is exchanged for its opposite;
- entity: a name for another of its kind; direction: from A to B, better than.

What would leave the answer alone is not made: negated or opposite questions for yes or no ("is it safe", "is it not
safe"), distances in both directions, fixed phrases. Word lists: bench/adversarial_words.py.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from bench.adversarial_words import BLOCKED, GRADED, INSERTED, NAMES, NEGATIONS, OPPOSITES, UNITS

# How many of each are made, of 20,000.
SHARES = {
    "number": 4_400,
    "number inserted": 2_000,
    "date": 2_400,
    "unit": 1_500,
    "negation": 4_000,
    "polarity": 3_000,
    "entity": 2_600,
    "direction": 100,
}
TOTAL = sum(SHARES.values())
VERSIONS = 3  # twins of one question and kind, at most
MAX_WORDS = 25  # in a longer text a detail may not matter

MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
NUMBER_WORDS = (
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "twelve",
    "twenty",
    "thirty",
    "fifty",
)
_POLAR = re.compile(
    r"(?:is|are|was|were|do|does|did|can|could|will|would|should|has|have|isn't|aren't|am|shall|may|might)\b", re.I
)


@dataclass(frozen=True, slots=True)
class Source:
    """A real question. `row`: in its data set, which has its vector. `intent`: of CLINC150, or None."""

    text: str
    row: int
    intent: str | None = None

    @property
    def lower(self) -> bool:
        """Whether its set is without capital letters."""
        return self.intent is not None


@dataclass(frozen=True, slots=True)
class Pair:
    """`cached` and `asked` look alike, and have different answers."""

    kind: str
    cached: str
    asked: str
    source: Source


Twins = Iterator[tuple[str, str]]  # (cached, asked)


def adversarial_pairs(sources: Sequence[Source], total: int = TOTAL, seed: int = 0) -> list[Pair]:
    """`total` pairs, each kind in its share (fewer of a kind for which there is too little), in random order."""
    rng = random.Random(seed)
    order = [source for source in sources if len(source.text.split()) <= MAX_WORDS]
    pairs: list[Pair] = []
    for kind, share in SHARES.items():
        rng.shuffle(order)
        pairs += _of_kind(kind, order, round(share * total / TOTAL), rng)
    rng.shuffle(pairs)
    return pairs


def _of_kind(kind: str, sources: Sequence[Source], wanted: int, rng: random.Random) -> list[Pair]:
    """One twin of each question in turn, then a second and a third, until there are enough."""
    make, tried = MAKERS[kind], sources
    made: dict[tuple[str, str], Pair] = {}
    for _ in range(VERSIONS):
        fruitful = []
        for source in tried:
            if len(made) == wanted:
                break
            twins = [(cached, asked) for cached, asked in make(source, rng) if (cached, asked) not in made]
            if twins:
                cached, asked = rng.choice(twins)
                assert cached.lower() != asked.lower(), f"bug: {kind} changed nothing in {source.text!r}"
                made[cached, asked] = Pair(kind, cached, asked, source)
                fruitful.append(source)
        tried = fruitful
    return list(made.values())


def _replaced(text: str, start: int, end: int, word: str) -> str:
    """With the word in place of what was there, capital as that was."""
    old = text[start:end]
    if old.isupper() and len(old) > 1:
        word = word.upper()
    elif old[0].isupper():
        word = word[0].upper() + word[1:]
    return text[:start] + word + text[end:]


_NUMBER = re.compile(
    r"(?<![\w.,/:#^*=+\-])([$₹£€]?)(\d{1,3}(?:,\d{3})+|\d+(?:\.\d+)?)(st|nd|rd|th|k|%)?(?![\w/:^*=+\-]|[.,]\d)"
)
_WORDED = re.compile(rf"\b({'|'.join(NUMBER_WORDS)})\b")
_NOT_COUNTED = re.compile(r"(?:between|these|those|the|other|or|and|number|part|question|q|hundred|point) $", re.I)


def _numbers(source: Source, rng: random.Random) -> Twins:
    text = source.text
    for match in _NUMBER.finditer(text):
        number = match[2].replace(",", "")
        if (
            re.fullmatch(r"(19|20)\d\d", number)
            or number in ("0", "360", "100", "911", "401", "420")
            or len(number) > 9
        ):
            continue
        before = text[: match.start()]
        if before.lower().endswith(("part ", "(", "number ", "question ", "fortune ")):
            continue
        new = _another(number, rng, 1 if re.search(r"[A-Z]\w* $", before) else 10)
        if match[3] in ("st", "nd", "rd", "th"):
            new += "th" if 10 <= int(float(new)) % 100 <= 20 else {"1": "st", "2": "nd", "3": "rd"}.get(new[-1], "th")
        else:
            new = (f"{int(new):,}" if "," in match[2] else new) + (match[3] or "")
        yield text, text[: match.start()] + match[1] + new + text[match.end() :]
    for match in _WORDED.finditer(text):
        if (
            source.lower
            and not _NOT_COUNTED.search(text[: match.start()])
            and text[match.end() : match.end() + 1] == " "
        ):
            other = rng.choice([word for word in NUMBER_WORDS if word not in text])
            yield text, _replaced(text, match.start(), match.end(), other)


def _another(number: str, rng: random.Random, base: int) -> str:
    """Another number of the same size, and with base 10 of the same roundness."""
    if "." in number:
        decimals = len(number.split(".")[1])
        return f"{float(number) + rng.choice((1, 2, 3)):.{decimals}f}"
    value, zeros = int(number), len(number) - len(number.rstrip("0"))
    step = base**zeros
    choices = [value + step * by for by in (-3, -2, -1, 1, 2, 3, 5) if value + step * by > 1]
    return str(rng.choice(choices))


_PLURAL = re.compile(
    r"^(What are|What were|Which are|Tell me|List|Name) ((?:the|some|some of the)(?: \w+)? |)"
    r"(best|top|good|great|most)\b"
)


def _inserted(source: Source, rng: random.Random) -> Twins:
    text = source.text
    if _NUMBER.search(text) or _WORDED.search(text):
        return
    few, many = rng.sample((3, 4, 5, 6, 7, 8, 9, 10), 2)
    if source.intent in INSERTED:
        ending = INSERTED[source.intent]
        if ending.split()[-1] not in text and not re.search(r"\b(am|pm|last)\b", text):
            body = text.rstrip("?.! ")
            yield body + ending.format(few), body + ending.format(many)
    elif match := _PLURAL.match(text):
        if match[2].startswith("some"):
            yield f"{match[1]} {few} {text[match.start(3) :]}", f"{match[1]} {many} {text[match.start(3) :]}"
        elif match[2] == "the ":
            yield f"{match[1]} the {few} {text[match.start(3) :]}", f"{match[1]} the {many} {text[match.start(3) :]}"


_YEAR = re.compile(r"(?<![\w/(\-$.,])(19[5-9]\d|20[0-2]\d)(?![\w/)\-%]|[.,]\d| movie| film| rupee| note|s\b)")
_MONTH = re.compile(rf"\b({'|'.join(MONTHS)})\b(?! (?:Madness|Day))", re.I)
_WEEKDAY = re.compile(rf"\b({'|'.join(WEEKDAYS)})\b", re.I)
_DAY = re.compile(r"\b(today|tomorrow|yesterday)\b(?!')")
_SPAN = re.compile(
    r"(?<!the )\b(next|last|this) (week|month|year|monday|tuesday|wednesday|thursday|friday|saturday|sunday)\b"
)


def _dates(source: Source, rng: random.Random) -> Twins:
    text = source.text
    for match in _YEAR.finditer(text):
        year = int(match[1])
        others = [year + by for by in (-4, -3, -2, -1, 1, 2, 3) if str(year + by) not in text]
        yield text, text[: match.start()] + str(rng.choice(others)) + text[match.end() :]
    for pattern, words in ((_MONTH, MONTHS), (_WEEKDAY, WEEKDAYS)):
        for match in pattern.finditer(text):
            if match[1].lower() in ("may", "march") and not re.search(
                r"\b(in|on|of|until|till|by|for|\d) $", text[: match.start()]
            ):
                continue
            others = [word for word in words if word.lower() not in text.lower()]
            if others:
                word = rng.choice(others)
                yield text, _replaced(text, match.start(), match.end(), word.lower() if source.lower else word)
    if source.lower:
        for match in _DAY.finditer(text):
            tense = ("tomorrow", "today") if match[1] != "yesterday" else ("today", "last week")
            yield text, _replaced(text, match.start(), match.end(), next(word for word in tense if word != match[1]))
        for match in _SPAN.finditer(text):
            past = re.search(r"\b(did|was|were|spent|taken|have|used|made)\b", text)
            other = "this" if match[1] != "this" else "last" if past else "next"
            yield text, _replaced(text, match.start(1), match.end(1), other)


_GROUPS = [[tuple(unit.split()) for unit in group.split(",")] for group in UNITS]
_COUNTED = re.compile(rf"\d|\b(?:{'|'.join(NUMBER_WORDS)})\b")


_AMOUNT = rf"(?<!\$)(?<!\$\d)((?<!\d\d\d)\d|\b(?:{'|'.join(NUMBER_WORDS)}))"  # not "2016 dollars"
_SAME_UNIT = r"\bkilos?\b|\b(?:kilo|centi|milli)(?:gram|met)"  # which might be what a short name stands for


def _units(source: Source, rng: random.Random) -> Twins:
    text = source.text
    if not _COUNTED.search(text) or "=" in text:
        return
    words = set(re.findall(r"[a-zA-Z]+", text))
    for group in _GROUPS:
        for one, many in group:
            for match in re.finditer(
                rf"{_AMOUNT} ?-?({many}|{one})\b(?![- ]old| of experience| note| bill|'|\d)", text
            ):
                others = [unit for unit in _beside(group, (one, many)) if not set(unit) & words]
                if others and not re.search(_SAME_UNIT, text):
                    new = rng.choice(others)[match[2] == many]
                    yield text, text[: match.start(2)] + new + text[match.end(2) :]


def _beside(group: list[tuple[str, ...]], unit: tuple[str, ...]) -> list[tuple[str, ...]]:
    at = group.index(unit)
    return group[max(0, at - 1) : at] + group[at + 1 : at + 2]


_NEGATED = [(re.compile(found), new, unless and re.compile(unless)) for found, new, unless in NEGATIONS]
_FULL = {"can't": "can", "won't": "will", "shan't": "shall"}


def _negations(source: Source, rng: random.Random) -> Twins:
    text = source.text
    for pattern, new, unless in _NEGATED:
        match = pattern.search(text)
        if match is None or (unless is not None and unless.search(text)):
            continue
        if new == "unnot":
            verb = _FULL.get(match[2], match[2][:-3])
            yield text, text[: match.start(2)] + verb + text[match.end(2) :]
        elif new == "imperative":
            asks = match[1].strip()
            word = "not " if asks.endswith(" to") else "don't " if asks in ("", "please") else "please not "
            yield text, text[: match.start(2)] + word + text[match.start(2) :]
        else:
            yield text, text[: match.start()] + match.expand(new) + text[match.end() :]


_OPPOSITE = {a: b for pair in OPPOSITES.split(",") for a, b in (pair.split(), reversed(pair.split()))}
_TURNED, _SIDE = {"turn", "turned", "switch", "put"}, {"hand", "turn"}
_COMPANIONS = {"on": _TURNED, "off": _TURNED, "right": _SIDE, "left": _SIDE}
_OPPOSED = re.compile(rf"\b({'|'.join(_OPPOSITE)})\b", re.I)
_GRADED = frozenset(GRADED.split())
_BLOCKED = re.compile(rf"\b(?:{BLOCKED})\b", re.I)


def _opposites(source: Source, rng: random.Random) -> Twins:
    text = source.text
    if _BLOCKED.search(text):
        return
    words = [word.removesuffix("'s").rstrip("s") for word in re.findall(r"[\w']+", text.lower())]
    for match in _OPPOSED.finditer(text):
        word = match[1].lower()
        other = _OPPOSITE[word]
        if other.rstrip("s") in words or words.count(word.rstrip("s")) > 1:  # both are asked for
            continue
        if (match[1][0].isupper() and match.start() > 0) or "-" in text[match.start() - 1 :][: len(word) + 2]:
            continue  # a name, or a part of a word
        if (other.startswith("un") and "not" in words) or (word in _GRADED and (_POLAR.match(text) or " or " in text)):
            continue
        if word in _COMPANIONS and not _COMPANIONS[word] & set(words):
            continue
        yield text, _replaced(text, match.start(), match.end(), other)


_KINDS = {kind: names.split(",") for kind, names in NAMES.items()}


def _entity_patterns(lower: bool) -> dict[str, re.Pattern[str]]:
    patterns, beside = {}, "" if lower else r"(?![\w-]| [A-Z])"
    for kind, names in _KINDS.items():
        known = [name.lower() if lower else name for name in sorted(names, key=len, reverse=True)]
        patterns[kind] = re.compile(rf"(?<![\w-])({'|'.join(map(re.escape, known))})(?![\w-]){beside}")
    return patterns


_IN_CAPITALS, _IN_SMALL = _entity_patterns(False), _entity_patterns(True)
_AMBIGUOUS = re.compile(
    r"turkey|swift|rust|ruby|apple|amazon|oracle|cat|sat|gate|phoenix|mercury|discover|visa|gas|phone"
)
_NAME_BEFORE = re.compile(
    r"(?:^|\s)(?!What|Who|How|Why|Where|When|Which|Is|Are|Do|Does|Did|Can|Should|Will|Would|If|In|The|Has)[A-Z][\w.]* $"
)


_PART_BEFORE = re.compile(r"\b(?:acoustic|electric|bass|blood|bowel|breast|lung|skin) $")
_PART_AFTER = re.compile(r" (?:city|airlines|hut|pounds|francs|dollars?|yen|of america|crumbs?|field)\b")


def _entities(source: Source, rng: random.Random) -> Twins:
    text = source.text
    small = text.lower()
    for kind, pattern in (_IN_SMALL if source.lower else _IN_CAPITALS).items():
        for match in pattern.finditer(text):
            name = match[1]
            before, after = text[: match.start()], text[match.end() :]
            if source.lower and _AMBIGUOUS.fullmatch(name) and kind not in ("bill", "card"):
                continue
            if _NAME_BEFORE.search(before) or _PART_BEFORE.search(before) or _PART_AFTER.match(after):
                continue
            if kind == "currency" and re.search(r"\$ ?\d[\d,.]* $|\b\d{4} $", before):
                continue
            if len(set(pattern.findall(text))) > 2:  # a list, of which one more or less may not matter
                continue
            if kind == "bill" and not after.startswith(" bill"):
                continue
            vowel = name[0].lower() in "aeiou" if re.search(r"\ban? $", before, re.I) else None
            others = [
                other
                for other in _KINDS[kind]
                if other.lower() not in small and (vowel is None or (other[0].lower() in "aeiou") == vowel)
            ]
            if others:
                other = rng.choice(others)
                yield text, before + (other.lower() if source.lower else other) + after


_PATH = re.compile(r" (?:to|into|than) ")
_SYMMETRIC = re.compile(
    r"\b(distance|how far|how long|far|drive|driving|time|miles|difference|described|from time)\b", re.I
)
_ALL_NAMES = "|".join(re.escape(name) for names in _KINDS.values() for name in sorted(names, key=len, reverse=True))
_NAMED = rf"((?:the )?(?:{_ALL_NAMES}|US|USA|UK|[A-Z]\w+)(?:'s)?)"
_NAMED_SMALL = f"({_ALL_NAMES.lower()})"
_MOVES = r"\b(from|convert|transfer|move|exchange|change|translate) (?:my )?"
_ENDS = r"(?= ?$| ?[?.!]|,? (?:in|on|with|for|and|by|at|without|or|using|via|account|if|when|through|because|from)\b)"
_FROM_TO = re.compile(rf"{_MOVES}{_NAMED}( account)? (to|into) (?:my )?{_NAMED}{_ENDS}")
_FROM_TO_SMALL = re.compile(rf"{_MOVES}{_NAMED_SMALL}( account)? (to|into) (?:my )?{_NAMED_SMALL}{_ENDS}")
_THAN = re.compile(rf"^(Why is|Why are) {_NAMED}( [a-z]+(?: [a-z]+)? than ){_NAMED}{_ENDS}")


def _directions(source: Source, rng: random.Random) -> Twins:
    text = source.text
    if not _PATH.search(text) or _SYMMETRIC.search(text):
        return
    for match in (_FROM_TO_SMALL if source.lower else _FROM_TO).finditer(text):
        if match[2].lower() != match[5].lower():
            middle = text[match.end(2) : match.start(5)]
            yield text, text[: match.start(2)] + match[5] + middle + match[2] + text[match.end(5) :]
    for match in _THAN.finditer(text):
        yield text, text[: match.start(2)] + match[4] + match[3] + match[2] + text[match.end(4) :]


MAKERS: dict[str, Callable[[Source, random.Random], Twins]] = {
    "number": _numbers,
    "number inserted": _inserted,
    "date": _dates,
    "unit": _units,
    "negation": _negations,
    "polarity": _opposites,
    "entity": _entities,
    "direction": _directions,
}
