"""A whole question answered twice: by `keeptune study`, and by a script of TRL, peft, lm-eval and transformers.

Same rows in steps of the same size, same rates, same items, same precision, same number of processes and threads. What
keeptune reads, divides and tokenises in its own time, the script is given as token ids. See README.md.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import yaml

from common.figures import ratios, rounded
from common.findings import Findings, Spent, compare, factors, read_run
from common.options import base_parser, parse, say
from common.question import Question
from common.report import finish, header, versions
from common.stitched import Answering, Script
from common.stitched_best import best_settings
from common.workers import environment
from keeptune.builtin import recipe_path
from keeptune.models.precision import pick_dtype

HERE = Path(__file__).parent
PRECISIONS = {torch.bfloat16: "bf16", torch.float32: "fp32"}
REAL = HERE / "questions" / "real.yaml"
ALWAYS = ("arms=[full, lora]", "seeds=[0]")
WARM = ("train.max_steps=2", "validation_items=20", "test_items=20", "full.learning_rates=[1e-4]", "arms=[full]")
SMALL = {
    "demo": ("full.learning_rates=[3e-4, 1e-3]", "lora.learning_rates=[1e-3, 3e-3]"),
    "real": ("full.learning_rates=[3e-4, 1e-3]", "lora.learning_rates=[3e-3, 1e-2]"),
}
SMALLER = ("train.max_steps=30", "validation_items=30", "test_items=60")  # with --quick, in both
QUICK = {"batches": [32], "pick_steps": 2, "base_steps": 60}


def default_peers(batch: int, quick: bool) -> list[str]:
    """Settings of TRL that take the same rows in a step, as packed ones (bfd) do not: those train other models."""
    return [f"padded:{batch}"] if quick else [f"padded:{batch}", f"padded:{batch // 2}"]


def command(run: Path, question: Question, more: Sequence[str] = ()) -> list[str]:
    """`keeptune study` of a question, with the clock of `sides.study_keeptune`."""
    sets = [word for override in (*question.overrides, *more) for word in ("--set", override)]
    recipe = [str(question.recipe), "--data", str(question.data_root), "--out", str(run), "--quiet", *sets]
    times = run.with_suffix(".times.json")
    return [sys.executable, "-m", "sides.study_keeptune", str(times), str(time.time()), "study", *recipe]


def execute(words: Sequence[str], threads: int, cache: Path) -> float:
    """Seconds of a command; it finds nothing in the cache that it did not write itself."""
    started = time.perf_counter()
    variables = environment(threads) | {"KEEPTUNE_CACHE": str(cache)}
    done = subprocess.run(words, env=variables, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}")
    return time.perf_counter() - started


def by_keeptune(question: Question, threads: int, name: str, more: Sequence[str] = ()) -> Findings:
    """The question answered by the command."""
    run = question.folder / f"{question.name}-{name}"
    seconds = execute(command(run, question, more), threads, question.folder / f"{question.name}-{name}-cache")
    times: dict[str, float] = json.loads(run.with_suffix(".times.json").read_text())
    found = read_run(run, Spent(total=seconds, start=times.pop("start")))
    found.spent.scoring = sum(times.values()) - found.spent.training
    return found


def by_script(question: Question, settings: dict[str, Any], processes: int, threads: int, name: str) -> Findings:
    """The question answered by the stitched side."""
    given = {key: settings[key] for key in ("setting", "precision", "batches")}
    with Script(question, given, processes, threads) as script:
        return Answering(script, question.folder / f"{question.name}-{name}-models").answer()


def answer(question: Question, options: argparse.Namespace) -> dict[str, Any]:
    """Both sides warmed, then by turns; what they found is compared in every round."""
    say(f"{question.name}: reading")
    processes, threads, precision = options.processes, options.threads, options.precision
    by_keeptune(question, threads, "warm", WARM)
    if options.without_peer:
        found = by_keeptune(question, threads, "alone")
        return {"keeptune": [found.spent.to_json()], "rates": found.rates}
    say(f"{question.name}: the stitched side gets {question.spec.stat().st_size / 1e6:.1f} MB of rows and items")
    peers = options.peers or default_peers(question.config.train.global_batch, options.quick)
    settings = best_settings(question, precision, processes, threads, peers, options.batches, options.pick_steps)
    rounds = []
    for number in range(options.rounds):
        ours = by_keeptune(question, threads, f"keeptune-{number}")
        say(f"{question.name}: keeptune {ours.spent.to_json()}")
        theirs = by_script(question, settings, processes, threads, f"stitched-{number}")
        say(f"{question.name}: stitched {theirs.spent.to_json()}")
        rounds.append((ours, theirs))
    totals = [[side.spent.total for side in pair] for pair in rounds]
    ours, theirs = rounds[0]
    return {
        "stitched_settings": settings,
        "keeptune": [pair[0].spent.to_json() for pair in rounds],
        "stitched": [pair[1].spent.to_json() for pair in rounds],
        "ratio": ratios([b for _, b in totals], [a for a, _ in totals]),
        "factors": factors(ours.spent, theirs.spent),
        **facts(question),
        **compare(ours, theirs, question.target),
    }


def facts(question: Question) -> dict[str, Any]:
    """What a reader needs to know of a question."""
    tested = [asked for (_, part), asked in question.asked.items() if part == "test"]
    rows = question.workplace.data.rows(question.config.seeds[0])
    config = question.config
    return {
        "target": question.target,
        "train_rows": len(rows.train),
        "steps": len(rows.order),
        "rows_per_step": config.train.global_batch,
        "mean_tokens": rounded(sum(map(len, rows.train)) / len(rows.train)),
        "suites": {name: question.asked[name, "test"].kind for name in question.suites},
        "test_items": sum(len(asked.examples) for asked in tested),
        "grid": {arm.name: list(config.learning_rates(arm)) for arm in config.training_arms},
    }


def lines(name: str, result: dict[str, Any]) -> list[str]:
    """A question in a few lines."""
    if "ratio" not in result:
        return [f"{name}: keeptune alone: {result['keeptune'][0]}"]
    ours, theirs, times = result["keeptune"][0], result["stitched"][0], result["factors"]
    parts = ", ".join(f"{part} {times.get(part)}" for part in ("start", "training", "scoring", "steps", "items"))
    found = [
        f"{name}: {result['ratio']['median']} times as fast ({ours['total']} s against {theirs['total']} s); {parts};"
        f" {result['same_rates']} of {len(result['arms'])} rates and {result['same_verdicts']} of"
        f" {result['verdicts']} verdicts are the same"
    ]
    for arm, both in result["arms"].items():
        target, rate = both["target"], both["rate"]
        found.append(
            f"  {arm}: rate {rate['keeptune']:g} / {rate['stitched']:g}, target {target['keeptune']} /"
            f" {target['stitched']}, {both['target_items_agree']:.1%} of its items alike"
        )
        for suite in both["suites"]:
            scores = ", ".join(f"{at} {suite[at]['keeptune']} / {suite[at]['stitched']}" for at in ("before", "after"))
            verdict = suite["verdict"]
            found.append(
                f"    {suite['suite']}: {verdict['keeptune']} / {verdict['stitched']}; {scores};"
                f" {result['base_items_agree'][suite['suite']]:.1%} alike before, {suite['items_agree']:.1%} after"
            )
    return found


def base_of(options: argparse.Namespace) -> Path:
    """The base of the real question: trained once by `keeptune train` on all of its suites, and kept."""
    folder = Path(options.base) if options.base else Path("runs") / f"study-base{'-quick' if options.quick else ''}"
    if not (folder / "tuned").exists():
        say(f"training the base of the real question into {folder}")
        suites = [entry["data"] for entry in yaml.safe_load(REAL.read_text())["retain"]]
        data = [word for name in suites for word in ("--data", str(options.data / name))]
        words = ["train", "--model", "builtin", "--method", "full", "--rate", "1e-3", "--on-leak", "drop", *data]
        steps = [f"train.max_steps={options.base_steps}"] if options.base_steps else []
        sets = [f"train.epochs={options.base_epochs}", f"precision={options.precision}", "test_items=200", *steps]
        words += [word for override in sets for word in ("--set", override)]
        cache = folder.with_name(f"{folder.name}-cache")
        execute([sys.executable, "-m", "keeptune", *words, "--quiet", "--out", str(folder)], options.threads, cache)
    return (folder / "tuned").resolve()


def questions(options: argparse.Namespace, folder: Path) -> list[Question]:
    """Those that were asked for; the real one needs data."""
    found = []
    for name in options.question or (["demo", "real"] if options.data else ["demo"]):
        sets = [*ALWAYS, f"precision={options.precision}", f"workers={options.processes}"]
        sets += [*SMALL[name], *SMALLER] if options.quick else []
        root, recipe = Path(), recipe_path("demo")
        if name == "real":
            if options.data is None:
                raise SystemExit("the real question needs --data: a folder that holds normalised/banking77.jsonl")
            root, recipe = options.data.resolve(), REAL
            sets.append(f"model={base_of(options)}")
        found.append(Question(name, recipe, (*sets, *options.set), root, folder))
    return found


def options_of() -> argparse.Namespace:
    """The command line, with what depends on the machine filled in."""
    parser = base_parser(__doc__)
    parser.add_argument("--question", nargs="+", choices=("demo", "real"), help="default: demo; with --data, both")
    parser.add_argument("--data", type=Path, help="folder with normalised/*.jsonl, for the real question")
    parser.add_argument("--base", help="folder of the real question's base; default runs/study-base, made if missing")
    parser.add_argument("--base-epochs", type=int, default=6, help="passes of its training")
    parser.add_argument("--base-steps", type=int, help="steps after which its training ends earlier")
    parser.add_argument("--processes", type=int, help="of each side; default: one per thread")
    parser.add_argument("--rounds", type=int, default=1, help="times that both sides answer, by turns")
    parser.add_argument("--peers", nargs="+", help="settings of TRL to choose from, as padded:8, bfd:16")
    parser.add_argument(
        "--batches", type=int, nargs="+", default=[16, 64, 256], help="to try for lm-eval, transformers"
    )
    parser.add_argument("--pick-steps", type=int, default=30, help="steps by which TRL's setting is chosen")
    parser.add_argument("--precision", default="auto", choices=("auto", "bf16", "fp32"), help="of both sides")
    parser.add_argument("--set", action="append", default=[], help="section.field=value of the recipe, on both sides")
    parser.add_argument("--without-peer", action="store_true", help="keeptune alone")
    options = parse(parser, QUICK)
    options.processes = options.processes or options.threads
    if options.precision == "auto":
        options.precision = PRECISIONS[pick_dtype("auto", torch.device("cpu"))]
    return options


def main() -> None:
    """Answer every question, report."""
    options = options_of()
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    results: dict[str, dict[str, Any]] = {}
    last: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        for question in questions(options, Path(name)):
            result = answer(question, options)
            results[question.name] = result
            for text in lines(question.name, result):
                say(text)
            keys = ("same_rates", "same_verdicts", "verdicts")
            last[question.name] = {"ratio": result.get("ratio", {}).get("median")} | {k: result.get(k) for k in keys}
    peer = None if options.without_peer else "TRL {trl}, lm-eval {lm_eval}, transformers {transformers}"
    last["peer"] = peer and peer.format(**versions())
    report = {**header("study", options), "processes": options.processes}
    finish({**report, "questions": results}, last, options.json)


if __name__ == "__main__":
    main()
