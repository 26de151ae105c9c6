"""The look-alikes of the benchmark: what is made of a question, and what is not since its answer would be the same."""

from __future__ import annotations

import random
import re
from collections import Counter

import pytest

from bench.adversarial_pairs import MAKERS, SHARES, TOTAL, Source, adversarial_pairs

# Sentences in the style of the data sets, with everything that their twins may be.
MADE = [
    ("number", "Can I lose 20 pounds by running?", r"Can I lose (10|30|40|50|70) pounds by running\?"),
    ("number", "How do I sell $1,500 of stock?", r"How do I sell \$\d,\d00 of stock\?"),
    ("number", "Who was the 3rd president?", r"Who was the (2nd|4th|5th|6th|8th) president\?"),
    ("date", "Who won the cup in 2015?", r"Who won the cup in 20(11|12|13|14|16|17|18)\?"),
    ("date", "Is the shop open on Monday?", r"Is the shop open on (Tues|Wednes|Thurs|Fri|Satur|Sun)day\?"),
    ("unit", "How do I learn it in 5 weeks?", r"How do I learn it in 5 (days|months)\?"),
    ("negation", "Why do people eat snow?", r"Why do people not eat snow\?"),
    ("negation", "Why can't I sleep?", r"Why can I sleep\?"),
    ("negation", "How to travel without a map?", r"How (not to travel without|to travel with) a map\?"),
    ("polarity", "What is the best way to cook rice?", r"What is the worst way to cook rice\?"),
    ("polarity", "How do I Increase my weight?", None),  # a capital within a sentence may begin a name
    ("entity", "What is the capital of France?", r"What is the capital of (?!France)[A-Z]\w+\?"),
    ("entity", "Was it a Indian Ocean cruise?", None),
    ("direction", "How do I fly from Paris to Rome?", r"How do I fly from Rome to Paris\?"),
    ("direction", "What is the distance from Paris to Rome?", None),
    ("direction", "Is Rome older than Paris?", None),
    ("polarity", "Is it good to sleep early?", None),
    ("polarity", "What are the pros and cons of buying?", None),
    ("polarity", "Do men and women sleep the same?", None),
    ("negation", "Is it safe to swim here?", None),
    ("number", "What happened on 9/11?", None),
    ("number", "What is on route 3?", r"What is on route (4|5|6|8|2)\?"),
]


@pytest.mark.parametrize(("kind", "text", "twins"), MADE)
def test_one_detail_is_changed(kind: str, text: str, twins: str | None) -> None:
    source = Source(text, 0)
    made = [pair for seed in range(30) for pair in MAKERS[kind](source, random.Random(seed))]
    assert bool(made) == (twins is not None)
    for cached, asked in made:
        assert cached == text
        assert re.fullmatch(twins or "", asked), asked


def test_requests_are_in_small_letters() -> None:
    made = dict(MAKERS["entity"](Source("book a table in boston", 0, "restaurant_reservation"), random.Random(0)))
    assert made["book a table in boston"].islower()


def test_both_get_a_number_and_not_the_same() -> None:
    ((cached, asked),) = MAKERS["number inserted"](Source("set a timer", 0, "timer"), random.Random(0))
    assert re.fullmatch(r"set a timer for \d+ minutes", cached)
    assert re.fullmatch(r"set a timer for \d+ minutes", asked)
    assert cached != asked


def test_pairs_are_distinct_and_the_same_for_a_seed() -> None:
    sources = [
        Source(f"What is the best way from Paris to Rome in {year} with a dog?", year) for year in range(1960, 2020)
    ]
    pairs = adversarial_pairs(sources, TOTAL // 100, seed=1)
    assert pairs == adversarial_pairs(sources, TOTAL // 100, seed=1) != adversarial_pairs(sources, TOTAL // 100, seed=2)
    assert len({(pair.cached, pair.asked) for pair in pairs}) == len(pairs)
    assert all(pair.cached != pair.asked for pair in pairs)
    assert all(pair.cached == pair.source.text for pair in pairs)
    counts = Counter(pair.kind for pair in pairs)
    assert all(counts[kind] <= round(share / 100) for kind, share in SHARES.items())
    assert counts["date"] == SHARES["date"] // 100
