from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keeptune.models.generation import flat as engine
from keeptune.models.generation.flat import common_prefix, flat_generate, waves
from keeptune.models.generation.padded import padded_generate
from keeptune.models.generation.stops import StopTexts
from keeptune.models.language_model import LanguageModel, evaluating

ARCHITECTURES = ["llama", "qwen3", "gpt2", "gemma2", "gemma3_text"]


@pytest.fixture(scope="module")
def lms(build: Callable[..., Any], tokenizer: Any) -> dict[str, LanguageModel]:
    more = {"gemma2": {"attn_logit_softcapping": 2.0, "attn_implementation": "eager"}}  # a cap that scores reach
    made = {name: LanguageModel.wrap(build(name, **more.get(name, {})), tokenizer) for name in ARCHITECTURES}
    assert all(lm.engine.name == "flat" for lm in made.values())
    return made


def draw_prompts(n: int, seed: int, *, shared: int = 0, longest: int = 40) -> list[list[int]]:
    draw = random.Random(seed)
    prefix = [draw.randrange(3, 300) for _ in range(shared)]
    return [prefix + [draw.randrange(3, 300) for _ in range(draw.randint(1, longest))] for _ in range(n)]


def both(
    lm: LanguageModel,
    prompts: list[list[int]],
    limits: list[int],
    *,
    budget: int | None = None,
    ends: tuple[int, ...] = (),
    stop: tuple[str, ...] = (),
) -> list[tuple[int, ...]]:
    """What the engine says, after a look that transformers says the same."""
    given = (lm, prompts, limits, (*lm.eos_ids, *ends), StopTexts(lm.tokenizer, stop))
    with evaluating(lm):
        got = flat_generate(*given, token_budget=budget)
        assert got == padded_generate(*given)
    return got


@pytest.mark.parametrize("shared", [0, 20])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_equals_transformers(lms: dict[str, LanguageModel], name: str, shared: int) -> None:
    """Windows shorter than the prompts; four rows at a time, so that slots are filled again and closed up."""
    prompts = draw_prompts(13, seed=1, shared=shared)
    limits = [random.Random(i).randint(1, 14) for i in range(13)]
    got = both(lms[name], prompts, limits, budget=4 * (40 + 14))
    assert {len(ids) for ids in got} != {14}
    assert both(lms[name], prompts, [14] * 13) != got


@pytest.mark.parametrize("name", ["llama", "gemma3_text"])
def test_long_rows_outgrow_their_slots(
    lms: dict[str, LanguageModel], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "GRAIN", 4)
    both(lms[name], draw_prompts(6, seed=2, shared=16, longest=9), [30, 30, 3, 30, 9, 30], budget=200)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.tuples(st.integers(1, 30), st.integers(1, 9)), min_size=1, max_size=12),
    shared=st.sampled_from([0, 3, 16, 25]),
    slots=st.integers(1, 6),
    seed=st.integers(0, 99),
)
def test_any_lengths_limits_and_slots(
    lms: dict[str, LanguageModel], rows: list[tuple[int, int]], shared: int, slots: int, seed: int
) -> None:
    draw = random.Random(seed)
    prefix = [draw.randrange(3, 300) for _ in range(shared)]
    prompts = [prefix + [draw.randrange(3, 300) for _ in range(length)] for length, _ in rows]
    budget = slots * max(length + limit for length, limit in rows)
    got = both(lms["llama"], prompts, [limit for _, limit in rows], budget=budget)
    assert all(len(ids) <= limit for ids, (_, limit) in zip(got, rows, strict=True))


def test_ends_and_stops(lms: dict[str, LanguageModel]) -> None:
    lm, prompts = lms["llama"], draw_prompts(12, seed=3)
    free = both(lm, prompts, [20] * 12, budget=240)
    end, stop = free[0][2], lm.tokenizer.decode([free[1][3]])
    got = both(lm, prompts, [20] * 12, budget=240, ends=(end,), stop=(stop,))
    assert got[0] == free[0][: free[0].index(end) + 1]
    assert len(got[1]) <= 4
    assert any(a == b for a, b in zip(free, got, strict=True))


def test_one_prompt_and_equal_prompts(lms: dict[str, LanguageModel]) -> None:
    prompt = draw_prompts(1, seed=4, shared=20)
    alone = both(lms["llama"], prompt, [9])
    assert both(lms["llama"], prompt * 3, [9] * 3) == alone * 3
    assert both(lms["llama"], prompt, [1]) == [alone[0][:1]]


def test_the_width_stays_under_the_budget(lms: dict[str, LanguageModel], monkeypatch: pytest.MonkeyPatch) -> None:
    widths = []

    def spy(width: int, *rest: Any) -> Any:
        widths.append(width)
        return made(width, *rest)

    made = engine.Rows
    monkeypatch.setattr(engine, "Rows", spy)
    lm = lms["llama"]
    both(lm, [[5] * 20] * 9, [4] * 9, budget=42)
    both(lm, [[5] * 10] * 9, [4] * 9, budget=42)
    assert widths == [42 // 5, 42 // 14]  # 19 of the 20 tokens are stored once, 9 of 10 are too few for that


def test_waves_keep_one_long_row_from_widening_all() -> None:
    needs = [10, 100, 11, 9, 60, 12]
    assert waves(needs, held=120, most=128) == [[1, 4], [5, 2, 0, 3]]
    assert waves(needs, held=600, most=128) == [[1, 4, 5, 2, 0, 3]]  # all fit at the longest one's length
    assert waves(needs, held=240, most=2) == [[1, 4, 5, 2, 0, 3]]  # no more would run at once
    assert waves([7], held=1, most=128) == [[0]]


def test_common_prefix() -> None:
    assert common_prefix([[1, 2, 3], (1, 2, 4, 5), [1, 2, 3, 9]]) == 2
    assert common_prefix([[1, 2], [1, 2, 3]]) == 1  # the last token is the row's own
    assert common_prefix([[1, 2], [1, 2]]) == 1
    assert common_prefix([[1, 2]]) == common_prefix([[1], [2]]) == 0
