"""The tables of one study as Markdown, each only where its records exist. Intervals are 95 %."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from html import escape
from itertools import chain

from keeptune.core.records import ArmSummary, HeldOut, Interval, Score, SuiteVerdict, Summary
from keeptune.core.units import human_bytes, human_count, human_seconds, over_seeds, points
from keeptune.report.arms import not_run, verdict_counts, worst
from keeptune.report.formatting import (
    MISSING,
    change_interval,
    change_text,
    change_with_interval,
    interval_text,
    known,
    metric_number,
    plain,
    score_text,
    share,
)
from keeptune.report.sections.equal_score import matched as matched_pairs
from keeptune.report.sections.sequences import sequences as sequence_tables
from keeptune.report.sections.transfer import Sides
from keeptune.retention.intervals import seed_t_interval

MANY_ARMS = 4  # more trained arms than this are rows, and the whole table is folded
SEEDS = (
    "Of a trained arm, first the checkpoint that is judged, with its interval over items; then mean, lowest and highest"
    " score of its seeds."
)
MANY_ROWS = 12  # a longer list of tasks is folded


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in (head, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(head), *lines[1:]])


def folded(title: str, body: str) -> str:
    """A part that opens on a click."""
    return f"<details>\n<summary>{escape(title)}</summary>\n\n{body}\n\n</details>"


def folded_if(many: bool, title: str, body: str) -> str:
    """The body, folded where it is long."""
    return folded(title, body) if many else body


def tables(summary: Summary) -> Iterator[str]:
    """All of a study's numbers."""
    parts = (arms, tasks, suites, drift, matched, curves, wordings, held_out, sequences, drawn_on)
    return chain.from_iterable(part(summary) for part in parts)


def scored(arm: ArmSummary) -> str:
    """Target score of the checkpoint that is judged; of several seeds also mean, lowest and highest."""
    seeds = f"; {over_seeds(arm.seed_scores)}" if len(arm.seed_scores) > 1 else ""
    return score_text(arm.target) + seeds


def gain(arm: ArmSummary) -> str:
    """Target score minus the best prompting's."""
    if arm.gain is None or arm.gain_mean is None:
        return ""
    metric = arm.target.metric
    return _change(arm.gain_mean, arm.gain, metric)


def kept(arm: ArmSummary) -> str:
    """What became of the retained suites, counted."""
    return verdict_counts(arm) or ("unchanged weights" if arm.family == "prompt" else "")


def arms(summary: Summary) -> Iterator[str]:
    """Arm by arm: score, gain, verdicts, costs."""
    head = ["arm", target_text(summary), "over the best prompting", "retained suites", "trainable"]
    head += ["training", "peak memory", "tokens per request", "on disk"]
    yield table(head, (_arm(arm, arm.name == summary.recommendation.arm, len(head)) for arm in summary.arms))
    if any(len(arm.seed_scores) > 1 for arm in summary.arms):
        yield SEEDS


def target_text(summary: Summary) -> str:
    """The target's name (of many, their number) and its metric."""
    count = max(len(arm.tasks) for arm in summary.arms)
    return f"{f'{count} tasks' if count > MANY_ROWS else summary.target}: {summary.metric}"


def _arm(arm: ArmSummary, chosen: bool, width: int) -> list[str]:
    name = f"**{arm.label}**" if chosen else arm.label
    if reason := not_run(arm):
        return [name, reason, *[""] * (width - 2)]
    costs = arm.costs
    return [
        name,
        f"{scored(arm)}, n {arm.target.n:,}",
        gain(arm),
        kept(arm),
        human_count(costs.trainable_parameters) if costs.trainable_parameters else "none",
        human_seconds(costs.train_seconds) if costs.train_seconds else "none",
        human_bytes(costs.peak_memory_bytes) if costs.peak_memory_bytes else "",
        f"{costs.tokens_per_request:.0f}" if costs.tokens_per_request else "",
        human_bytes(costs.bytes_on_disk) if costs.bytes_on_disk else "nothing",
    ]


def tasks(summary: Summary) -> Iterator[str]:
    """Task by arm, where several targets were learned together; more arms than tasks are rows."""
    found = [arm for arm in summary.arms if arm.tasks]
    if not found:
        return
    names, sizes = [one.task for one in found[0].tasks], [f"{one.score.n:,}" for one in found[0].tasks]
    scores = [[score_text(one.score) for one in arm.tasks] for arm in found]
    labels = [arm.label for arm in found]
    if len(found) > max(MANY_ARMS, len(names)):
        yield table(["arm", *names], [["n", *sizes], *_beside(labels, scores)])
        return
    body = table(["task", "n", *labels], _beside(names, zip(sizes, *scores, strict=True)))
    yield folded_if(len(names) > MANY_ROWS, f"Score on each of {len(names)} tasks", body)


def _beside(names: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[list[str]]:
    return ([name, *row] for name, row in zip(names, rows, strict=True))


def suites(summary: Summary) -> Iterator[str]:
    """Change of every retained suite with interval and verdict; many arms by their worst suite, the rest folded."""
    found = [arm for arm in summary.arms if arm.suites]
    if not found:
        return
    if len(found) <= MANY_ARMS:
        yield table(["suite", *SUITE_FACTS, *(arm.label for arm in found)], _suites_as_rows(found))
        return
    left_out = [(arm.label, reason) for arm in summary.arms if (reason := not_run(arm))]
    rows = [[arm.label, kept(arm), _worst(arm)] for arm in found]
    yield table(["arm", "retained suites", "worst change"], [*rows, *([*row, ""] for row in left_out)])
    names = [suite.suite for suite in found[0].suites]
    facts = _beside(SUITE_FACTS, zip(*map(_facts, found[0].suites), strict=True))
    changes = ([arm.label, *map(suite_change, arm.suites)] for arm in found)
    empty = ([*row, *[""] * (len(names) - 1)] for row in left_out)
    yield folded(f"All {len(names)} suites by arm", table(["arm", *names], [*facts, *changes, *empty]))


SUITE_FACTS = ("n", "margin", "before")


def _facts(suite: SuiteVerdict) -> list[str]:
    before = f"{suite.before:.3f} bits per byte" if suite.relative else points(suite.before)
    return [f"{suite.n:,}", f"{points(suite.margin)} {'%' if suite.relative else 'points'}", before]


def _suites_as_rows(found: Sequence[ArmSummary]) -> Iterator[list[str]]:
    for row in zip(*(arm.suites for arm in found), strict=True):
        yield [row[0].suite, *_facts(row[0]), *map(suite_change, row)]


def suite_change(suite: SuiteVerdict) -> str:
    """'Harmed −40.2 (−43.1 to −37.2)'."""
    if suite.verdict == "Not measurable" or suite.interval is None:
        return suite.verdict
    return f"{suite.verdict} {change_with_interval(suite.change, suite.interval)}"


def _worst(arm: ArmSummary) -> str:
    suite = worst(arm)
    if suite is None:
        return MISSING
    return f"{suite.suite}: {suite_change(suite)}{' %' if suite.relative else ''}"


def drift(summary: Summary) -> Iterator[str]:
    """Distance from the base model's predictions."""
    found = [(arm.label, arm.drift) for arm in summary.arms if arm.drift is not None]
    if not found:
        return
    yield (
        "**Drift.** How far the predictions on the target's validation rows moved away from the base's, mean"
        f" over {found[0][1].positions:,} positions. A warning, never a verdict."
    )
    head = ["arm", "KL(base ‖ tuned), nats", "same most likely token", "length of the change"]
    yield table(head, ([name, plain(g.kl), share(g.agreement), plain(g.weight_l2, 2)] for name, g in found))


def matched(summary: Summary) -> Iterator[str]:
    """Arm against arm at equal target score, in sentences; pairs that cannot be compared are folded."""
    pairs = [row.matched for row in matched_pairs(summary)]
    if not pairs:
        return
    yield (
        "**At equal target score.** Mean loss over the retained suites in margins, on validation items; intervals over"
        " seeds and items."
    )
    said = [_bullet(pair.sentence) for pair in pairs if pair.comparable]
    unlike = [_bullet(pair.sentence) for pair in pairs if not pair.comparable]
    if said:
        yield folded_if(len(said) > MANY_ROWS, f"{len(said)} comparisons", "\n".join(said))
    if unlike:
        yield folded(f"{len(unlike)} not comparable", "\n".join(unlike))


def _bullet(sentence: str) -> str:
    return f"- {sentence.rstrip('.')}."


def curves(summary: Summary) -> Iterator[str]:
    """Target score by number of training examples, and whether fewer are enough."""
    found = [curve for curve in summary.curves if curve.points]
    if not found:
        return
    yield "**How many examples are enough.** Target score by training examples, at the same number of steps."
    sizes = sorted({point.examples for curve in found for point in curve.points})
    scores = [{point.examples: point.score for point in curve.points} for curve in found]
    rows = [[f"{size:,}", *(_score(by_size.get(size)) for by_size in scores)] for size in sizes]
    if any(curve.prompting for curve in found):
        rows.append(["best prompting", *(_score(curve.prompting) for curve in found)])
    yield table(["examples", *(curve.label for curve in found)], rows)
    yield "\n".join(_bullet(f"{curve.label}: {curve.sentence}") for curve in found)


def _score(score: Score | None) -> str:
    return MISSING if score is None else score_text(score)


def _change(value: float, interval: Interval, metric: str) -> str:
    """'−2.4 (−4.1 to −0.7)' in the metric's unit."""
    return f"{metric_number(value, metric, signed=True)} ({interval_text(interval, metric, signed=True)})"


def wordings(summary: Summary) -> Iterator[str]:
    """The target in wordings that training saw and in others."""
    found = [gap for gap in summary.wordings if gap.seen.n and gap.unseen.n]
    if not found:
        return
    yield (
        "**Wordings that training saw, and others.** The same test items in both"
        f" (n {found[0].unseen.n:,}); the gap is seen minus unseen, paired."
    )
    rows = [
        [gap.label, score_text(gap.seen), score_text(gap.unseen), _change(gap.gap, gap.interval, gap.seen.metric)]
        for gap in found
    ]
    yield table(["arm", "seen", "unseen", "gap"], rows)


def held_out(summary: Summary) -> Iterator[str]:
    """Tasks that no arm was trained on: by task, or where that is much, by arm and by task in a fold."""
    found = [one for one in summary.held_out if known(one.change)]
    if not found:
        return
    by_arm: dict[str, list[HeldOut]] = {}
    for one in found:
        by_arm.setdefault(one.label, []).append(one)
    names = list(dict.fromkeys(one.task for one in found))
    yield "**Tasks that no arm was trained on.** Zero-shot; the base before, each arm after, and the change, paired."
    many = len(names) > MANY_ROWS or len(by_arm) > MANY_ARMS
    if many:
        head = ["arm", "tasks", "mean change over tasks (t interval)", "above 0 (clearly)", "below 0 (clearly)"]
        yield table(head, ([label, *_counted(rows)] for label, rows in by_arm.items()))
        yield "Clearly: the whole interval of the task is on that side."
    body = table(["task", "n", "before", *by_arm], _held_out_rows(names, list(by_arm.values())))
    yield folded_if(many, f"Each of {len(names)} held-out tasks", body)


def _held_out_rows(names: Sequence[str], arms: Sequence[Sequence[HeldOut]]) -> Iterator[list[str]]:
    by_task = [{one.task: one for one in rows} for rows in arms]
    for name in names:
        cells = [rows.get(name) for rows in by_task]
        first = next(one for one in cells if one is not None)
        yield [name, f"{first.before.n:,}", score_text(first.before), *map(_after, cells)]


def _after(one: HeldOut | None) -> str:
    if one is None:
        return MISSING
    return f"{score_text(one.after)}; {_change(one.change, one.interval, one.before.metric)}"


def _counted(rows: Sequence[HeldOut]) -> list[str]:
    """How many tasks changed which way; the mean where scores are fractions, with tasks as the sample."""
    changes = [one.change for one in rows if one.before.metric != "bits_per_byte"]
    interval = seed_t_interval(changes)
    mean = change_text(sum(changes) / len(changes)) if changes else MISSING
    if interval:
        mean += f" ({change_interval(Interval(low=interval[0], high=interval[1]))})"
    sides = Sides.of(rows)
    above, below = f"{sides.above} ({sides.clearly_above})", f"{sides.below} ({sides.clearly_below})"
    return [f"{len(rows)}", mean, above, below]


def sequences(summary: Summary) -> Iterator[str]:
    """Tasks learned one after another: four numbers for each arm and order, the score matrices in a fold."""
    found = sequence_tables(summary)
    if not found:
        return
    yield "**Tasks learned one after another.** Scores and changes in points, on test items."
    yield "\n".join(f"- {name}: {meaning}" for name, _, meaning in found[0].numbers)
    head = ["arm", "order", "seed", "average (ACC)", "backward (BWT)", "forward (FWT)", "forgetting"]
    yield table(
        head,
        (
            [one.summary.label, _order(one.summary.order), f"{one.summary.seed}", *(text for _, text, _ in one.numbers)]
            for one in found
        ),
    )
    yield folded("Score after every stage", "\n\n".join(_matrices(summary)))


def drawn_on(summary: Summary) -> Iterator[str]:
    """Where the rows came from that remedies drew on."""
    if not summary.rehearsal:
        return
    yield "**What remedies drew on.**"
    rows = (
        [card.source, ", ".join(card.arms), f"{sum(card.rows.values()):,}", f"`{card.sha256[:16]}`"]
        for card in summary.rehearsal
    )
    yield table(["source", "arms", "rows", "SHA-256 of their tokens"], rows)


def _order(order: Sequence[str]) -> str:
    return " → ".join(order)


def _matrices(summary: Summary) -> Iterator[str]:
    for one in sequence_tables(summary):
        yield f"{one.summary.label}, seed {one.summary.seed}, n {one.items}:"
        rows = ([name, *(cell.text for cell in cells)] for name, cells in one.rows)
        yield table(["stage", *one.summary.order], rows)
