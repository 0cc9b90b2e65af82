"""Rows that are not like the rest of their set: in another script or language, far longer, or asked a second time.

Hints for eyes, in two passes that keep a few numbers of every row: nothing here leaves a row out.

- *Script*: most of the row's letters are of another script than those of nine tenths of the rows.
- *Language*: three letters at a time, the row is far less likely under the set's own frequencies than other rows are
  (Cavnar and Trenkle 1994 tell languages apart by such profiles). Far is `FAR` robust standard deviations.
- *Length*: the logarithm of the number of characters is as far from the median.
- *Wordings*: the longest line of what is asked about and the completion are those of another row, the rest of the
  prompt is not: one example in several wordings. What is asked about is the prompt without its instruction, where that
  has a column; lines that come back with several answers throughout the set are instructions, too.
"""

from __future__ import annotations

import math
import unicodedata
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from keeptune.data.examples import Example
from keeptune.data.splits.compared import TELLING
from keeptune.data.splits.groups import hash_of

FAR = 8.0  # robust standard deviations from the median
RARE = 0.05  # share of the rows; more that are alike are a kind of their own
SHOWN = 5  # rows of every kind
COMMON = 0.9  # share of the rows that must have a script in common, for others to stand out
LETTERS = 20  # of a text whose script or language is judged
LOOKED_AT = 400  # characters of a text
BUCKETS = 1 << 16  # of trigrams
SIBLINGS = 20  # rows; a line that more share is an instruction
GROUPS = 3  # of rows that share a line, of which one can say what such lines are

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Outliers:
    """Rows that stand out in one way."""

    kind: str
    what: str  # what is the matter with them, behind their number
    rows: int
    shown: tuple[Example, ...]  # the first


def outliers(
    examples: Sequence[Example],
    prompt: Callable[[Example], str],
    completion: Callable[[Example], str],
    about: Callable[[Example], str] | None = None,
) -> tuple[Outliers, ...]:
    """Every kind of outlier that the rows have.

    Args:
        examples: gone through twice.
        prompt: a row's own prompt text.
        completion: its answer.
        about: the prompt without instructions that rows may share; None: the prompt.
    """
    profile, scripts, sizes, lines, prompts, answers = _looked_at(examples, prompt, completion, about or prompt)
    found = [
        _told(examples, "script", f"are not written in {scripts.usual.capitalize()} letters", scripts.rows()),
        _told(examples, "language", "read like another language than the others", profile.rows(examples, prompt)),
    ]
    for side, name in enumerate(("prompt", "completion")):
        far = _far(np.log1p(sizes[:, side]))
        found.append(_told(examples, "length", f"have a {name} far from the usual length", far))
    found.append(
        _told(examples, "wordings", "put the text of another row in other words", _siblings(lines, prompts, answers))
    )
    return tuple(each for each in found if each.rows)


def _told(examples: Sequence[Example], kind: str, what: str, rows: NDArray[np.int64]) -> Outliers:
    return Outliers(kind, what, len(rows), tuple(examples[int(row)] for row in rows[:SHOWN]))


def _far(values: Floats) -> NDArray[np.int64]:
    """Numbers of the values that lie `FAR` robust standard deviations or more from the median, either way."""
    if not len(values):
        return np.array([], dtype=np.int64)
    middle = np.median(values)
    spread = 1.4826 * float(np.median(np.abs(values - middle)))
    far = np.flatnonzero(np.abs(values - middle) > FAR * max(spread, 0.1))
    return far if len(far) <= RARE * len(values) else far[:0]


class _Scripts:
    """The commonest script of every row that has letters enough."""

    def __init__(self) -> None:
        self.names: dict[str, int] = {"": 0}
        self.of: array[int] = array("b")

    def add(self, text: str) -> None:
        """Look at one row."""
        counts = Counter(script for script in map(_script, text[:LOOKED_AT]) if script)
        commonest = counts.most_common(1)[0][0] if counts.total() >= LETTERS else ""
        self.of.append(self.names.setdefault(commonest, min(len(self.names), 127)))

    @property
    def usual(self) -> str:
        """The script of most rows."""
        known = [number for number in self.of if number]
        return list(self.names)[Counter(known).most_common(1)[0][0]] if known else ""

    def rows(self) -> NDArray[np.int64]:
        """Rows of another script, where one is usual."""
        numbers = np.frombuffer(self.of, dtype=np.int8)
        usual, known = self.names[self.usual], numbers != 0
        if not known.any() or (numbers[known] == usual).mean() < COMMON:
            return np.array([], dtype=np.int64)
        return np.flatnonzero(known & (numbers != usual))


@lru_cache(maxsize=1 << 16)
def _script(character: str) -> str:
    """'LATIN', 'CJK', …: the first word of a letter's name; '' for what is no letter."""
    return unicodedata.name(character, "").split(" ")[0] if character.isalpha() else ""


class _Profile:
    """How often three letters follow each other in the set, and how likely that makes every row."""

    def __init__(self) -> None:
        self.counts = np.zeros(BUCKETS, dtype=np.int64)

    def add(self, text: str) -> None:
        """Count one row."""
        np.add.at(self.counts, _trigrams(text), 1)

    def rows(self, examples: Iterable[Example], prompt: Callable[[Example], str]) -> NDArray[np.int64]:
        """Rows that are far less likely than the median row."""
        nats = -np.log((self.counts + 0.5) / (self.counts.sum() + 0.5 * BUCKETS))
        means = np.array([_mean(nats, _trigrams(prompt(example))) for example in examples])
        known = np.flatnonzero(~np.isnan(means))
        middle = np.median(means[known]) if len(known) else 0.0
        far = known[_far(means[known])]
        return far[means[far] > middle]


def _mean(nats: Floats, trigrams: NDArray[np.int64]) -> float:
    return float(nats[trigrams].mean()) if len(trigrams) >= LETTERS else math.nan


def _trigrams(text: str) -> NDArray[np.int64]:
    """Buckets of all runs of three letters [N], case aside, words apart."""
    text = text[:LOOKED_AT].lower()
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32).astype(np.int64)
    letters = np.fromiter(map(str.isalpha, text), dtype=bool, count=len(text))
    codes = np.where(letters, codes, 32)
    whole = letters[:-2] & letters[1:-1] & letters[2:]
    mixed = (codes[:-2] * 1_000_003 + codes[1:-1] * 10_007 + codes[2:]) % BUCKETS
    return mixed[whole] if len(codes) > 2 else mixed[:0]


def _looked_at(
    examples: Sequence[Example],
    prompt: Callable[[Example], str],
    completion: Callable[[Example], str],
    about: Callable[[Example], str],
) -> tuple[_Profile, _Scripts, Floats, array[int], array[int], array[int]]:
    """One pass: profile and scripts of the prompts, sizes [N, 2], and hashes of long lines, prompts and completions."""
    profile, scripts, sizes = _Profile(), _Scripts(), array("d")
    lines, prompts, answers = array("q"), array("q"), array("q")
    for example in examples:
        text, answer = prompt(example), completion(example)
        profile.add(text)
        scripts.add(text)
        sizes.extend((len(text), len(answer)))
        longest = max(about(example).splitlines(), key=len, default="").strip()
        lines.append(hash_of(longest) if longest.count(" ") >= TELLING - 1 else 0)
        prompts.append(hash(text.strip()))
        answers.append(hash(answer.strip()))
    return profile, scripts, np.frombuffer(sizes, dtype=np.float64).reshape(-1, 2), lines, prompts, answers


def _siblings(lines: array[int], prompts: array[int], answers: array[int]) -> NDArray[np.int64]:
    """Rows whose longest line an earlier row has, with the same completion and another prompt."""
    keys = np.array([lines, answers, prompts], dtype=np.int64)
    order = np.lexsort((np.arange(keys.shape[1]), keys[1], keys[0]))
    order = order[keys[0, order] != 0]
    new = (keys[:, order[1:]] != keys[:, order[:-1]])[:2]
    of_line = [rows for rows in np.split(order, np.flatnonzero(new[0]) + 1) if len(rows) > 2]
    if len(of_line) >= GROUPS and sum(len(set(keys[1, rows])) > 1 for rows in of_line) > len(of_line) / 2:
        return np.array([], dtype=np.int64)  # lines with several answers each are instructions
    found: list[int] = []
    for rows in np.split(order, np.flatnonzero(new.any(axis=0)) + 1):
        if 1 < len(rows) <= SIBLINGS:
            found += [int(row) for row in rows[1:] if keys[2, row] != keys[2, rows[0]]]
    return np.array(sorted(found), dtype=np.int64)
