"""A hundred thousand attempts to get the answer of another scope.

The prompts are the same, the vectors nearly, and the scopes look alike.
"""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

import vsearch
from vsearch import CachePolicy
from vsearch.cache.questions import digest_of_scope

DIM = 16
ATTEMPTS = 100_000
TENANTS: list[Any] = [
    *("ann", "Ann", "ann ", " ann", "ann\x00", "ann\n", "ann,", '"ann"', "[ann]", "a", "nn", ""),
    *("\u00e4nn", "a\u0308nn", "\u0430nn"),  # composed, decomposed, and a Cyrillic letter
    *(1, True, 1.0, "1", "true", None, "null", "None", 0, False, "0", -0.0),
    *([], [[]], {}, [{}], ["ann"], [["ann"]], ["a", "nn"], ["ann", ""], {"ann": None}, {"ann": ""}, {"a": "nn"}),
    *({"tenant": "ann"}, {"tenant": ["ann"]}, [{"tenant": "ann"}], '{"tenant":"ann"}', ["tenant", "ann"]),
]
MODELS: list[Any] = ["gpt", ["gpt", {"temperature": 0}], ["gpt", {"temperature": 0.0}], ["gpt", {"temperature": 1e-9}]]
SCOPES: list[Any] = [(tenant, model) for tenant, model in product(TENANTS, MODELS)]


def test_scopes_that_look_alike_have_different_digests() -> None:
    digests = {digest_of_scope(scope) for scope in (*SCOPES, *TENANTS)}
    assert len(digests) == len(SCOPES) + len(TENANTS)


def test_no_scope_gets_the_answer_of_another(tmp_path: Path) -> None:
    rng = np.random.default_rng(11)
    questions = rng.standard_normal((8, DIM)).astype(np.float32)
    policies = {"near": CachePolicy(threshold=0.0, guards=False), "far": CachePolicy(threshold=0.9, guards=False)}
    with vsearch.open(tmp_path / "db", durability="os") as db:
        cache = db.create_cache("answers", DIM, policies=policies)
        full = range(0, len(SCOPES), 2)  # every other scope has answers to all questions, the others to none
        for i in full:
            vectors = questions + 0.01 * rng.standard_normal(questions.shape)
            prompts = [f"question {q}" for q in range(len(questions))]
            cache.store_many(prompts, [[i, q] for q in range(len(questions))], vectors, "near", SCOPES[i])
        noise = 0.01 * rng.standard_normal((256, DIM)).astype(np.float32)
        hits = 0
        for attempt in range(ATTEMPTS):
            i, q = attempt % len(SCOPES), attempt % 7
            prompt = f"question {q}" if attempt % 3 else f"another question {q}"
            hit = cache.check(prompt, questions[q] + noise[attempt % 256], "near", SCOPES[i])
            assert (hit is not None) == (i % 2 == 0)
            if hit is not None:
                assert hit.response == [i, q]
                hits += 1
            elif attempt % 50 == 1:
                assert cache.check(prompt, questions[q], "far", SCOPES[i]) is None
        assert hits == ATTEMPTS // 2
