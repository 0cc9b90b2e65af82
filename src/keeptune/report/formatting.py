"""How numbers and names are written on the page and in the terminal. None and NaN become a dash."""

from __future__ import annotations

import math
from collections.abc import Set
from pathlib import Path

from keeptune.core.records import Interval, Score, SuiteLosses, SuiteVerdict
from keeptune.core.units import minus, points

MISSING = "—"
METRIC_NAMES = {
    "accuracy_norm": "accuracy (length-normalised)",
    "bits_per_byte": "bits per byte",
    "bleu": "BLEU",
    "chrf": "chrF",
    "exact_match": "exact match",
    "json_f1": "JSON field F1",
    "json_valid": "valid JSON",
    "macro_f1": "macro-F1",
    "rouge1": "ROUGE-1",
    "rouge2": "ROUGE-2",
    "rougeL": "ROUGE-L",
    "rougeLsum": "ROUGE-Lsum",
    "token_f1": "token F1",
}


PRECISIONS = {"float32": "fp32", "bfloat16": "bf16"}  # as a manifest has them: as `--precision` names them


def scored_in(precision: str, stored: object = "none") -> str:
    """'scored in fp32', 'scored in bf16 on a base in nf4'; nothing where no model was run."""
    if precision == "none":
        return ""
    return f"scored in {PRECISIONS.get(precision, precision)}{'' if stored == 'none' else f' on a base in {stored}'}"


def known(value: float | None) -> bool:
    """Whether the number is there and finite."""
    return value is not None and math.isfinite(value)


def metric_name(metric: str) -> str:
    """'rougeL' -> 'ROUGE-L'; an unknown name keeps its words."""
    return METRIC_NAMES.get(metric, metric.replace("_", " "))


def name_of(model: str) -> str:
    """A model as people call it: of a path only the end, and not the 'tuned' of a run folder alone."""
    parts = Path(model).parts
    return model if len(parts) <= 2 and not model.startswith((".", "/")) else "/".join(parts[-2:])


def sentence_case(text: str) -> str:
    """A capital at the front, the rest as it is."""
    return text[:1].upper() + text[1:]


def metric_unit(metric: str) -> str:
    """Unit of a score on the page: fractions are shown in points, bits per byte as they are."""
    return "bits per byte" if metric == "bits_per_byte" else "points"


def metric_title(metric: str) -> str:
    """'exact match, points': the title of an axis."""
    name, unit = metric_name(metric), metric_unit(metric)
    return name if name == unit else f"{name}, {unit}"


def metric_number(value: float | None, metric: str, *, signed: bool = False) -> str:
    """A score in its own unit: '41.2' points, or '1.234' bits per byte."""
    if value is None or not math.isfinite(value):
        return MISSING
    if metric != "bits_per_byte":
        return signed_zero(points(value, signed))
    return signed_zero(minus(f"{value:{'+' if signed else ''}.3f}"))


def signed_zero(text: str) -> str:
    """Drops the sign of a number that is zero at the shown precision."""
    return text if text.strip("+−0.") else text.lstrip("+−")


def interval_text(interval: Interval | None, metric: str, *, signed: bool = False) -> str:
    """'39.8 to 42.6', or a dash."""
    if interval is None or not (known(interval.low) and known(interval.high)):
        return MISSING
    return (
        f"{metric_number(interval.low, metric, signed=signed)} to {metric_number(interval.high, metric, signed=signed)}"
    )


def score_text(score: Score) -> str:
    """'41.2 (39.8 to 42.6)'; a dash where nothing was scored."""
    if score.n == 0 or not known(score.mean):
        return MISSING
    return f"{metric_number(score.mean, score.metric)} ({interval_text(score.interval, score.metric)})"


def change_unit(verdict: SuiteVerdict | SuiteLosses) -> str:
    """Points of a score, or per cent where change and margin are relative."""
    return "%" if verdict.relative else "pt"


def unit_of_changes(relative: Set[bool], mixed: str) -> str:
    """Of several changes, by whether they are relative; ``mixed`` where some are and some are not."""
    return mixed if len(relative) > 1 else "per cent" if relative == {True} else "points"


def margin_text(verdict: SuiteVerdict) -> str:
    """'3 pt', '1 %': what may be lost."""
    return f"{size_text(verdict.margin)} {change_unit(verdict)}"


def change_with_interval(value: float | None, interval: Interval | None) -> str:
    """'−3.1 (−4.0 to −2.2)'."""
    return f"{change_text(value)} ({change_interval(interval)})"


def change_text(value: float | None) -> str:
    """A change with its sign, in points or per cent: '−3.1'."""
    if value is None or not math.isfinite(value):
        return MISSING
    return signed_zero(points(value, signed=True))


def margins_text(value: float | None) -> str:
    """A change in units of margins, with its sign: '−1.3'."""
    if value is None or not math.isfinite(value):
        return MISSING
    return signed_zero(minus(f"{value:+.1f}"))


def margins_tick(value: float) -> str:
    """A change in units of margins as a tick label, without idle zeros: '−2.5'."""
    return signed_zero(minus(f"{value:+.4g}"))


def change_tick(value: float) -> str:
    """A change at a tick, in points or per cent, without idle zeros: '−2.5'."""
    return signed_zero(minus(f"{100 * value:+.4g}"))


def size_text(value: float) -> str:
    """A margin in points or per cent, without a sign and without idle zeros: 0.02 -> '2', 0.0205 -> '2.05'."""
    return f"{100 * value:.3g}"


def change_interval(interval: Interval | None) -> str:
    """'−4.9 to −1.3', or a dash."""
    if interval is None:
        return MISSING
    return f"{change_text(interval.low)} to {change_text(interval.high)}"


def level_text(level: float) -> str:
    """0.95 -> '95 %'."""
    return f"{100 * level:g} %"


def share(value: float | None) -> str:
    """0.123 -> '12 %'; small shares keep a digit."""
    if value is None or not math.isfinite(value):
        return MISSING
    return f"{100 * value:.1f} %" if value < 0.0995 else f"{100 * value:.0f} %"


def plain(value: float | None, digits: int = 3) -> str:
    """A number as it is, so that a column of them lines up: 0.0312 -> '0.031'."""
    return MISSING if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def count(value: float | None) -> str:
    """12345 -> '12,345'."""
    return MISSING if value is None or not math.isfinite(value) else f"{value:,.0f}"


def p_text(value: float | None) -> str:
    """A p value as journals print it."""
    if value is None or not math.isfinite(value):
        return MISSING
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def rate_text(value: float | None) -> str:
    """A learning rate: 0.0003 -> '3e-4'."""
    if value is None or not math.isfinite(value):
        return MISSING
    mantissa, _, exponent = f"{value:.2e}".partition("e")
    return f"{float(mantissa):g}e{int(exponent)}".replace("e0", "") if value else "0"


def clip(text: str, length: int) -> str:
    """At most `length` characters, the cut named."""
    if len(text) <= length:
        return text
    return f"{text[:length].rstrip()} … ({len(text) - length:,} more characters in the records)"


def headline_text(headline: str, provisional: bool) -> str:
    """The headline without a leading 'Provisional:', which is shown as a mark of its own."""
    prefix = "provisional:"
    if provisional and headline.lower().startswith(prefix):
        rest = headline[len(prefix) :].strip()
        return sentence_case(rest)
    return headline
