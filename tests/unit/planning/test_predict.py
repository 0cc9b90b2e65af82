"""From a recipe to a plan."""

from __future__ import annotations

import io
import math
from pathlib import Path

import pytest
import torch
from rich.console import Console

from keeptune.core.errors import ConfigError
from keeptune.methods.base import METHODS
from keeptune.models.sketch import depth, shallow, sketch
from keeptune.planning.devices import DEVICES, HOST_LINK, UTILISATION, link_of, parse_devices
from keeptune.planning.memory import Layout, Sizes
from keeptune.planning.predict import Machine, Workload, forecasts, layouts_for
from keeptune.planning.rows import assumed_steps, real_steps
from keeptune.planning.timing import RECOMPUTED, Rates, optimizer_rate, step_time
from keeptune.recipe.config import StudyConfig
from keeptune.study.messages import Messages
from keeptune.study.run import open_study

H100 = DEVICES["H100-80GB"]


def config(**more: object) -> StudyConfig:
    base = {"model": "builtin", "target": [{"task": "builtin:orders"}], "retain": "none", "arms": ["full", "lora"]}
    return StudyConfig(**{**base, **more})  # type: ignore[arg-type]


def test_devices_by_name() -> None:
    assert parse_devices("8xH100-80GB") == (8, H100)
    assert parse_devices("h200") == (1, DEVICES["H200-141GB"])
    with pytest.raises(ConfigError, match="no device '8xH101'"):
        parse_devices("8xH101")


def test_a_model_on_paper_has_no_data() -> None:
    lm = sketch("builtin", torch.bfloat16)
    assert all(parameter.is_meta for parameter in lm.model.parameters())
    assert lm.parameters == 4_656_384 and lm.engine.name == "flat"
    assert depth(shallow(lm.model.config, 2)) == 2 < depth(lm.model.config)


@pytest.mark.parametrize("method", [name for name in METHODS if name not in ("bitfit", "pissa")])
def test_every_method_adapts_a_model_on_paper(method: str) -> None:
    lm, built = sketch("builtin", torch.bfloat16), METHODS[method]().build()
    before = lm.parameters
    lm.adapt(built)
    assert Sizes.of(lm, built).trained > 0
    lm.restore(built)
    assert lm.parameters == before


def test_layouts() -> None:
    names = [(layout.ranks, str(layout)) for layout in layouts_for(4, "cpu")]
    assert names[:2] == [(1, "one process"), (1, "one process, checkpointing")]
    assert (4, "FSDP, checkpointing") in names and not any("offload" in name for _, name in names)
    assert (4, "FSDP, offload, checkpointing") in [(n.ranks, str(n)) for n in layouts_for(4, "cuda")]


def sizes(trained: int = 10**9) -> Sizes:
    return Sizes(2 * trained, 2 * trained, trained, True, 0, 10**8, 10**8, 0, (), ())


def test_data_parallel_ranks_wait_for_their_gradients() -> None:
    rates = Rates(per_token=1e-4, per_weight=1e-11)
    alone = step_time(rates, sizes(), Layout(), 80_000, 10, H100.link, H100)
    eight = step_time(rates, sizes(), Layout(8), 80_000, 2, H100.link, H100)
    assert alone.network == 0 and alone.compute == pytest.approx(8.0)
    assert eight.compute == pytest.approx(1.0)
    assert eight.network == pytest.approx(2 * 7 / 8 * 4e9 / H100.link)


def test_sharded_ranks_hide_their_network_behind_their_work() -> None:
    rates = Rates(per_token=1e-4, per_weight=1e-11)
    layout = Layout(8, sharded=True)
    long = step_time(rates, sizes(), layout, 80_000, 2, H100.link, H100)
    assert long.network == 0
    short = step_time(rates, sizes(), layout, 80, 2, H100.link, H100)
    moved = 2 * 7 / 8 * (2 * 2e9 + 4e9) / H100.link
    assert short.network == pytest.approx(moved - short.compute)
    assert short.update == pytest.approx(1e9 / 8 * 1e-11)
    here = step_time(rates, sizes(), layout, 80_000, 2, H100.link)  # a CPU moves bytes itself
    assert here.network == pytest.approx(moved)


def test_checkpointing_and_offloading_take_time() -> None:
    rates = Rates(per_token=1e-6, per_weight=1e-11)
    plain = step_time(rates, sizes(), Layout(), 1000, 1, H100.link, H100)
    again = step_time(rates, sizes(), Layout(checkpointing=True), 1000, 1, H100.link, H100)
    assert again.compute == pytest.approx(RECOMPUTED * plain.compute)
    away = step_time(rates, sizes(), Layout(sharded=True, offload=True), 1000, 1, H100.link, H100)
    assert away.network == pytest.approx((2 * 2e9 + 2e9) / HOST_LINK - away.compute)


def test_between_machines_the_network_decides() -> None:
    assert link_of(H100, 8) == H100.link > link_of(H100, 16)


def test_the_optimiser_is_timed() -> None:
    ticks = iter(range(100))
    assert optimizer_rate(torch.bfloat16, torch.device("cpu"), lambda: next(ticks)) == pytest.approx(1 / (15 * 2**18))


def test_assumed_rows() -> None:
    lm, train = sketch("builtin", torch.bfloat16), config().train
    steps = assumed_steps("40x64", train, lm)
    assert len(steps) == train.epochs * math.ceil(40 / train.global_batch)
    assert {len(row) for rows in steps for row in rows} == {64}
    assert Workload(steps, 1024).tokens == pytest.approx(train.epochs * 40 * 64, rel=0.2)
    with pytest.raises(ConfigError, match="is not rows x tokens"):
        assumed_steps("40 of 64", train, lm)


def test_a_plan_for_gpus_from_the_configuration_alone() -> None:
    lm = sketch("builtin", torch.bfloat16)
    retain = [{"task": "builtin:addition", "margin": 3}]
    study = config(arms=["full", "lora", "lora+kl:0.5", "pissa", "search"], retain=retain)
    found, notes = forecasts(
        *(study, lm, assumed_steps("64x64", study.train, lm), Machine.on_paper(H100), tuple(layouts_for(2, "cuda"))),
        price=2.0,
    )
    by = {(each.arm, each.ranks, each.layout): each for each in found}
    assert notes[0].startswith("pissa: cannot be planned without weights")
    assert len(notes) == 1 and by["search", 1, "one process"].trainings == study.search.trainings
    full, lora = (by[arm, 1, "one process"] for arm in ("full", "lora"))
    assert full.memory.moments > 10 * lora.memory.moments
    assert full.fits and full.trainings == len(study.method("full").learning_rates)
    assert full.cost == pytest.approx(2.0 * full.seconds / 3600)
    assert by["lora+kl:0.5", 1, "one process"].seconds > lora.seconds
    assert by["full", 2, "FSDP"].memory.weights < full.memory.weights
    assert 0 < UTILISATION < 1


def test_tasks_that_are_learned_in_turn_are_planned() -> None:
    lm, targets = sketch("builtin", torch.bfloat16), [{"task": "builtin:orders"}, {"task": "builtin:category"}]
    study = config(target=targets, arms=["prompt"], sequence={"arms": ["lora", "lora+replay:50%"]}, seeds=[0, 1])
    found, notes = forecasts(study, lm, assumed_steps("64x64", study.train, lm), Machine.on_paper(H100), [Layout()])
    assert [each.arm for each in found] == ["lora, in turn", "lora+replay:50%, in turn"] and not notes
    rates = len(study.method("lora").learning_rates)
    assert {each.trainings for each in found} == {2 * 2 * rates}  # tasks, seeds, rates
    assert found[1].seconds > found[0].seconds


def test_a_curve_is_said_to_be_missing() -> None:
    lm, study = sketch("builtin", torch.bfloat16), config(arms=["lora"], curve={"sizes": [8], "arms": ["lora"]})
    _, notes = forecasts(study, lm, assumed_steps("64x64", study.train, lm), Machine.on_paper(H100), [Layout()])
    assert notes == ["curve: the trainings of fewer rows are not in the table"]


def test_what_is_too_large_does_not_fit(tmp_path: Path) -> None:
    lm = sketch("builtin", torch.bfloat16)
    small = Machine("cuda", 10**9, Machine.on_paper(H100).overhead, paper=H100)
    study = config(arms=["lora"])
    found, _ = forecasts(study, lm, assumed_steps("16x64", study.train, lm), small, [Layout()])
    assert not found[0].fits


def test_rows_are_those_that_the_study_trains_on(tmp_path: Path) -> None:
    study, messages = config(), Messages(Console(file=io.StringIO()))
    steps = real_steps(study, sketch("builtin", torch.float32), Path(), messages)
    _, workplace = open_study(study.model_copy(update={"device": "cpu", "precision": "fp32"}), tmp_path, messages)
    rows = workplace.data.rows(study.seeds[0])
    assert len(steps) == len(rows.order)
    for step in (0, len(steps) - 1):
        assert list(steps[step]) == [rows.train[i] for i in rows.order[step]]
