"""Guards of the cache: pairs of prompts that each must refuse and must let pass, and what holds for any text."""

from __future__ import annotations

import time
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vsearch.cache.guards import LONGEST, refusal
from vsearch.cache.guards.lists import kinds
from vsearch.cache.guards.prompt import WORD, Prompt, starts
from vsearch.cache.policy import GUARDS

REFUSED: dict[str, list[tuple[str, str]]] = {
    "numbers": [
        ("what is 2+2", "what is 2+3"),
        ("what is 2 - 3", "what is 3 - 2"),
        ("What is the square root of 144?", "What is the square root of 169?"),
        ("top 10 movies of all time", "top 5 movies of all time"),
        ("Which is the best laptop under 30k?", "Which is the best laptop under 40k?"),
        ("iPhone 6 battery life", "iPhone 7 battery life"),
        ("set an alarm for seven", "set an alarm for eight"),
        ("set an alarm for 7:15", "set an alarm for 7:45"),
        ("book a table for one", "book a table for four"),
        ("first amendment explained", "second amendment explained"),
        ("What is new in Python 3.11?", "What is new in Python 3.12?"),
        ("can i get a discount of 10% on that", "can i get a discount of 15% on that"),
        ("Can I lose twenty five pounds in a month?", "Can I lose twenty six pounds in a month?"),
        ("how much is two hundred dollars in euros", "how much is three hundred dollars in euros"),
        (
            "How many 3-digit numbers can be formed of 2, 3, 5 and 7?",
            "How many 3-digit numbers can be formed of 2, 3, 5 and 9?",
        ),
        ("How do I earn 1 million?", "How do I earn 1 billion?"),
        ("What does error 404 mean?", "What is meant by error 403?"),
        ("What is 3/5 as a decimal", "What is 5/3 as a decimal"),
        ("第3章讲了什么", "第4章讲了什么"),
        ("Wie viele Einwohner hatte Rom 3 Jahre danach?", "Wie viele Einwohner hatte Rom 5 Jahre danach?"),
    ],
    "dates": [
        ("weather in Boston today", "weather in Boston tomorrow"),
        ("What happened in 1914?", "What happened in 1939?"),
        ("is the bank open on monday", "is the bank open on sunday"),
        ("remind me on tues to call", "remind me on thursday to call"),
        ("holidays in march", "holidays in april"),
        ("events on 2024-03-05", "events on 2024-03-06"),
        ("events on March 5", "events on March 6"),
        ("my meetings next week", "my meetings last week"),
        ("did it rain yesterday", "did it rain today"),
        ("music of the 1970s", "music of the 1980s"),
        ("gate exam of may 2017", "gate exam of june 2017"),
        ("my may bill", "my june bill"),
        ("a flat from march to may", "a flat from may to march"),
        ("are you open this friday", "are you open next friday"),
        ("weather for friday to monday", "weather for monday to friday"),
    ],
    "units": [
        ("how long is a run of 5 km", "how long is a run of 5 miles"),
        ("is 30 C hot", "is 30 F hot"),
        ("is 30°C hot", "is 30°F hot"),
        ("how much is 100 usd worth", "how much is 100 eur worth"),
        ("how much is $100 worth", "how much is €100 worth"),
        ("how much is 20 dollars in rubles", "how much is 20 dollars in yen"),
        ("what is 10 kg of feathers worth", "what is 10 lbs of feathers worth"),
        ("is 8GB of storage enough", "is 8MB of storage enough"),
        ("what is my income per month", "what is my income per week"),
        ("is 3kg of flour enough", "is 3lb of flour enough"),
        ("is 3kg of flour enough", "is 3 pounds of flour enough"),
        ("how long do 10mins feel", "how long do 10hrs feel"),
        ("how many pounds are 5 kg", "how many pounds are 5 ounces"),
        ("how many pounds are 5 ounces", "how many pounds are 5 pounds"),
        ("how many cups are in a pint", "how many pints are in a cup"),
    ],
    "negation": [
        ("is aspirin safe for dogs", "is aspirin not safe for dogs"),
        ("Why do people like beer?", "Why don't people like beer?"),
        ("Why should I join IBM?", "Why shouldn't I join IBM?"),
        ("Why should I vote for him?", "Why should I never vote for him?"),
        ("How do I buy a gun with a license?", "How do I buy a gun without a license?"),
        ("what should I eat with diabetes", "what should I not eat with diabetes"),
        ("is there a cure for autism", "is there no cure for autism"),
        ("can you cancel my order", "can't you cancel my order"),
        ("Can my landlord enter", "Can my landlord not enter"),
        ("why doesnt my phone charge", "why does my phone charge"),
        ("What can I take on a plane?", "What can\u2019t I take on a plane?"),
    ],
    "polarity": [
        ("how to enable dark mode", "how to disable dark mode"),
        ("How do I increase my appetite?", "How can I decrease my appetite?"),
        ("is now a good time to buy stocks", "is now a good time to sell stocks"),
        ("What is the best phone?", "What is the worst phone?"),
        ("sort a list in ascending order", "sort a list in descending order"),
        ("what to eat before a run", "what to eat after a run"),
        ("is it legal to park here", "is it illegal to park here"),
        ("Is my Wi-Fi network safe?", "Is my Wi-Fi network unsafe?"),
        ("turn the lights on", "turn the lights off"),
        ("What are the pros of solar power?", "What are the cons of solar power?"),
        ("How do I upload a file?", "How do I download a file?"),
        ("maximum speed of a cheetah", "minimum speed of a cheetah"),
        ("activate my card", "deactivate my card"),
        ("advantages of nuclear power", "disadvantages of nuclear power"),
        ("how are importing fees paid", "how are exporting fees paid"),
    ],
    "entities": [
        ("What is the capital of France?", "What is the capital of Spain?"),
        ("what is the capital of france", "what is the capital of spain"),
        ("Who is Barack Obama?", "Who is Donald Trump?"),
        ("is it safe to travel to iran", "is it safe to travel to iraq"),
        ("Should I move to Austria?", "Should I move to Australia?"),
        ("a flight from boston to denver", "a flight from denver to boston"),
        ("a train to rome from milan", "a train to milan from rome"),
        ("is java better than python", "is python better than java"),
        ("convert dollars to pounds", "convert pounds to dollars"),
        ("how do i learn java", "how do i learn python"),
        ("Where can I get an ebay gift card?", "Where can I get an amazon gift card?"),
        ("weather in new york", "weather in new jersey"),
        ("weather in los angeles", "weather in san francisco"),
        ("What does the FBI do?", "What does the CIA do?"),
        ("What do you think of the Zorbax movie?", "What do you think of the Quimbel movie?"),
        ("Who won, Messi or Ronaldo, and when did Messi play?", "Who won, Neymar or Ronaldo, and when did Messi play?"),
        (
            "Is China bullying its neighbors in the South China Sea?",
            "Is India bullying its neighbors in the South China Sea?",
        ),
        ("set up a meeting with john", "set up a meeting with maria"),
        ("is it cold in oslo", "is it cold in paradise"),
        ("how do you say hello in french", "how do you say hello in german"),
        ("How do I immigrate to the US?", "How do I immigrate to the UK?"),
        ("Qual a capital da França hoje?", "Qual a capital da Espanha hoje?"),
        ("how do i cook rice", "how do i cook lentils"),
        ("is coffee bad for me", "can tea be bad for me"),
        ("pay with my visa card", "pay with my discover card"),
        ("open a checking account", "open a savings account"),
        ("how much is my water bill", "how much is my phone bill"),
        ("call my mother", "call my aunt"),
        ("how do i treat the flu", "how do i treat asthma"),
        ("can my dog eat this", "can my rabbit eat this"),
        ("hotels in phoenix", "hotels in buffalo"),
        ("the rules of rugby", "the rules of cricket"),
        ("walk from my school to my house", "walk from my house to my school"),
        ("why is a train better than a plane", "why is a plane better than a train"),
        ("Are cats afraid of tigers?", "Are tigers afraid of cats?"),
        ("trains to rome from milan tomorrow", "trains to milan from rome tomorrow"),
    ],
    "identifiers": [
        ("what does sort_ascending do", "what does sort_pairs do"),
        ("how do I call getUserName", "how do I call getUserMail"),
        ("what is in /etc/passwd", "what is in /etc/shadow"),
        ("what does ls --all do", "what does ls --author do"),
        ("how do I use os.path.join", "how do I use os.path.split"),
        ("what does `foo` mean", "what does `bar` mean"),
        ('what does "liberty" mean', 'what does "justice" mean'),
        ("open https://example.com/a", "open https://example.com/b"),
        ("how to fix E1234", "how to fix E1235"),
        ("how to fix 0x80070005", "how to fix 0x80070006"),
        ("what does len() cost", "what does pop() cost"),
    ],
    "question": [
        ("Why is overtime taxed?", "When is overtime taxed?"),
        ("When was the wheel invented?", "Where was the wheel invented?"),
        ("Who is Robert Frost?", "Where is Robert Frost?"),
        ("How many people work there?", "Why do people work there?"),
        ("How long is the bridge?", "How old is the bridge?"),
        ("how come cats purr", "when do cats purr"),
    ],
}

PASSED: dict[str, list[tuple[str, str]]] = {
    "numbers": [
        ("best phones under 20,000", "best phones under 20000"),
        ("best phones under 20k", "best phones under 20,000"),
        ("best phones under two thousand", "best phones under 2000"),
        ("what are the 3 laws of motion", "what are the three laws of motion"),
        ("my 1st date", "my first date"),
        ("What is Python 3.0?", "What is Python 3?"),
        ("How does one learn to cook?", "How do I learn to cook?"),
        ("Which one is the best?", "Which is the best?"),
        ("Difference between 3G and 4G", "Difference between 4G and 3G"),
        ("the three best songs", "the best songs"),
        ("what is a 401(k) plan", "what is a 401k plan"),
        ("he owns 1 billion dollars", "he owns a billion dollars"),
        ("twenty-one pilots songs", "21 pilots songs"),
    ],
    "dates": [
        ("Who won the cup on 5 March 2024?", "Who won the cup on 2024-03-05?"),
        ("weather today", "weather"),
        ("remind me on tue", "remind me on tuesday"),
        ("may I park here on monday", "can I park here on monday"),
        ("march to the sea", "walk to the sea"),
        ("are you open on friday", "are you open this friday"),
        ("the night before", "the evening before"),
        ("best films of sep 2016", "best films of September 2016"),
    ],
    "units": [
        ("how far is 5 km", "how far is 5 kilometres"),
        ("how much is $5", "how much is 5 dollars"),
        ("laptops under 500 rupees", "laptops under Rs 500"),
        ("how far is 5km", "how far is 5 km"),
        ("how far is 5 km", "how far is 5"),
        ("is 8GB enough", "is 8 gigabytes enough"),
        ("kg and pounds", "pounds and kg"),
        ("the 5th floor", "the 5g floor"),
    ],
    "negation": [
        ("is it safe or not", "is it safe"),
        ("this is good, isn't it?", "this is good?"),
        ("How can I lose weight without exercise?", "How can I lose weight?"),
        ("How do I not fail?", "How do I avoid failing?"),
        ("I don't want to see the ads", "I want to avoid seeing the ads"),
        ("Is it not safe?", "Is it unsafe?"),
        ("why don't cats swim", "why do not cats swim"),
        ("What is the roll no. of the gate exam?", "What is the roll number of the gate exam?"),
        ("I can't find my phone", "help me find my phone"),
        ("What do I do when I can't sleep?", "What do I do to sleep?"),
    ],
    "polarity": [
        ("why am I not happy", "why am I unhappy"),
        ("How do I enable dark mode and disable light mode?", "How to disable light mode and enable dark mode?"),
        ("the best way to learn", "a good way to learn"),
        ("money to a bank account", "money into a bank account"),
        ("My card is stuck in the machine", "How do I get my card out of the machine?"),
        ("What is a hot dog?", "What are hot dogs?"),
    ],
    "entities": [
        ("How do Indians celebrate Holi?", "How do people in India celebrate Holi?"),
        ("Can Americans hold dual citizenship?", "Does the United States allow dual citizenship?"),
        ("How can I join the U.S. Air Force?", "How can I join the US air force?"),
        ("What is quora?", "What is Quora?"),
        ("Is Obama a president?", "Is Barack Obama a president?"),
        ("Did Hilary Clinton win?", "Did Hillary Clinton win?"),
        ("How Do I Make Easy Money Quickly", "How do I make easy money fast"),
        ("Should the United Nations act?", "Should the UN act?"),
        ("Where can I get a database of Canadian companies?", "Where can I get a database of companies in Canada?"),
        ("Should I visit Mumbai?", "Should I visit Bombay?"),
        ("I want to know what I should cook", "tell me what to cook"),
        ("How do WebSockets work?", "How does a websocket work?"),
        ("In Paris, where do I eat?", "Where do I eat in Paris?"),
        ("drive from a to b", "drive from a to b please"),
        ("can my dog eat this", "can my puppy eat this"),
        ("how do i fix my car", "how do i fix my automobile"),
        ("is coffee or tea better", "is tea or coffee better"),
        ("is tea good with milk and sugar", "is tea good with sugar and milk"),
        ("how far is the sun from the earth", "how far is the earth from the sun"),
        ("how does it feel to be old physically", "physically, how does it feel to be old"),
        ("can my dog eat this", "can my animal eat this"),
        ("how to buy a house", "easiest way of buying a home"),
    ],
    "identifiers": [
        ("what does getUserName do", "what is getusername for"),
        ("what is the use of os.path", "what is os.path used for"),
        ('what does "liberty" mean', "what does liberty mean"),
        ("What do you think of iPhone and iPad?", "What do you think of the iphone?"),
        ('the answer to "why should I hire you"', 'the answer to "why should we hire you"'),
        ("and/or", "or"),
    ],
    "question": [
        ("how to boil eggs", "what is the way to boil eggs"),
        ("How do I boil eggs?", "What is the best way to boil eggs?"),
        ("Why is the sky blue?", "What is the reason for the blue sky?"),
        ("Why is the sky blue?", "How come the sky is blue?"),
        ("When and how was chocolate invented?", "How was chocolate invented?"),
        ("What do I do when I am bored?", "How do I stop being bored?"),
        ("Where can I learn Hindi?", "How can I learn Hindi?"),
        ("Can I boil eggs?", "How can I boil eggs?"),
        ("Who was the first king of Rome?", "What was the name of the first king of Rome?"),
    ],
}


def pairs(table: dict[str, list[tuple[str, str]]]) -> list[tuple[str, str, str]]:
    return [(guard, *pair) for guard, found in table.items() for pair in found]


@pytest.mark.parametrize(("guard", "a", "b"), pairs(REFUSED))
def test_a_look_alike_is_refused_by_its_guard_alone_and_by_all(guard: str, a: str, b: str) -> None:
    assert refusal(a, b, {guard}) == guard
    assert refusal(b, a, {guard}) == guard
    assert refusal(a, b, GUARDS) in GUARDS
    assert refusal(a, b, ()) is None


@pytest.mark.parametrize(("guard", "a", "b"), pairs(PASSED))
def test_the_same_in_other_words_passes(guard: str, a: str, b: str) -> None:
    assert refusal(a, b, {guard}) is None
    assert refusal(b, a, {guard}) is None


def test_every_guard_has_pairs_that_only_it_refuses() -> None:
    for guard in GUARDS:
        assert any(refusal(a, b, GUARDS - {guard}) is None for a, b in REFUSED[guard]), guard


def test_a_word_is_one_thing_of_a_kind() -> None:
    for word, things in kinds().items():
        assert len({kind for kind, _ in things}) == len(things), word


PROMPTS = sorted({prompt for table in (REFUSED, PASSED) for _, *pair in pairs(table) for prompt in pair})
FRAGMENTS = [
    *(
        "is",
        "what",
        "Not",
        "n't",
        "2",
        "3.5",
        "1,000",
        "two hundred",
        "France",
        "spain",
        "from",
        "to",
        "5 km",
        "May",
        "may 3",
    ),
    *(
        "foo_bar",
        "/a/b",
        "\u201cx\u201d",
        "U.S.",
        "don\u2019t",
        "best",
        "worst",
        "\u5317\u4eac",
        "\U0001f600",
        "$",
        "2024-13-45",
        "k",
        ".",
        "tea or coffee",
        "3kg",
        "than",
        "\n",
    ),
]
texts = st.one_of(st.text(), st.sampled_from(PROMPTS), st.lists(st.sampled_from(FRAGMENTS), max_size=12).map(" ".join))


@given(texts)
def test_a_prompt_taken_apart_piece_by_piece_is_what_it_is_as_a_whole(text: str) -> None:
    found = WORD.findall(text)
    prompt = Prompt(text)
    assert prompt.words == [word for _, written in found for word in Prompt(written).words]
    assert starts(prompt) == [place == 0 or before != "" for place, (before, _) in enumerate(found)]


@given(texts)
def test_a_prompt_is_never_refused_for_itself(text: str) -> None:
    assert refusal(text, str(text), GUARDS) is None
    # Also where it is not known to be the same from the start.
    assert refusal(text, f"{text} ", GUARDS) is None
    assert refusal(text, f"\n{text}", GUARDS) is None


@given(texts, texts)
@settings(max_examples=300)
def test_refusal_is_symmetric(a: str, b: str) -> None:
    for guards in (GUARDS, *({guard} for guard in sorted(GUARDS))):
        assert refusal(a, b, guards) == refusal(b, a, guards)


def test_refusal_is_symmetric_for_the_prompts_above() -> None:
    for a, b in combinations(PROMPTS[::4], 2):
        assert refusal(a, b, GUARDS) == refusal(b, a, GUARDS)


@given(st.text(alphabet=st.characters(categories=["Lo", "Lm", "Mn"]), min_size=1))
def test_scripts_without_capitals_are_not_refused_for_other_words(text: str) -> None:
    assert refusal(f"{text} \u5317\u4eac\u5929\u6c14", f"{text} \u4e0a\u6d77\u5929\u6c14", GUARDS) is None


LONG = "The contract says that the tenant pays the rent on time and keeps the garden in order. " * 200


@pytest.mark.parametrize("before", [0, 40, LONGEST, 3 * LONGEST])
def test_a_difference_in_a_long_prompt_is_found_wherever_it_is(before: int) -> None:
    a = f"{LONG[:before]} The rent is 900 in Boston. {LONG}"
    b = f"{LONG[:before]} The rent is 950 in Boston. {LONG}"
    assert refusal(a, b, GUARDS) == refusal(b, a, GUARDS) == "numbers"
    assert refusal(a, a + " ", GUARDS) is None


@pytest.mark.parametrize(
    "text",
    [
        LONG * 50,
        "a" * 1_000_000,
        "1" * 1_000_000,
        "1," * 500_000,
        "a_" * 500_000,
        "no " * 300_000,
        "/a" * 500_000,
        '"' * 1_000_000,
        "(" * 1_000_000,
        " " * 1_000_000,
        "U." * 500_000,
        "neither " * 100_000,
        "one " * 250_000,
        "twenty thousand " * 60_000,
        "Paris to Rome from " * 50_000,
        "\u0301" * 1_000_000,
    ],
    ids=lambda text: text[:8],
)
def test_the_work_for_a_long_prompt_is_bounded(text: str) -> None:
    other = f"{text[: len(text) // 2]} not 17 Lisbon {text[len(text) // 2 :]}"
    refusal("warm", "up", GUARDS)
    start = time.process_time()
    refusal(text, other, GUARDS)
    refusal(text[:LONGEST], other[-LONGEST:], GUARDS)
    assert time.process_time() - start < 1.0  # some 10 ms; seconds if a pattern went back and forth
