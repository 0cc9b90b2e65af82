from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from keeptune.core.config import parse_recipe
from keeptune.core.errors import ConfigError
from keeptune.core.records import EngineRecord, read_json
from keeptune.data.examples import Encoded
from keeptune.methods.full import FullConfig
from keeptune.methods.lora import LoraConfig
from keeptune.models.language_model import LanguageModel, hash_parameters
from keeptune.train import microbatch_autotune as budget
from keeptune.train.loop import TrainConfig, fit
from keeptune.train.microbatch_autotune import FILE, Measured, MicrobatchMemory, Planned, Taken
from keeptune.train.objective import Objective
from keeptune.train.remedies.base import Remedy
from keeptune.train.remedies.ewc import Ewc, EwcConfig
from keeptune.train.remedies.freeze import FreezeConfig
from keeptune.train.remedies.kl import KlConfig
from keeptune.train.remedies.l2sp import L2SpConfig
from keeptune.train.remedies.talr import TalrConfig

Rows = Callable[..., list[Encoded]]


@pytest.fixture
def long_run(random_rows: Rows) -> Planned:
    """Sixty steps of about 300 tokens, rows of up to 100."""
    return Planned([random_rows(6, seed=i, longest=100) for i in range(60)], Objective(), "flat")


@pytest.fixture
def small_budgets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "CANDIDATES", (128, 256, 512, 1024))
    monkeypatch.setattr(budget, "WANTED", {"cpu": 512})


def pretend(monkeypatch: pytest.MonkeyPatch, per_token: int = 0, always: int = 0) -> list[int]:
    """Memory as given, bytes of activations per token and of all batches; the budgets that were tried are returned."""
    tried: list[int] = []

    def measure(self: Any, budget: int) -> Measured:
        tried.append(budget)
        tokens = max(budget, 10)  # the longest row has ten
        return Measured(1e-3, tokens, always + per_token * tokens // (10 if self.checkpointing else 1))

    monkeypatch.setattr(budget.Probe, "measure", measure)
    return tried


def find(
    lm: LanguageModel, planned: Planned, config: Any = None, memory: MicrobatchMemory | None = None
) -> EngineRecord:
    method = (config or LoraConfig(rank=2)).build()
    lm.adapt(method)
    record = (memory or MicrobatchMemory()).find_budget(lm, method, planned)
    lm.restore(method)
    return record


def test_short_runs_are_not_probed(tiny: LanguageModel, random_rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = pretend(monkeypatch)
    record = find(tiny, Planned([random_rows(4)] * 49, Objective(), "flat"))
    assert (record.token_budget, record.probed) == (budget.WANTED["cpu"], False)
    assert record.why == "49 steps are too few to probe memory"
    assert not tried


@pytest.mark.usefixtures("small_budgets")
def test_speed_decides_nothing(tiny: LanguageModel, long_run: Planned, monkeypatch: pytest.MonkeyPatch) -> None:
    """However busy the machine is: what suits the device is taken, and few rows are all that is measured."""
    tried = pretend(monkeypatch)
    record = find(tiny, long_run)
    assert (record.token_budget, record.checkpointing) == (512, False)
    assert set(tried) == {1, budget.FEW_TOKENS}


def test_a_longer_row_gets_a_larger_budget(tiny: LanguageModel, random_rows: Rows) -> None:
    long = [Encoded("long", (1,) * 700, (2,) * 700)]
    record = find(tiny, Planned([[*random_rows(2), *long]] * 10, Objective(), "flat"))
    assert record.token_budget == 2048


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
    pretend(monkeypatch, per_token)
    monkeypatch.setattr(budget, "optimizer_bytes", lambda parameters: 0)
    monkeypatch.setattr(budget, "available_bytes", lambda device: 1_300_000)  # 80 % are 1.04 MB, less the gradients
    record = find(tiny, long_run)
    assert (record.token_budget, record.checkpointing) == (chosen, checkpointing)


@pytest.mark.usefixtures("small_budgets")
def test_what_a_pull_takes_is_not_taken_again_for_every_token(
    tiny: LanguageModel, long_run: Planned, monkeypatch: pytest.MonkeyPatch
) -> None:
    """300 kB beside every batch were 30 kB a token of a row of ten, and 15 MB of a batch of 512."""
    pretend(monkeypatch, per_token=1000, always=300_000)
    monkeypatch.setattr(budget, "optimizer_bytes", lambda parameters: 0)
    monkeypatch.setattr(budget, "available_bytes", lambda device: 1_300_000)
    record = find(tiny, long_run)
    assert (record.token_budget, record.checkpointing) == (512, False)
    assert record.why == "what suits the device; 812.0 kB of activations"


@pytest.mark.parametrize(
    ("small", "large", "bytes_of_100"),
    [
        ((10, 1000), (110, 2000), 1900),  # a line
        ((10, 1000), (110, 900), 1000),  # by chance less: nothing for a token
        ((10, 1000), (10, 1000), 10_000),  # one size: all of it is the tokens'
        ((10, 100), (110, 2100), 2000),  # by chance less than nothing beside tokens
    ],
)
def test_memory_by_tokens(small: tuple[int, int], large: tuple[int, int], bytes_of_100: int) -> None:
    assert Taken.of(Measured(1.0, *small), Measured(1.0, *large)).by(100) == bytes_of_100


@pytest.mark.parametrize("config", [LoraConfig(rank=2, dropout=0.1), FullConfig()], ids=["lora", "full"])
@pytest.mark.usefixtures("small_budgets")
def test_probing_changes_nothing(tiny: LanguageModel, long_run: Planned, config: Any) -> None:
    method = config.build()
    tiny.adapt(method)
    before, random = hash_parameters(tiny.model), torch.get_rng_state()
    record = MicrobatchMemory().find_budget(tiny, method, long_run)
    assert record.probed and record.token_budget in budget.CANDIDATES
    assert hash_parameters(tiny.model) == before
    assert torch.equal(torch.get_rng_state(), random)
    assert all(p.grad is None for p in tiny.model.parameters())
    assert tiny.engine.name == "flat" and not tiny.model.training


@pytest.mark.parametrize("config", [LoraConfig(rank=2, dropout=0.1), FullConfig()], ids=["lora", "full"])
@pytest.mark.usefixtures("small_budgets")
def test_terms_are_probed_too_and_counted(
    tiny: LanguageModel, long_run: Planned, random_rows: Rows, monkeypatch: pytest.MonkeyPatch, config: Any
) -> None:
    keys, retained = set(), random_rows(2)
    remedies: list[Remedy] = [
        KlConfig().build(),
        L2SpConfig().build(),
        Ewc(EwcConfig(), {"suite": retained}),
        TalrConfig().build(),
        FreezeConfig().build(),
        Remedy(),
    ]
    for remedy in remedies:
        method = remedy.method(config.build())
        tiny.adapt(method)
        terms = remedy.terms(tiny, method)
        before, random = hash_parameters(tiny.model), torch.get_rng_state()
        record = MicrobatchMemory().find_budget(tiny, method, Planned(long_run.steps, Objective(terms), "flat"))
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
    tried, memory = pretend(monkeypatch), MicrobatchMemory()
    first = find(tiny, long_run, memory=memory)
    count = len(tried)
    assert find(tiny, long_run, memory=memory) == first
    assert len(tried) == count
    assert find(tiny, long_run, FullConfig(), memory).key != first.key
    assert len(tried) > count


@pytest.mark.usefixtures("small_budgets")
def test_what_other_processes_decided_counts(
    tiny: LanguageModel, long_run: Planned, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The first decision holds, also for a process whose own probe ended later and said otherwise."""
    early, late = MicrobatchMemory(tmp_path / "engines"), MicrobatchMemory(tmp_path / "engines")
    tried = pretend(monkeypatch)
    first = find(tiny, long_run, memory=early)
    count = len(tried)
    assert find(tiny, long_run, memory=late) == first
    assert len(tried) == count
    another = find(tiny, long_run).model_copy(update={"why": "decided later"})
    assert late._settle(another) == first
    assert [path.name for path in (tmp_path / "engines").iterdir()] == [f"{first.key}.json"]
    next((tmp_path / "engines").iterdir()).write_text("{")  # damaged: decided again
    assert find(tiny, long_run, memory=MicrobatchMemory(tmp_path / "engines")) == first


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
