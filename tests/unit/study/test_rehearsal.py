"""Where old rows come from: by whom they are made, that they are made once, and what is refused before a training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from planned import config
from rich.console import Console

from keeptune.core.errors import ConfigError, DataError
from keeptune.data.encode.encoder import Encoder
from keeptune.evaluate.config import TextConfig
from keeptune.evaluate.task import Judged, build_text
from keeptune.inference.generate import sample
from keeptune.methods.full import FullConfig
from keeptune.models.language_model import LanguageModel
from keeptune.recipe.arms import Arm
from keeptune.recipe.config import RehearsalConfig
from keeptune.study import rehearsal
from keeptune.study.ledger import Ledger
from keeptune.study.messages import Messages
from keeptune.study.rehearsal import (
    OwnTexts,
    SuiteRows,
    TextPieces,
    blocks_of,
    check_apart,
    check_room,
    drawn_on,
    text_of,
)
from keeptune.study.trial import Trial
from keeptune.train.remedies.base import REMEDIES, Need, RemedyInputs

BOTH = {Need.REHEARSAL_ROWS, Need.SELF_GENERATED_ROWS}
SMALL = RehearsalConfig(rows=12, tokens=9)
WORDS = ("river", "mole", "rat", "toad", "badger", "otter", "wood", "road", "boat", "house")


def prose(start: int, words: int) -> str:
    return " ".join(f"{WORDS[(i * i) % 10]}{i}" for i in range(start, start + words))


@pytest.fixture
def own(tiny: LanguageModel, tmp_path: Path) -> OwnTexts:
    encoder = Encoder.of(tiny)
    return OwnTexts(
        tiny, tiny.hash, encoder, SMALL, tmp_path / "run", tmp_path / "cache", Messages(Console(quiet=True))
    )


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many texts were asked for, each time that the base wrote some."""
    asked: list[int] = []
    real = rehearsal.self_replay

    def counted(lm: Any, prompts: Any, *args: Any, **kwargs: Any) -> Any:
        asked.append(len(prompts))
        return real(lm, prompts, *args, **kwargs)

    monkeypatch.setattr(rehearsal, "self_replay", counted)
    return asked


def test_the_base_writes_from_the_token_where_a_text_starts_and_nothing_else(own: OwnTexts) -> None:
    rows = own.rows(0)["self"]
    start = own.encoder.beginning
    drawn = sample(own.lm, [start] * 12, 9, seed=0, end_ids=(own.encoder.end_id,))
    assert [(row.prompt_ids, row.completion_ids) for row in rows] == [(start, ids) for ids in drawn]
    assert own.rows(7)["self"] == rows  # whatever seed trains on them


def test_texts_are_written_once_for_a_base_and_kept_by_content(
    own: OwnTexts, written: list[int], build: Callable[..., Any], tokenizer: Any, tmp_path: Path
) -> None:
    first = own.rows(0)
    another_study = replace(own, folder=tmp_path / "other run")
    no_cache = replace(own, cache=tmp_path / "empty")  # another machine, which has the run's folder
    assert own.rows(0) == another_study.rows(0) == no_cache.rows(0) == first
    assert (tmp_path / "other run" / "texts.json").is_file()
    assert written == [12]
    other = LanguageModel.wrap(build("llama", seed=1), tokenizer)
    for changed in (
        replace(own, config=RehearsalConfig(rows=13, tokens=9)),
        replace(own, config=RehearsalConfig(rows=12, tokens=8)),
        replace(own, lm=other, base=other.hash),
    ):
        assert changed.rows(0) != first
    assert written == [12, 13, 12, 12]
    for place in (tmp_path / "run" / "texts.json", *(tmp_path / "cache").iterdir()):
        place.write_text("{")  # cut short
    assert own.rows(0) == first and len(written) == 5


def test_a_model_in_training_reads_what_the_base_wrote_and_writes_nothing(own: OwnTexts) -> None:
    method = FullConfig().build()
    own.lm.adapt(method)
    with pytest.raises(RuntimeError, match="in training"):
        own.rows(0)
    own.lm.restore(method)
    kept = own.rows(0)
    own.lm.adapt(method)
    assert own.rows(0) == kept


def test_pieces_of_a_text_are_its_tokens_evenly(tokenizer: Any, tmp_path: Path) -> None:
    path = tmp_path / "book.txt"
    path.write_text(prose(0, 900))
    ids = tokenizer(path.read_text(), add_special_tokens=False)["input_ids"]
    encoder = Encoder(tokenizer, context=64)

    def rows(settings: RehearsalConfig) -> list[Any]:
        pieces = TextPieces(blocks_of(TextConfig(text=str(path)), settings), encoder, settings)
        found = list(pieces.rows(0)["text"])
        assert found == pieces.rows(3)["text"]
        return found

    few, all_of_it = rows(RehearsalConfig(rows=10, tokens=16)), rows(RehearsalConfig(rows=10_000, tokens=16))
    assert len(few) == 10 and all(row.prompt_ids == encoder.beginning for row in few)
    assert all(1 <= len(row.completion_ids) <= 16 for row in (*few, *all_of_it))
    assert [token for row in all_of_it for token in row.completion_ids] == ids
    texts = [tokenizer.decode(row.completion_ids) for row in few]
    places = [path.read_text().index(text) / len(path.read_text()) for text in texts]
    assert places == sorted(places) and places[0] == 0 and places[-1] > 0.8


def test_a_text_that_is_measured_is_not_drawn_on_however_it_is_cut(tmp_path: Path) -> None:
    (tmp_path / "kept.txt").write_text(prose(0, 2000))
    (tmp_path / "same.txt").write_text("A preface that no other book has.\n" + prose(500, 800).upper())
    (tmp_path / "other.txt").write_text(prose(5000, 800))
    suite = build_text(TextConfig(text=str(tmp_path / "kept.txt"), block_bytes=200), Judged())
    for name in ("kept", "same"):
        blocks = blocks_of(TextConfig(text=str(tmp_path / f"{name}.txt")), RehearsalConfig())
        with pytest.raises(DataError, match=f"{name}.txt.*rehearsal.text.*holds what kept is measured on"):
            check_apart(blocks, [suite])
    check_apart(blocks_of(TextConfig(text=str(tmp_path / "other.txt")), RehearsalConfig()), [suite])


def test_texts_longer_than_the_window_are_refused(tokenizer: Any) -> None:
    encoder = Encoder(tokenizer, context=20)
    check_room(RehearsalConfig(tokens=19), encoder)
    with pytest.raises(ConfigError, match=r"rehearsal\.tokens: 20 tokens do not fit .* of 20 -> say 19 or fewer"):
        check_room(RehearsalConfig(tokens=20), encoder)


@pytest.mark.parametrize("arm", ["full+text-replay:30%", "full+text-ewc:30"])
def test_a_recipe_names_the_text_that_its_arms_draw_on(arm: str) -> None:
    with pytest.raises(ConfigError, match=r"draws on a text: name it, rehearsal: \{text: FILE\}"):
        config(arms=[arm], curve=None)
    recipe = config(arms=[arm], curve=None, rehearsal={"text": "book.txt"})
    assert text_of(recipe) == [TextConfig(text="book.txt")]
    assert text_of(config(rehearsal={"text": "book.txt"})) == []  # nothing draws on it: it is not looked for


@pytest.mark.parametrize(
    ("arm", "all_have_rows", "some_have", "none_has"),
    [
        ("full", set(), set(), set()),
        ("full+replay:5%", {Need.REHEARSAL_ROWS}, BOTH, {Need.SELF_GENERATED_ROWS}),
        ("lora+ewc", {Need.REHEARSAL_ROWS}, BOTH, {Need.SELF_GENERATED_ROWS}),
        ("full+self-ewc+text-replay:5%", *[{Need.SELF_GENERATED_ROWS, Need.TEXT_ROWS}] * 3),
    ],
)
def test_what_an_arm_draws_on(arm: str, all_have_rows: set[Need], some_have: set[Need], none_has: set[Need]) -> None:
    made = Arm.of(arm, config(rehearsal={"text": "book.txt"}))
    assert [drawn_on(made, with_rows, suites=3) for with_rows in (3, 2, 0)] == [all_have_rows, some_have, none_has]


def test_texts_stand_for_suites_without_rows(own: OwnTexts) -> None:
    class Data:
        suites = ("with rows", "also", "without")

        def __init__(self, *names: str) -> None:
            self.found: dict[str, Any] = {name: ["row"] for name in names}

        def rehearsal_rows(self, seed: int) -> dict[str, Any]:
            return self.found

    def pools(*names: str) -> list[str]:
        return list(SuiteRows(Data(*names), own).rows(0))  # type: ignore[arg-type]

    assert pools("with rows", "also") == ["with rows", "also", "self"]
    assert pools("with rows", "also", "without") == ["with rows", "also", "without"]
    assert pools() == []  # whose remedies draw on the texts alone


@pytest.mark.parametrize("kind", ["replay", "ewc"])
def test_every_remedy_takes_rows_of_its_own_source(kind: str, random_rows: Callable[..., list[Any]]) -> None:
    old, own, text = (random_rows(3, seed=seed) for seed in range(3))
    inputs = RemedyInputs(lambda: {"old": old}, lambda: {"self": own}, lambda: {"text": text})

    def rows(name: str, inputs: RemedyInputs = inputs) -> list[Any]:
        remedy: Any = REMEDIES[name]().build(inputs)
        return [row for pool in remedy.pools.values() for row in pool] if kind == "replay" else remedy.rows

    assert [rows(kind), rows(f"self-{kind}"), rows(f"text-{kind}")] == [old, own, text]
    assert rows(kind, RemedyInputs(self_generated_rows=lambda: {"self": own})) == own  # where no suite has rows


def test_a_training_depends_on_the_rows_that_its_arm_draws_on(tmp_path: Path) -> None:
    recipe = config(rehearsal={"text": "book.txt"})

    def keys(own: int, text: int) -> list[str]:
        drawn = {Need.SELF_GENERATED_ROWS: own, Need.TEXT_ROWS: text}
        books = Ledger(tmp_path, recipe, ["model"], [], [None], ["orders"], ["addition"], [], rehearsal=drawn)
        arms = ("full", "full+self-ewc", "full+text-ewc")
        return [books.trial_key(Trial(Arm.of(arm, recipe), 1e-3, 0)) for arm in arms]

    plain, own_texts, text = keys(1, 1)
    assert keys(2, 1) == [plain, keys(2, 2)[1], text] != keys(1, 1)
    assert keys(1, 2) == [plain, own_texts, keys(2, 2)[2]] != keys(1, 1)
