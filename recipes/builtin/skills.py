"""Generators of the instruction skills. Every skill is scored by choice and knows its own chance level.

A generator draws one item at a time from a seeded `random.Random`. An item's `cluster` names what makes it
itself (the two numbers of a sum, the four words of a question), whatever the wording or the order of the
options. Clusters are split once and for all by a hash: the base model is trained on the clusters of the pool
"base", and the shipped tasks use only those of the pool "held". So no test item was ever seen in training.
"""

from __future__ import annotations

import hashlib
import random
import string
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import words


@dataclass(frozen=True)
class Item:
    """One question. `fields` are what the templates render; `answer` is one of `fields["options"]`."""

    fields: Mapping[str, Any]
    cluster: str
    answer: str


@dataclass(frozen=True)
class Skill:
    """A generator with its wordings (prompt ||| completion) and the share of clusters kept from base training."""

    name: str
    draw: Callable[[random.Random], Item]
    templates: tuple[str, ...]
    held_share: float = 0.5


def pool(skill: str, cluster: str, held_share: float) -> str:
    """'base' or 'held': a fixed function of the cluster, the same in every run and for every seed."""
    digest = hashlib.sha256(f"keeptune:{skill}:{cluster}".encode()).digest()
    return "held" if int.from_bytes(digest[:4], "big") < held_share * 2**32 else "base"


def items(skill: Skill, which: str, rng: random.Random) -> Iterator[Item]:
    """An endless stream of items whose cluster lies in the pool `which`."""
    while True:
        item = skill.draw(rng)
        if pool(skill.name, item.cluster, skill.held_share) == which:
            yield item


def _item(rng: random.Random, answer: str, wrong: list[str], cluster: str, **fields: Any) -> Item:
    """Shuffle the options and put answer and options last among the fields."""
    options = [answer, *wrong]
    rng.shuffle(options)
    return Item({**fields, "options": options, "answer": answer}, cluster, answer)


def _addition(rng: random.Random) -> Item:
    a, b = rng.randint(1, 99), rng.randint(1, 99)
    total = a + b
    near = {total + step for step in (-11, -10, -9, -2, -1, 1, 2, 9, 10, 11)} - {total}
    wrong = rng.sample(sorted(n for n in near if n > 0), 3)
    return _item(rng, str(total), [str(n) for n in wrong], "+".join(map(str, sorted((a, b)))), sum=f"{a} + {b}")


def _largest(rng: random.Random) -> Item:
    numbers = rng.sample(range(10, 100), 4)
    kind = rng.choice(("largest", "smallest"))
    answer = max(numbers) if kind == "largest" else min(numbers)
    cluster = " ".join(map(str, sorted(numbers)))
    return Item({"kind": kind, "options": [str(n) for n in numbers], "answer": str(answer)}, cluster, str(answer))


def _alphabet(rng: random.Random) -> Item:
    letters = rng.sample(string.ascii_lowercase, 4)
    kind = rng.choice(("first", "last"))
    answer = min(letters) if kind == "first" else max(letters)
    return Item({"kind": kind, "options": letters, "answer": answer}, "".join(sorted(letters)), answer)


def _odd_one_out(rng: random.Random) -> Item:
    home, other = rng.sample(sorted(words.CATEGORIES), 2)
    three = rng.sample([w for w in words.CATEGORIES[home] if w not in words.CATEGORIES[other]], 3)
    odd = rng.choice([w for w in words.CATEGORIES[other] if w not in words.CATEGORIES[home]])
    return _item(rng, odd, three, " ".join(sorted([*three, odd])))


def _category(rng: random.Random) -> Item:
    kinds = rng.sample(sorted(words.CATEGORIES), 4)
    answer = rng.choice(words.CATEGORIES[kinds[0]])
    wrong = [rng.choice([w for w in words.CATEGORIES[k] if w not in words.CATEGORIES[kinds[0]]]) for k in kinds[1:]]
    if len({answer, *wrong}) < 4:
        return _category(rng)
    return _item(rng, answer, wrong, " ".join(sorted([answer, *wrong])), category=kinds[0])


def _opposites(rng: random.Random) -> Item:
    first, second, third, fourth = rng.sample(words.OPPOSITES, 4)
    first, second = (p if rng.random() < 0.5 else (p[1], p[0]) for p in (first, second))
    wrong = [first[1], rng.choice(third), rng.choice(fourth)]
    cluster = " ".join(sorted(["/".join(sorted(first)), "/".join(sorted(second))]))
    return _item(rng, second[1], wrong, cluster, a=first[0], b=first[1], c=second[0])


def _position(rng: random.Random) -> Item:
    row = rng.sample(words.PLAIN_WORDS, 4)
    place = rng.choice(("first", "second", "third", "last"))
    answer = row[("first", "second", "third", "last").index(place)]
    return Item({"place": place, "options": row, "answer": answer}, " ".join(row), answer)


def _counting(rng: random.Random) -> Item:
    word, *others = rng.sample(words.PLAIN_WORDS, 4)
    count = rng.randint(1, 4)
    row = [word] * count + [rng.choice(others) for _ in range(6 - count)]
    rng.shuffle(row)
    return Item(
        {"word": word, "text": " ".join(row), "options": ["1", "2", "3", "4"], "answer": str(count)},
        f"{word}: {' '.join(row)}",
        str(count),
    )


def _sentiment(rng: random.Random) -> Item:
    def clause(good: bool) -> str:
        negated = rng.random() < 0.35
        word = rng.choice(words.GOOD_WORDS if good != negated else words.BAD_WORDS)
        return f"the {rng.choice(words.REVIEWED)} was {'not ' if negated else ''}{word}"

    good = rng.random() < 0.5
    if rng.random() < 0.5:
        text = f"{clause(good)} and {clause(good)}"
    else:
        text = f"{clause(not good)}, but {clause(good)}"
    text = text[0].upper() + text[1:] + "."
    answer = "good" if good else "bad"
    return Item({"text": text, "options": ["good", "bad"], "answer": answer}, text, answer)


def _agreement(rng: random.Random) -> Item:
    subject, other = rng.sample(sorted(words.PLURALS), 2)
    plural, other_plural = rng.random() < 0.5, rng.random() < 0.5
    head = f"The {rng.choice(words.PLURAL_ADJECTIVES)} {words.PLURALS[subject] if plural else subject}"
    tail = f"{rng.choice(words.PREPOSITIONS)} the {words.PLURALS[other] if other_plural else other}"
    options = rng.choice((["is", "are"], ["was", "were"], ["has", "have"]))
    answer = options[plural]
    return Item({"text": f"{head} {tail}", "options": options, "answer": answer}, f"{head} {tail}", answer)


def _reading(rng: random.Random) -> Item:
    people = rng.sample(words.NAMES, 3)
    if rng.random() < 0.5:
        thing = rng.choice(words.THINGS)
        a, b, c = people
        text = rng.choice(
            (
                f"{a} gave the {thing} to {b}. {c} saw it.",
                f"{c} was there. {a} handed {b} the {thing}.",
                f"{b} got the {thing} from {a}. {c} saw it.",
                f"{c} was there. {b} took the {thing} from {a}.",
            )
        )
        answer, question = rng.choice(((b, f"Who has the {thing} now?"), (a, f"Who had the {thing} before?")))
    else:
        places = rng.sample(words.PLACES, 3)
        verb = rng.choice(("is in", "sits in", "waits in"))
        text = " ".join(f"{who} {verb} the {where}." for who, where in zip(people, places, strict=True))
        which = rng.randrange(3)
        answer, question = people[which], f"Who is in the {places[which]}?"
    return _item(rng, answer, [p for p in people if p != answer], f"{text} {question}", context=text, question=question)


SKILLS: tuple[Skill, ...] = (
    Skill(
        "addition",
        _addition,
        (
            "What is {{ sum }}? ||| {{ answer }}",
            "{{ sum | replace('+', 'plus') }} makes ||| {{ answer }}",
            "Add {{ sum | replace('+', 'and') }}. Sum: ||| {{ answer }}",
            "Work it out: {{ sum }} = ||| {{ answer }}",
        ),
        held_share=0.6,
    ),
    Skill(
        "largest",
        _largest,
        (
            "Which number is the {{ kind }}: {{ options | join(', ') }}? ||| {{ answer }}",
            "{{ options | join(', ') }}. The {{ kind }} of these is ||| {{ answer }}",
            "Name the {{ kind }} number in this list. {{ options | join(' ') }}: ||| {{ answer }}",
        ),
    ),
    Skill(
        "alphabet",
        _alphabet,
        (
            "Which letter comes {{ kind }} in the alphabet: {{ options | join(', ') }}? ||| {{ answer }}",
            "{{ options | join(', ') }}. In alphabetical order the {{ kind }} is ||| {{ answer }}",
            "Sort {{ options | join(' ') }} by the alphabet. The {{ kind }} letter: ||| {{ answer }}",
        ),
    ),
    Skill(
        "odd-one-out",
        _odd_one_out,
        (
            "Which word does not belong: {{ options | join(', ') }}? ||| {{ answer }}",
            "Find the odd one out. {{ options | join(', ') }}: ||| {{ answer }}",
            "Three of these go together: {{ options | join(', ') }}. The other is ||| {{ answer }}",
        ),
    ),
    Skill(
        "category",
        _category,
        (
            "Which of these is a kind of {{ category }}: {{ options | join(', ') }}? ||| {{ answer }}",
            "{{ options | join(', ') }}. Pick the {{ category }}: ||| {{ answer }}",
            "Only one of {{ options | join(', ') }} is a {{ category }}. It is ||| {{ answer }}",
        ),
    ),
    Skill(
        "opposites",
        _opposites,
        (
            "{{ a }} is to {{ b }} as {{ c }} is to ||| {{ answer }}",
            "If the opposite of {{ a }} is {{ b }}, the opposite of {{ c }} is ||| {{ answer }}",
            "Opposites: {{ a }}, {{ b }}; {{ c }}, ||| {{ answer }}",
        ),
    ),
    Skill(
        "position",
        _position,
        (
            "What is the {{ place }} word of: {{ options | join(' ') }}? ||| {{ answer }}",
            "{{ options | join(' ') }}. The {{ place }} word was ||| {{ answer }}",
            "Say the {{ place }} word in this row: {{ options | join(' ') }}. Word: ||| {{ answer }}",
        ),
    ),
    Skill(
        "counting",
        _counting,
        (
            "How many times do you read {{ word }}? {{ text }}: ||| {{ answer }}",
            "{{ text }}. The word {{ word }} is there this many times: ||| {{ answer }}",
            "Count {{ word }} in: {{ text }}. Count: ||| {{ answer }}",
        ),
    ),
    Skill(
        "sentiment",
        _sentiment,
        (
            "Is this review good or bad? {{ text }} ||| {{ answer }}",
            "{{ text }} All in all it was ||| {{ answer }}",
            "Review: {{ text }} Good or bad: ||| {{ answer }}",
        ),
    ),
    Skill(
        "agreement",
        _agreement,
        (
            "Go on with {{ options | join(' or ') }}: {{ text }} ||| {{ answer }}",
            "Choose the right verb ({{ options | join(', ') }}). {{ text }} ||| {{ answer }}",
            "{{ options | join(' / ') }}? {{ text }} ||| {{ answer }}",
        ),
    ),
    Skill(
        "reading",
        _reading,
        (
            "{{ context }} {{ question }} ||| {{ answer }}",
            "Read and answer. {{ context }} {{ question }} Answer: ||| {{ answer }}",
            "{{ question }} {{ context }} It is ||| {{ answer }}",
        ),
    ),
)
