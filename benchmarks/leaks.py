"""Planted leaks: how many the leak finder finds, what it finds by mistake, how long it takes, how much memory.

Among the rows of a synthetic task, a third each of the planted test rows are exact copies of train rows, copies with
other white space and case, and copies with 5 to 10 % of their words edited (replaced, left out, added, misspelt).
As many validation rows again repeat half of a train row and go on differently: finding those is a mistake.

The finder runs in a process of its own. The last line of the output is JSON.
"""

from __future__ import annotations

import json
import os
import random
import resource
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

QUICK = {"rows": 20_000, "planted": 200}
INSTRUCTION = "Read the text below with care and write one sentence that says what it is about."
FUNCTION = (
    "the of and to a in that it is was for on with as he she be at by this had not are but from or have an they which"
    " one you were all her his their there been if more when will would who so no out up into than them can only other"
    " time new some could these two may then do first any my now such like our over man me even most made after also"
).split()
PHRASES = (
    "one of the|at the end of the day|as soon as|in front of the|for the first time|on the other hand|a lot of|"
    "as well as|in the middle of the|there was no|it was not|would have been|by the way|in the end|more or less"
).split("|")
KINDS = ("exact", "spacing", "edited")
FIND = "find"  # the argument that makes the finder's process


class Writer:
    """Texts with the habits of prose: few words that are frequent, many that are rare, phrases, topics, sentences."""

    def __init__(self, seed: int, words: int = 30_000) -> None:
        self.rng = np.random.default_rng(seed)
        self.words = self._vocabulary(words)
        weights = 1 / (np.arange(words) + 20.0)
        self.cumulative = np.cumsum(weights / weights.sum())

    def _vocabulary(self, n: int) -> list[str]:
        onsets, vowels, codas = (
            "b d f g k l m n p r s t st tr pl sh".split(),
            "a e i o u ea".split(),
            " n r s l m nd ck",
        )
        found: dict[str, None] = {}
        while len(found) < n:
            syllables = [
                self.rng.choice(onsets) + self.rng.choice(vowels) + self.rng.choice(codas.split(" "))
                for _ in range(self.rng.integers(1, 4))
            ]
            found["".join(syllables)] = None
        return list(found)

    def text(self) -> str:
        """12 to 400 words, median about 60, in sentences."""
        rng = self.rng
        length = int(np.clip(rng.lognormal(4.1, 0.6), 12, 400))
        draws = np.minimum(np.searchsorted(self.cumulative, rng.random(length)), len(self.words) - 1)
        topic = draws[: max(3, length // 12)]
        draws = np.where(rng.random(length) < 0.15, rng.choice(topic, length), draws)  # a text repeats its subjects
        kind = rng.random(length)
        small = rng.integers(0, len(FUNCTION), length)
        skewed = np.minimum(small, rng.integers(0, len(FUNCTION), length))
        words: list[str] = []
        for i in range(length):
            if kind[i] < 0.42:
                words.append(FUNCTION[skewed[i]])
            elif kind[i] < 0.44:
                words += PHRASES[small[i] % len(PHRASES)].split()
            else:
                words.append(self.words[draws[i]])
        words = words[:length]
        begin = True
        for i in range(len(words)):
            word = words[i].capitalize() if begin else words[i]
            begin = kind[i] > 0.92
            words[i] = word + ("." if begin else "," if kind[i] < 0.03 else "")
        return " ".join(words)


def respaced(text: str, rng: random.Random) -> str:
    """Other white space and case."""
    change = rng.choice((str.upper, str.title, str.swapcase, str.lower))
    return "".join(rng.choice(("  ", "\n", " \t", " ")) if letter == " " else letter for letter in f" {change(text)} ")


def edited(text: str, rng: random.Random, writer: Writer) -> str:
    """5 to 10 % of the words edited, at least one: six in ten replaced, the others left out, added or misspelt."""
    words: list[str | None] = [*text.split()]
    least, most = max(1, -(-len(words) * 5 // 100)), max(1, len(words) * 10 // 100)
    for place in rng.sample(range(len(words)), rng.randint(least, max(least, most))):
        word = str(words[place])
        draw = rng.random()
        if draw < 0.6:
            words[place] = rng.choice(writer.words)
        elif draw < 0.75:
            words[place] = None
        elif draw < 0.9:
            words[place] = f"{word} {rng.choice(writer.words)}"
        else:
            middle = rng.randint(1, len(word))
            words[place] = f"{word[:middle]}{rng.choice('aeiourst')}{word[middle:]}"
    return " ".join(word for word in words if word is not None)


def make_rows(rows: int, planted: int, seed: int) -> list[dict[str, str]]:
    """Rows with part, kind and (for planted ones) the number of the train row they copy; ``planted`` of each kind."""
    rng, writer = random.Random(seed), Writer(seed)
    fresh = [writer.text() for _ in range(rows - 4 * planted)]
    held = max(1, rows // 10)
    train = fresh[: len(fresh) - max(0, 2 * held - 4 * planted)]
    made = [{"split": "train", "kind": "train", "input": text} for text in train]
    for i, text in enumerate(fresh[len(train) :]):
        made.append({"split": ("validation", "test")[i % 2], "kind": "fresh", "input": text})
    for place, source in enumerate(rng.sample(range(len(train)), 4 * planted)):
        kind = (*KINDS, "half")[place % 4]
        text = train[source]
        if kind == "spacing":
            text = respaced(text, rng)
        elif kind == "edited":
            text = edited(text, rng, writer)
        elif kind == "half":
            words = text.split()
            text = " ".join([*words[: len(words) // 2], *writer.text().split()][: len(words)])
        part = "validation" if kind == "half" else "test"
        made.append({"split": part, "kind": kind, "input": text, "source": str(source)})
    return made


def measure(made: Sequence[dict[str, str]]) -> dict[str, Any]:
    """Recall by kind (of the copied train rows), false alarms among all other rows, and seconds."""
    from keeptune.data.examples import Example, Splits
    from keeptune.data.splits.leakage import find_leaks

    parts: dict[str, list[Example]] = {"train": [], "validation": [], "test": []}
    for line, row in enumerate(made):
        fields = {"instruction": INSTRUCTION, "input": row["input"]}
        parts[row["split"]].append(Example.make(fields, path="rows.jsonl", line=line))
    start = time.perf_counter()
    report = find_leaks(Splits(parts["train"], parts["validation"], parts["test"]))
    seconds = time.perf_counter() - start
    found = {int(pair.where.rpartition(":")[2]) for pair in (*report.copies, *report.near)}
    planted = {int(row["source"]): row["kind"] for row in made if row["kind"] in KINDS}
    total = Counter(planted.values())
    hits = Counter(kind for source, kind in planted.items() if source in found)
    halves = {int(row["source"]) for row in made if row["kind"] == "half"}
    wrong = found - planted.keys()
    return {
        "rows": len(made),
        "planted": dict(total),
        "recall": {kind: round(hits[kind] / total[kind], 5) for kind in KINDS if total[kind]},
        "false_alarms": len(wrong),
        "false_alarms_at_halves": len(wrong & halves),
        "false_alarm_rate": len(wrong) / (len(made) - len(planted)),
        "seconds": round(seconds, 1),
    }


def find(path: Path) -> None:
    """The process whose time and memory are measured: one line of JSON."""
    result = measure([json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    print(json.dumps({**result, "peak_bytes": peak}))


def main() -> None:
    """Make the set, run the finder in a process of its own, print one line of JSON."""
    from common.options import base_parser, parse  # here: they bring torch, which the finder's process does without
    from common.report import finish, header
    from common.workers import environment

    parser = base_parser(__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--planted", type=int, default=1_000, help="rows of each kind")
    options = parse(parser, QUICK)
    os.environ.setdefault("GLIBC_TUNABLES", "")  # freed memory goes back, as for users: it is memory that is measured
    with TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        with path.open("w", encoding="utf-8") as file:
            for row in make_rows(options.rows, options.planted, options.seed):
                file.write(json.dumps(row) + "\n")
        command = [sys.executable, __file__, FIND, str(path)]
        found = subprocess.run(
            command, check=True, env=environment(options.threads), stdout=subprocess.PIPE, text=True
        ).stdout
    result = json.loads(found)
    finish({**header("leaks", options), "result": result}, {"benchmark": "leaks", **result}, options.json)


if __name__ == "__main__":
    if sys.argv[1:2] == [FIND]:
        find(Path(sys.argv[2]))
    else:
        main()
