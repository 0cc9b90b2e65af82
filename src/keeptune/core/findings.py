"""What a check of data found, in words: `inspect` fills it, terminals and pages show it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Bin:
    """``n`` texts with ``low`` <= length < ``high``; the last bin has no upper end (None)."""

    low: int
    high: int | None
    n: int

    @property
    def span(self) -> str:
        """'20-39', '7' or '140+'."""
        if self.high is None:
            return f"{self.low:,}+"
        return f"{self.low:,}" if self.high - 1 == self.low else f"{self.low:,}-{self.high - 1:,}"


@dataclass(frozen=True, slots=True)
class Lengths:
    """How long the prompts or the completions are."""

    name: str
    unit: str  # words, or characters where the script has no spaces
    median: int
    p95: int
    longest: int
    bins: tuple[Bin, ...]


@dataclass(frozen=True, slots=True)
class PartCount:
    """One part: as the source names it, or as training would carve it out of train."""

    name: str
    examples: int
    clusters: int
    carved: bool


@dataclass(frozen=True, slots=True)
class Quoted:
    """A row as it is quoted: shortened, without what looks like personal data."""

    place: str
    fields: tuple[tuple[str, str], ...]  # name and text; of a usable row, its prompt and its completion


@dataclass(frozen=True, slots=True)
class Case:
    """One instance of a finding: a row, or two that have to do with each other."""

    text: str
    rows: tuple[Quoted, ...] = ()


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked for."""

    kind: str  # in a word
    good: bool  # there is nothing to look at
    text: str
    cases: tuple[Case, ...] = ()  # the first ones
    more: int = 0  # cases beyond those


@dataclass(frozen=True, slots=True)
class CheckPage:
    """All that `keeptune data check` says."""

    source: str
    sha256: str
    layout: str
    rows: int
    examples: int
    clusters: int
    most_references: int
    parts: tuple[PartCount, ...]
    lengths: tuple[Lengths, ...]
    labels: Mapping[str, Mapping[str, int]]  # label -> part -> examples, most frequent first
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]

    @property
    def facts(self) -> tuple[str, ...]:
        """How much there is, in short sentences."""
        shared = self.examples - self.clusters
        clusters = f"{self.clusters:,} clusters"
        if shared:
            clusters += f" ({shared:,} rows share a prompt or a source with another)"
        references = (f"up to {self.most_references} references",) if self.most_references > 1 else ()
        return (f"{self.examples:,} examples from {self.rows:,} rows", clusters, *references)
