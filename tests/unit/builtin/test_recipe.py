"""The recipe that made the built-in base and its tasks: sources, generators, and that the two never meet."""

from __future__ import annotations

import lzma
import random
from itertools import islice
from pathlib import Path

import pytest

from keeptune import builtin
from keeptune.data.encode.encoder import Encoder
from keeptune.data.examples import Example
from keeptune.data.prompts.templates import Template


def test_every_excerpt_is_the_one_that_was_trained_on(recipe: Path) -> None:
    import corpus

    uses = {book.use for book in corpus.BOOKS}
    assert uses == {"base", "prose", "last-word"}
    for book in corpus.BOOKS:
        assert len(corpus.read(book)) > 10_000


def test_a_changed_excerpt_is_refused(recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import corpus

    book = corpus.BOOKS[0]
    (tmp_path / f"{book.name}.txt.xz").write_bytes(lzma.compress(b"Another text.\n"))
    monkeypatch.setattr(corpus, "FOLDER", tmp_path)
    with pytest.raises(ValueError, match="excerpt changed"):
        corpus.read(book)


def test_the_shipped_tasks_are_what_the_recipe_draws(recipe: Path, tmp_path: Path) -> None:
    import make_tasks

    make_tasks.write_all(make_tasks.SHIPPED_SEED, tmp_path)
    made = sorted(path.name for path in tmp_path.iterdir())
    assert made == sorted(path.name for path in make_tasks.TASKS.iterdir())
    for name in made:
        assert (tmp_path / name).read_bytes() == (make_tasks.TASKS / name).read_bytes(), name


def test_the_same_seed_draws_the_same_items_and_another_seed_others(recipe: Path) -> None:
    import skills

    for skill in skills.SKILLS:
        one, same, other = (list(islice(skills.items(skill, "held", random.Random(s)), 20)) for s in (1, 1, 2))
        assert one == same
        assert one != other


def test_base_training_and_tasks_share_no_cluster(recipe: Path) -> None:
    import skills

    for skill in skills.SKILLS:
        read = {item.cluster for item in islice(skills.items(skill, "base", random.Random(1)), 1500)}
        asked = {item.cluster for item in islice(skills.items(skill, "held", random.Random(2)), 1500)}
        assert not read & asked, skill.name


def test_answers_are_right(recipe: Path) -> None:
    import skills
    import words

    by_name = {skill.name: skill for skill in skills.SKILLS}

    def draws(name: str) -> list[skills.Item]:
        return list(islice(skills.items(by_name[name], "held", random.Random(3)), 200))

    for item in draws("addition"):
        a, b = item.fields["sum"].split(" + ")
        assert int(item.answer) == int(a) + int(b)
    for item in draws("largest"):
        pick = max if item.fields["kind"] == "largest" else min
        assert int(item.answer) == pick(map(int, item.fields["options"]))
    for item in draws("alphabet"):
        pick_letter = min if item.fields["kind"] == "first" else max
        assert item.answer == pick_letter(item.fields["options"])
    for item in draws("category"):
        inside = [o for o in item.fields["options"] if o in words.CATEGORIES[item.fields["category"]]]
        assert inside == [item.answer]
    for item in draws("counting"):
        assert item.fields["text"].split().count(item.fields["word"]) == int(item.answer)
    for item in draws("opposites"):
        assert (item.fields["c"], item.answer) in words.OPPOSITES or (item.answer, item.fields["c"]) in words.OPPOSITES


def test_every_order_says_what_its_record_says(recipe: Path) -> None:
    import target

    rng = random.Random(4)
    for item in (target.draw(rng) for _ in range(300)):
        who, goods, day = item.answer.split(" ; ")
        count, colour, thing = goods.split()
        order = item.fields["order"]
        assert who in order and colour in order and day in order
        assert target.THINGS[thing] in order.lower()
        assert target.NUMBERS[int(count) - 2] in order.lower()


def test_base_rows_are_encoded_as_the_package_encodes(recipe: Path) -> None:
    from transformers import AutoTokenizer

    import rows
    import skills

    tokenizer = AutoTokenizer.from_pretrained(builtin.model_path())
    encoder = Encoder(tokenizer, context=1024)
    for skill in skills.SKILLS:
        item = next(skills.items(skill, "base", random.Random(5)))
        for wording in skill.templates:
            prompt, completion = rows.render(wording, item.fields)
            (mine,) = rows.skill_rows([(skill.name, prompt, completion)], tokenizer, "row")
            theirs = encoder.encode(Template.parse(wording).render(Example.make(item.fields)))
            assert (mine.prompt_ids, mine.completion_ids) == (theirs.prompt_ids, theirs.completion_ids)  # type: ignore[union-attr]


def test_nothing_of_the_target_is_in_base_training(recipe: Path) -> None:
    import rows

    texts = [prompt + answer for _, prompt, answer in rows.skill_texts(100, seed=6)]
    assert not any("Record:" in text or " ; " in text for text in texts)
