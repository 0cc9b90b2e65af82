"""`keeptune plan`: what it shows of a forecast."""

from __future__ import annotations

import io

from rich.console import Console

from keeptune.cli.plan import account_line, best_of, print_forecast
from keeptune.core.records import Forecast, ForecastRecord, MemoryAccount

MEMORY = MemoryAccount(
    weights=10**9, masters=0, moments=8, summed_gradients=4, activations=0, temporaries=0, overhead=0, host=2 * 10**9
)


def made(ranks: int, seconds: float, fits: bool = True, arm: str = "full") -> Forecast:
    return Forecast(
        arm=arm,
        layout="FSDP" if ranks > 1 else "one process",
        ranks=ranks,
        micro_batch=8192,
        memory=MEMORY,
        fits=fits,
        trainings=4,
        seconds=seconds,
        cost=ranks * seconds / 3600,
    )


def test_the_cheapest_is_what_takes_the_least_time_of_devices() -> None:
    found = [made(1, 1000, fits=False), made(2, 600), made(4, 350), made(8, 150)]
    assert best_of(found) is found[1 + 2]
    assert best_of([made(2, 600), made(4, 300)]) == made(4, 300)  # the faster of two that cost the same
    assert best_of([made(1, 1, fits=False)]) is None


def test_an_account_names_every_line_that_is_not_nothing() -> None:
    assert account_line(MEMORY) == (
        "weights 1.0 GB + moments 8 B + summed gradients 4 B = 1.0 GB a process, and 2.0 GB of the host's memory"
    )


def test_what_is_printed() -> None:
    console = Console(file=io.StringIO(), width=80, force_terminal=True, color_system=None)
    record = ForecastRecord(
        model="m",
        device="2 x H100-80GB",
        rates="times by a table",
        tokens=1_500_000,
        steps=90,
        forecasts=(made(1, 7200), made(2, 3000), made(1, 1, fits=False, arm="lora")),
        notes=("pissa: cannot be planned",),
    )
    print_forecast(record, console)
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert max(map(len, text.splitlines())) <= 80
    assert "1.5M tokens in 90 steps a training; times by a table" in text
    assert "full, cheapest that fits: 2 ranks, FSDP; 50 min, costs 1.67" in text
    assert "lora: nothing fits" in text and "1.0 GB, too much" in text and "pissa: cannot be planned" in text


def test_columns_that_say_nothing_are_left_out_and_equal_accounts_are_said_once() -> None:
    console = Console(file=io.StringIO(), width=80)
    one = made(1, 60).model_copy(update={"cost": None, "trainings": 1})
    found = (one, one.model_copy(update={"arm": "full+replay:20%"}))
    print_forecast(ForecastRecord(model="m", device="cpu", rates="", tokens=1, steps=1, forecasts=found), console)
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert "full, 1 training " in text and text.count("weights 1.0 GB") == 1
    assert not any(name in text for name in ("ranks", "network", "cost"))
    assert "full, full+replay:20%: weights" in text and "one after another: 2 min" in text
