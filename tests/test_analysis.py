"""Text analysis: terms and their counts, against the obvious analysis and against examples made by hand."""

# ruff: noqa: RUF001 -- letters that look like others are what this is about

from __future__ import annotations

import base64
import subprocess
import sys
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from random import Random

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.naive_analysis import naive_analyse, naive_tokens
from vsearch import analysis
from vsearch.analysis import analyse, stop_words, tokens
from vsearch.errors import InvalidArgument, LimitExceeded
from vsearch.types import LANGUAGES, MAX_TERMS, MAX_TEXT_BYTES

# Characters with rules of their own, and neighbours of theirs without.
RARE = (
    "aAbBsS09_ \t\n\x00\x1f\x85''--.,\u2018\u2019\u02bc\uff07"  # apostrophes, separators
    "İIiıßẞſςΣéÉe\u0301\u0316\u0327\u0344ǰŞţȘfiﬁ①½²㎞ﷺＡ"  # foldings
    "\u00ad\u200b\u200c\u200d\u200e\u2060\ufeff\ufe0f\u180b\U000e0100\U000e0001"  # invisible
    "東京猫々〇〡、。ひらがなカナー・ﾊﾟｶﾞ\u3099\U00020000\U0002ffff\U0001b000"  # unspaced
    "กำ๑฿\u0e31ລာ၁ក្ខ고양이\u1100\u1161\u11a8ꀀ"
    "كتاب\u064b\u0640हिन्दी१\U0001e944\U0001d165"  # marks inside words
    "😀❤👍🏽\ud800\udfff\U0010ffff\u0378"
)
WORDS = [
    *("The", "running", "don't", "it's", "fox", "l'avion", "qu'il", "dell'acqua", "Häuser", "straße", "und", "кошки"),
    *("x" * 99, "x" * 100, "x" * 101, "e" + "\u0301" * 31, "e" + "\u0301\u0316" * 40, "\uff9e\u0301" * 20, "IŞIK"),
    *("și", "şi", "الكِتَاب", "東京", "a_b"),
]
LANGUAGE = st.sampled_from([None, "english", "french", "turkish", "arabic", "romanian", "german"])
TEXT = st.one_of(
    st.text(st.characters(exclude_categories=())),
    st.text(st.sampled_from(RARE)),
    st.lists(st.sampled_from([*WORDS, *RARE])).map("".join),
    st.lists(st.sampled_from(WORDS)).map(" ".join),
)


def rows_of(found):
    """The rows as lists of (number, count)."""
    pairs = list(zip(found.numbers.tolist(), found.weights.tolist(), strict=True))
    return [pairs[start:stop] for start, stop in pairwise(found.offsets.tolist())]


@given(TEXT, LANGUAGE)
@example("e\u0301" * 60, None)
@example("Ａ\U000e0100\u0301" * 40, None)
def test_tokens_equal_the_obvious_ones(text, language):
    assert tokens(text, language) == naive_tokens(text, language)


def test_every_character_parts_or_joins_as_it_obviously_does():
    codes = [*range(0x20010), *range(0x2FFF0, 0x30010), *range(0x3FFF0, 0x40010), *range(0xE0000, 0xE0210), 0x10FFFF]
    for start in range(0, len(codes), 5_000):
        text = " ".join(f"a{chr(code)}b" for code in codes[start : start + 5_000])
        assert tokens(text, None) == naive_tokens(text, None)


@given(st.lists(TEXT, max_size=6), LANGUAGE, st.sampled_from([1, 50, 10**9]))
def test_counts_equal_the_obvious_ones(texts, language, counted_bytes):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(analysis, "COUNTED_BYTES", counted_bytes)
        found = analyse(texts, language)
    assert (found.offsets.dtype, found.numbers.dtype, found.weights.dtype) == (np.int64, np.uint64, np.float32)
    assert len(found) == len(texts)
    assert rows_of(found) == naive_analyse(texts, language)


@given(st.lists(TEXT, max_size=6), LANGUAGE)
def test_a_batch_equals_its_rows_one_by_one(texts, language):
    assert rows_of(analyse(texts, language)) == [rows_of(analyse([text], language))[0] for text in texts]


@given(TEXT)
def test_canonically_equivalent_texts_have_the_same_terms(text):
    if max((len(run) for run in text.split()), default=0) <= analysis.MAX_MARKS:  # nothing is left out
        assert tokens(unicodedata.normalize("NFD", text), None) == tokens(text, None)


@pytest.mark.parametrize(
    ("language", "text", "terms"),
    [
        (None, "The cats don't, do they?", "the cats don't do they"),
        (None, "‘Quoted’ rock’n’roll ''x'' O''Brien", "quoted rock'n'roll x o brien"),
        (None, "snake_case e-mail 3.14 U.S. C++", "snake case e mail 3 14 u s c"),
        (None, "CAFÉ cafe\u0301 caf\u00e9", "café café café"),
        (None, "ＦＵＬＬ ﬁne x² ① Straße STRASSE", "full fine x2 1 strasse strasse"),
        (None, "co\u00adoperate zero\u200dwidth zero\u200bspace", "cooperate zerowidth zero space"),
        (None, "İzmir izmir", "izmir izmir"),
        (None, "a\ud800b x\0y 😀 ❤️ 👍🏽ok", "a b x y ok"),
        (None, "हिन्दी में लिखना", "हिन्दी में लिखना"),
        (None, "שָׁלוֹם", "שָׁלוֹם"),
        (None, "東京都に住む猫", "東京 京都 都に に住 住む む猫"),
        (None, "猫、ABC株式会社。ﾊﾟﾝ", "猫 abc 株式 式会 会社 パン"),
        (None, "고양이는 잔다", "고양 양이 이는 잔다"),
        (None, "ราคา 100 บาท", "รา าค คา 100 บา าท"),
        (None, " \t\r\n ", ""),
        (None, "", ""),
        ("english", "The cats' pyjamas don't fit O’Brien’s son", "cat pyjama fit o'brien son"),
        ("english", "To be, or not to be", ""),
        ("english", "relational RELATIONS related", "relat relat relat"),
        ("french", "L’avion d'Élise n'est pas là", "avion élis là"),
        ("french", "jusqu'à l'hôtel, aujourd'hui", "hôtel aujourd hui"),
        ("italian", "Dell'acqua e dell’olio, c'è", "acqua oli"),
        ("german", "Die Häuser und das Haus in der Straße", "haus haus strass"),
        ("spanish", "Los perros y las casas", "perr cas"),
        ("portuguese", "As casas dos meninos", "cas menin"),
        ("dutch", "De boeken en het boek", "boek boek"),
        ("swedish", "Bilarna och bilar", "bil bil"),
        ("danish", "Hundene og hunden", "hund hund"),
        ("norwegian", "Hundene og hunden", "hund hund"),
        ("finnish", "Talossa ja talosta", "talo talo"),
        ("hungarian", "A házban és a házból", "ház ház"),
        ("russian", "Кошки и кошка не спят", "кошк кошк спят"),
        ("turkish", "IŞIK ve İNEKLER, ışık ve inekler", "ışık inek ışık inek"),
        ("arabic", "الكِتَاب في الكتـــاب", "كتاب كتاب"),
    ],
)
def test_examples_made_by_hand(language, text, terms):
    assert tokens(text, language) == terms.split()


def test_old_and_new_romanian_letters_meet():
    assert tokens("Naţiunile ŞI maşina", "romanian") == tokens("Națiunile ȘI mașina", "romanian")
    assert len(tokens("Naţiunile ŞI maşina", "romanian")) == 2


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_has_stop_words_and_stems(language):
    listed = stop_words(language)
    assert 100 <= len(listed) <= 200
    assert [word for word in listed if tokens(word, None) != [word]] == []  # each is one word as it is written
    assert [word for word in listed if tokens(word, language)] == []
    text = " ".join(sorted(listed))
    assert tokens((text.replace("i", "İ") if language == "turkish" else text).upper(), language) == []
    assert rows_of(analyse([" ".join(listed), ""], language)) == [[], []]


def test_the_file_of_stop_words_has_each_language_once():
    lines = analysis.STOP_WORDS.read_text("utf-8").splitlines()
    assert [line[1:-1] for line in lines if line.startswith("[")] == sorted(LANGUAGES)


def test_numbers_are_as_they_were_stored():
    assert rows_of(analyse(["The fox, the FOX: the"], None)) == [
        [(13965643304042992335, 2.0), (14632902600990866813, 3.0)]
    ]


def test_long_words_are_cut():
    long = "x" * 100
    assert tokens(f"{long} {long}y {long}zz", None) == [long] * 3
    assert tokens(f"{long[:99]} {long[:99]}y", None) == [long[:99], f"{long[:99]}y"]
    blob = base64.b32encode(Random(1).randbytes(100_000)).decode()
    assert tokens(blob, "english")[0].upper().startswith(blob[:90])
    assert len(analyse([blob], "english").numbers) == 1


def test_long_runs_of_marks_are_cut():
    """Sorting them takes quadratic time: minutes for these, in one call that holds Python's lock."""
    assert tokens("e" + "\u0316\u0301" * 200_000, None) == tokens("e" + "\u0316\u0301" * 15, None)
    assert tokens("\uff9e\u0301" * 200_000 + "e", None) == tokens("\uff9e\u0301" * 15 + "e", None)


@pytest.mark.parametrize(
    "text",
    ["a'" * 200_000, "e\u0301" * 200_000, "'" * MAX_TEXT_BYTES, "\ufdfa" * 50_000, "\ud800" * 300_000],
    ids=["apostrophes", "accents", "quotes", "ligatures", "surrogates"],
)
def test_strange_long_texts_do_no_harm(text):
    assert len(analyse([text], "english").numbers) <= 5


@pytest.mark.parametrize("character", ["a", "é", "猫", "😀", "\ud800"])
def test_a_text_has_a_limited_length(character):
    size = len(character.encode("utf-8", "surrogatepass"))
    fits = character * (MAX_TEXT_BYTES // size)
    assert len(analyse(["a", fits], None)) == 2
    with pytest.raises(LimitExceeded, match=f"answers: row 1 has .* bytes of UTF-8.*{MAX_TEXT_BYTES}"):
        analyse(["a", fits + character, "b"], None, "answers")
    with pytest.raises(LimitExceeded):
        tokens(fits + character, None)


@pytest.mark.parametrize("counted_bytes", [1, 8 * (MAX_TERMS + 2), 10**9])  # row 2 alone, last or among others
def test_a_text_has_a_limited_number_of_terms(monkeypatch, counted_bytes):
    monkeypatch.setattr(analysis, "COUNTED_BYTES", counted_bytes)
    fits = " ".join(map(str, range(MAX_TERMS)))
    assert np.diff(analyse(["a a", fits, fits], None).offsets).tolist() == [1, MAX_TERMS, MAX_TERMS]
    with pytest.raises(LimitExceeded, match=f"texts: row 2 has {MAX_TERMS + 1} distinct words"):
        analyse(["a a", fits, f"{fits} b", ""], None)


@pytest.mark.parametrize("bad", [None, 7, b"bytes", ["a"], float("nan")])
def test_a_row_that_is_no_string_is_refused(bad):
    with pytest.raises(InvalidArgument, match=f"texts of field 'body': row 1 is a {type(bad).__name__}"):
        analyse(["a", bad], "english", "texts of field 'body'")
    with pytest.raises(InvalidArgument):
        tokens(bad, "english")


@pytest.mark.parametrize("language", ["klingon", "", "English", "porter"])
def test_an_unknown_language_is_refused(language):
    for call in (lambda: analyse([], language), lambda: tokens("", language)):
        with pytest.raises(InvalidArgument, match=f"unknown language {language!r}.*english"):
            call()


def test_no_texts_make_no_rows():
    found = analyse([], "english")
    assert (len(found), found.offsets.tolist(), len(found.numbers)) == (0, [0], 0)
    assert (found.offsets.dtype, found.numbers.dtype, found.weights.dtype) == (np.int64, np.uint64, np.float32)


@pytest.fixture
def forgotten():
    """Nothing is remembered before and after."""
    analysis._analyser.cache_clear()
    yield
    analysis._analyser.cache_clear()


@pytest.mark.usefixtures("forgotten")
def test_what_is_remembered_is_bounded_and_changes_nothing(monkeypatch):
    monkeypatch.setattr(analysis, "CACHED", 10)
    random = Random(2)
    texts = [" ".join(random.choices([*WORDS, "a" * 33, "東" * 40], k=20)) for _ in range(50)]
    assert rows_of(analyse(texts, "english")) == naive_analyse(texts, "english")
    remembered = analysis._analyser("english")
    assert 0 < len(remembered) <= 10
    assert max(map(len, remembered)) <= analysis.CACHED_LENGTH


@pytest.mark.usefixtures("forgotten")
@pytest.mark.parametrize("cached", [10, 10**6])
def test_threads_get_what_one_gets(monkeypatch, cached):
    monkeypatch.setattr(analysis, "CACHED", cached)
    random = Random(3)
    endings = ("ing", "ed", "s", "ness", "ational")
    words = [f"{chr(97 + i % 26)}{chr(97 + i // 26)}at{ending}" for i in range(200) for ending in endings]
    texts = [" ".join(random.choices(words, k=30)) for _ in range(200)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: rows_of(analyse(texts, "english")), range(8)))
    expected = naive_analyse(texts, "english")
    assert all(rows == expected for rows in found)


def test_the_stemmer_is_loaded_when_a_language_asks_for_it():
    code = """
        import sys, vsearch, vsearch.analysis
        vsearch.analysis.tokens("cats", None)
        assert "Stemmer" not in sys.modules
        vsearch.analysis.tokens("cats", "english")
        assert "Stemmer" in sys.modules
    """
    subprocess.run([sys.executable, "-c", "\n".join(line.strip() for line in code.splitlines())], check=True)
