"""Numbers in words and short forms. Scores are fractions in the code and points (x100) on the page."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from typing import Any


def content_hash(value: Any, length: int = 16) -> str:
    """Hex digest of a JSON-able value; equal values give equal digests in every process."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def human_bytes(n: float) -> str:
    """12_345_678 -> '12.3 MB' (powers of 1000)."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(n) < 1000:
            return f"{n:.0f} {unit}" if unit == "B" else f"{n:.1f} {unit}"
        n /= 1000
    return f"{n:.1f} TB"


def human_count(n: float) -> str:
    """5_234_000 -> '5.2M'."""
    for unit in ("", "k", "M", "B"):
        if abs(n) < 1000:
            return f"{n:.0f}" if unit == "" else f"{n:.1f}{unit}"
        n /= 1000
    return f"{n:.1f}T"


def human_seconds(seconds: float) -> str:
    """95 -> '1 min 35 s'."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"


def parse_duration(text: str) -> float:
    """'4h' -> 14400.0; units s, min, h and d.

    Raises:
        ValueError: not a number above 0 with one of the units.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(s|min|h|d)\s*", text)
    if match is None or not float(match[1]):
        raise ValueError("write a number and s, min, h or d: 4h")
    return float(match[1]) * {"s": 1, "min": 60, "h": 3600, "d": 86400}[match[2]]


def parse_share(value: object) -> float:
    """'5%', '0.05' or 0.05 -> 0.05.

    Raises:
        ValueError: neither a number nor a percentage.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    match = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*(%?)\s*", str(value))
    if match is None:
        raise ValueError("write a share as 5% or 0.05")
    return float(match[1]) / (100 if match[2] else 1)


def points(fraction: float, signed: bool = False, digits: int = 1) -> str:
    """0.1234 -> '12.3'; signed: '+12.3'. A typographic minus keeps columns readable."""
    return minus(f"{100 * fraction:{'+' if signed else ''}.{digits}f}")


def minus(number: str) -> str:
    """'-3.1' -> '−3.1', with a typographic minus, as wide as a plus."""
    return number.replace("-", "−")


CUT = " […]"  # behind a text that was longer


def cut(text: str | None, most: int) -> str:
    """The first ``most`` characters of a text, and a mark where there are more."""
    text = text or ""
    return text if len(text) <= most else text[:most] + CUT


def any_of(suites: int) -> str:
    """'any of 4 suites', or 'the only suite'."""
    return "the only suite" if suites == 1 else f"any of {suites} suites"


def few(names: Sequence[str], most: int) -> str:
    """'a, b, c and 4 more': the first ``most`` of the names."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def over_seeds(scores: Sequence[float]) -> str:
    """'69.7, 34.2 to 89.4 over 5 seeds': mean, lowest and highest; with fewer than two 'this checkpoint'."""
    if len(scores) < 2:
        return "this checkpoint"
    mean, low, high = sum(scores) / len(scores), min(scores), max(scores)
    return f"{points(mean)}, {points(low)} to {points(high)} over {len(scores)} seeds"
