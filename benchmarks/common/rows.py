"""Rows of a data set as token ids: read, tokenised and put in order once, the same for both sides."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keeptune import builtin

PROSE = "prose"
PIECES = 8192
Ids = tuple[int, ...]
Example = tuple[Ids, Ids]  # prompt and completion; the completion ends with the end token


@dataclass(frozen=True)
class Row:
    """A prompt with its completions: several where the set has several references."""

    prompt: str
    completions: tuple[str, ...]


@dataclass(frozen=True)
class DataSet:
    """A named list of rows."""

    name: str
    rows: list[Row]


def read_set(source: str, seed: int) -> DataSet:
    """Rows of ``FILE.jsonl`` (its train part), of one part (``FILE.jsonl:test``), or `prose_rows`.

    A line of the file is a JSON object with ``input``, ``output`` or ``outputs``, and often ``instruction`` and
    ``split``. The order of rows is drawn from the seed.
    """
    if source == PROSE:
        return DataSet(PROSE, prose_rows(1000, seed))
    path, _, named = source.partition(":")
    lines = [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines() if line.strip()]
    parts = {line.get("split") for line in lines}
    part = named or ("train" if "train" in parts else "")
    rows = [_row(line) for line in lines if not part or line.get("split") == part]
    if not rows:
        raise SystemExit(f"{path} has no rows in its part '{part}', only in {sorted(map(str, parts))}")
    random.Random(seed).shuffle(rows)
    return DataSet(Path(path).stem + (f":{named}" if named else ""), rows)


def _row(line: dict[str, Any]) -> Row:
    texts = [line.get("instruction", ""), line["input"]]
    completions = line.get("outputs") or [line["output"]]
    return Row("\n\n".join(text for text in texts if text) + "\n\n", tuple(dict.fromkeys(completions)))


def prose_rows(n: int, seed: int) -> list[Row]:
    """Passages of the built-in prose with the words that follow them: lengths as of short dialogues and summaries.

    Nothing is shared between rows but the instruction.
    """
    words = (builtin.task_path("prose").parent / "prose.txt").read_text(encoding="utf-8").split()
    draw = random.Random(seed)
    rows = []
    for _ in range(n):
        seen = round(min(max(draw.lognormvariate(4.75, 0.5), 25), 300))
        wanted = round(min(max(draw.lognormvariate(3.0, 0.5), 4), 60))
        start = draw.randrange(len(words) - seen - wanted)
        passage, rest = words[start : start + seen], words[start + seen : start + seen + wanted]
        rows.append(Row(f"Continue the story.\n\n{' '.join(passage)}\n\n", (" ".join(rest),)))
    return rows


def make_tokenizer(texts: Iterable[str], folder: Path) -> None:
    """Train a byte-level BPE tokenizer of 8,192 pieces and save it as transformers reads it."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=PIECES,
        special_tokens=["<pad>", "<eos>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator(texts, trainer)
    PreTrainedTokenizerFast(tokenizer_object=raw, pad_token="<pad>", eos_token="<eos>").save_pretrained(folder)


def load_tokenizer(folder: str | Path) -> Any:
    """A tokenizer from its folder; it pads with its end token where it has no other."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    return tokenizer


def prepare_tokenizer(sets: Sequence[DataSet], given: str | None, folder: Path) -> Path:
    """The folder of the tokenizer to use: the one that is given, else one trained on all rows."""
    if given:
        return Path(given)
    make_tokenizer((text for s in sets for row in s.rows for text in (row.prompt, *row.completions)), folder)
    return folder


def encode(rows: Sequence[Row], tokenizer: Any, max_length: int | None = None) -> list[Example]:
    """One example per completion, those of a row one after the other; longer ones than ``max_length`` are left out.

    Prompt and completion are tokenised apart, so the boundary between them is the same everywhere.
    """
    end = tokenizer.eos_token_id
    prompts = tokenizer([row.prompt for row in rows])["input_ids"]
    examples = []
    for row, prompt in zip(rows, prompts, strict=True):
        completions = tokenizer(list(row.completions), add_special_tokens=False)["input_ids"]
        examples += [(tuple(prompt), (*completion, end)) for completion in completions]
    return [e for e in examples if max_length is None or len(e[0]) + len(e[1]) <= max_length]


def sharing(examples: Sequence[Example]) -> float:
    """Tokens over distinct prefix tokens: how often a prefix tree would hold the average token."""
    paths = sorted(prompt + completion for prompt, completion in examples)
    distinct = sum(len(path) - _common(path, before) for path, before in zip(paths, [(), *paths], strict=False))
    return sum(map(len, paths)) / distinct


def _common(a: Ids, b: Ids) -> int:
    """Length of the common prefix."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def write_examples(examples: Sequence[Example], path: Path) -> None:
    """As a worker reads them."""
    path.write_text(json.dumps(examples), encoding="utf-8")


def read_examples(path: str) -> list[Example]:
    """What `write_examples` wrote."""
    return [(tuple(p), tuple(c)) for p, c in json.loads(Path(path).read_text(encoding="utf-8"))]
