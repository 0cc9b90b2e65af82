from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from keeptune.core.config import parse_recipe
from keeptune.core.errors import ConfigError
from keeptune.core.records import EngineRecord, read_json, write_json
from keeptune.data.examples import Encoded
from keeptune.methods.full import FullConfig
from keeptune.methods.lora import LoraConfig
from keeptune.models.language_model import LanguageModel, hash_parameters
from keeptune.train import budget
from keeptune.train.budget import DEFAULT, FILE, Planned, find_budget, recall
from keeptune.train.loop import TrainConfig, fit
from keeptune.train.objective import Objective
from keeptune.train.remedies.base import Remedy
from keeptune.train.remedies.ewc import EwcConfig
from keeptune.train.remedies.freeze import FreezeConfig
from keeptune.train.remedies.kl import KlConfig
from keeptune.train.remedies.l2sp import L2SpConfig
from keeptune.train.remedies.talr import TalrConfig

Rows = Callable[..., list[Encoded]]


@pytest.fixture(autouse=True)
def forgetful() -> Iterator[None]:
    budget._known.clear()
    yield
    budget._known.clear()


@pytest.fixture
def long_run(random_rows: Rows) -> Planned:
    """Sixty steps of about 300 tokens, rows of up to 100."""
    return Planned([random_rows(6, seed=i, longest=100) for i in range(60)], Objective(), "flat")


@pytest.fixture
def small_budgets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "CANDIDATES", (128, 256, 512, 1024))
    monkeypatch.setattr(budget, "SHORT_STEP", 0.0)
    monkeypatch.setattr(budget, "SHARE", 10.0)


def pretend(monkeypatch: pytest.MonkeyPatch, speeds: dict[int, float], per_token: float = 0.0) -> list[int]:
    """Measurements as given: real tokens per second by budget; the budgets that were tried are returned."""
    tried: list[int] = []

    def measure(self: Any, tokens: int) -> tuple[float, float]:
        tried.append(tokens)
        return 1 / speeds.get(tokens, 1000.0), per_token * (0.1 if self.checkpointing else 1.0)

    monkeypatch.setattr(budget.Probe, "measure", measure)
    return tried


def find(lm: LanguageModel, planned: Planned, config: Any = None) -> EngineRecord:
    method = (config or LoraConfig(rank=2)).build()
    lm.adapt(method)
    record = find_budget(lm, method, planned)
    lm.restore(method)
    return record


def test_short_runs_are_not_probed(tiny: LanguageModel, random_rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = pretend(monkeypatch, {})
    record = find(tiny, Planned([random_rows(4)] * 49, Objective(), "flat"))
    assert (record.token_budget, record.why, record.probed) == (DEFAULT, "49 steps are too few to probe", False)
    assert not tried


def test_short_steps_are_not_compared(tiny: LanguageModel, random_rows: Rows) -> None:
    record = find(tiny, Planned([random_rows(1)] * 60, Objective(), "flat"))
    assert record.token_budget == DEFAULT
    assert "too short to probe" in record.why


@pytest.mark.parametrize(
    ("speeds", "chosen"),
    [
        ({128: 1000, 256: 2000, 512: 1500}, 256),
        ({128: 1000, 256: 1020, 512: 1029}, 128),  # ties go to the smaller
        ({128: 1000, 256: 1040, 512: 1050}, 256),
    ],
)
@pytest.mark.usefixtures("small_budgets")
def test_the_fastest_budget_is_taken(
    tiny: LanguageModel, long_run: Planned, monkeypatch: pytest.MonkeyPatch, speeds: dict[int, float], chosen: int
) -> None:
    tried = pretend(monkeypatch, speeds)
    record = find(tiny, long_run)
    assert record.token_budget == chosen
    assert record.tokens_per_second == pytest.approx(speeds[chosen])
    assert not record.checkpointing
    assert list(dict.fromkeys(tried)) == [1, 128, 256, 512]  # 512 holds the largest step: 1024 would change nothing


@pytest.mark.usefixtures("small_budgets")
def test_a_machine_that_was_busy_for_a_while_does_not_decide(
    tiny: LanguageModel, long_run: Planned, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All budgets are equally fast, but another program ran while the first two were timed."""
    calls = [0]

    def measure(self: Any, tokens: int) -> tuple[float, float]:
        calls[0] += 1
        return (2e-3 if calls[0] <= 4 else 1e-3), 0.0

    monkeypatch.setattr(budget.Probe, "measure", measure)
    assert find(tiny, long_run).token_budget == 128


@pytest.mark.parametrize(
    ("per_token", "chosen", "checkpointing"),
    [(1000, 512, False), (3000, 256, False), (9000, 512, True), (10**6, 128, True)],
)
@pytest.mark.usefixtures("small_budgets")
def test_memory_bounds_the_budget_and_checkpointing_comes_last(
    tiny: LanguageModel,
    long_run: Planned,
    monkeypatch: pytest.MonkeyPatch,
    per_token: int,
    chosen: int,
    checkpointing: bool,
) -> None:
    pretend(monkeypatch, {128: 1000.0, 256: 2000.0, 512: 3000.0}, per_token)
    monkeypatch.setattr(budget, "optimizer_bytes", lambda parameters: 0)
    monkeypatch.setattr(budget, "available_bytes", lambda device: 1_300_000)  # 80 % are 1.04 MB, less the gradients
    record = find(tiny, long_run)
    assert (record.token_budget, record.checkpointing) == (chosen, checkpointing)


@pytest.mark.usefixtures("small_budgets")
def test_the_probe_ends_when_its_time_is_spent(
    tiny: LanguageModel, long_run: Planned, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budget, "SHARE", 2.2 * 128 / sum(len(row) for rows in long_run.steps for row in rows))
    tried = pretend(monkeypatch, {128: 1000.0, 256: 2000.0})
    assert find(tiny, long_run).token_budget == 128
    assert tried == [1, 1, 128]


@pytest.mark.parametrize("config", [LoraConfig(rank=2, dropout=0.1), FullConfig()], ids=["lora", "full"])
@pytest.mark.usefixtures("small_budgets")
def test_probing_changes_nothing(tiny: LanguageModel, long_run: Planned, config: Any) -> None:
    method = config.build()
    tiny.adapt(method)
    before, random = hash_parameters(tiny.model), torch.get_rng_state()
    record = find_budget(tiny, method, long_run)
    assert record.probed and record.token_budget in budget.CANDIDATES
    assert hash_parameters(tiny.model) == before
    assert torch.equal(torch.get_rng_state(), random)
    assert all(p.grad is None for p in tiny.model.parameters())
    assert tiny.flat and not tiny.model.training


@pytest.mark.parametrize("config", [LoraConfig(rank=2, dropout=0.1), FullConfig()], ids=["lora", "full"])
@pytest.mark.usefixtures("small_budgets")
def test_terms_are_probed_too_and_counted(
    tiny: LanguageModel, long_run: Planned, random_rows: Rows, monkeypatch: pytest.MonkeyPatch, config: Any
) -> None:
    keys, retained = set(), random_rows(2)
    remedies: list[Remedy] = [
        KlConfig().build(),
        L2SpConfig().build(),
        EwcConfig().build({"suite": retained}),
        TalrConfig().build(),
        FreezeConfig().build(),
        Remedy(),
    ]
    for remedy in remedies:
        method = remedy.method(config.build())
        tiny.adapt(method)
        terms = remedy.terms(tiny, method)
        before, random = hash_parameters(tiny.model), torch.get_rng_state()
        record = find_budget(tiny, method, Planned(long_run.steps, Objective(terms), "flat"))
        assert record.probed
        assert hash_parameters(tiny.model) == before and torch.equal(torch.get_rng_state(), random)
        assert all(p.grad is None for p in tiny.model.parameters()) and not tiny.model.training
        tiny.restore(method)
        keys.add(record.key)
    assert len(keys) == len(remedies)


@pytest.mark.usefixtures("small_budgets")
def test_arms_of_a_study_probe_once(
    tiny: LanguageModel, long_run: Planned, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tried = pretend(monkeypatch, {256: 5000.0})
    first = find(tiny, long_run)
    count = len(tried)
    assert find(tiny, long_run) == first
    assert len(tried) == count
    assert find(tiny, long_run, FullConfig()).key != first.key
    assert len(tried) > count
    write_json(tmp_path / FILE, first)
    budget._known.clear()
    (tmp_path / "bad.json").write_text("{")
    count = len(tried)
    recall([tmp_path / FILE, tmp_path / "bad.json", tmp_path / "none.json"])  # as a later process does
    assert find(tiny, long_run) == first
    assert len(tried) == count


@pytest.mark.usefixtures("small_budgets")
@pytest.mark.parametrize("checkpointing", [False, True])
def test_results_do_not_depend_on_the_budget(
    tiny: LanguageModel, random_rows: Rows, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, checkpointing: bool
) -> None:
    monkeypatch.setattr(budget, "FEW_STEPS", 10)
    rows, losses = random_rows(24, longest=60), []
    for number, setting in enumerate((60, 100_000, "auto")):
        if setting == "auto" and checkpointing:
            monkeypatch.setattr(budget, "available_bytes", lambda device: 1)
        method = LoraConfig(rank=4).build()
        config = TrainConfig(epochs=4, global_batch=8, token_budget=setting)
        result = fit(tiny, method, rows, rows[:8], config, tmp_path / str(number), lr=1e-2)
        tiny.restore(method)
        losses.append(result.best_loss)
        record = read_json(tmp_path / str(number) / FILE, EngineRecord)
        assert record.token_budget == setting or (setting == "auto" and record.probed)
        assert record.checkpointing == (setting == "auto" and checkpointing)
    assert not any(getattr(module, "gradient_checkpointing", False) for module in tiny.model.modules())
    assert losses == pytest.approx([losses[0]] * 3, rel=1e-4)


def test_the_setting_is_a_number_or_auto() -> None:
    assert TrainConfig().token_budget == "auto"
    assert parse_recipe(TrainConfig, "token_budget: 77").token_budget == 77
    assert parse_recipe(TrainConfig, "token_budget: auto").token_budget == "auto"
    for wrong in ("0", "many", "[1]"):
        with pytest.raises(ConfigError, match=r"token_budget=.*: Input should be"):
            parse_recipe(TrainConfig, f"token_budget: {wrong}")
