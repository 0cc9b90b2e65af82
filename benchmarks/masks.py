"""Token ids and labels of keeptune beside those of TRL: thirty real rows of every format that TRL's `SFTTrainer` takes.

    git clone https://github.com/hiyouga/LLaMA-Factory
    python benchmarks/masks.py LLaMA-Factory/data --source "hiyouga/LLaMA-Factory, its commit" --write

Both sides get the same rows. TRL's come out of its trainer's preparation and its collator (a tiny random model on the
CPU), keeptune's out of its readers, templates and `Encoder`. Every difference is put into a class, and taken away from
the row; what is left must be equal, or the row counts as unexplained and the exit code is 1. ``--write`` puts the table
into docs/masks.md, whose prose says what the classes are. Rows are only read, none is kept.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from common.mask_classes import UNKNOWN, Comparison, Differ, Ids
from common.page import filled
from common.report import versions
from keeptune.core.errors import DataError
from keeptune.data.encode.encoder import Encoder
from keeptune.data.encode.window import Overlong
from keeptune.data.load import load_examples
from keeptune.data.prompts.templates import TemplateSet, default_templates
from sides.masks_trl import prepared, template

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "masks.md"
WINDOW = 256  # of the rows that are too long
UNLIMITED = 1_000_000
CHATML = (
    "{% if tools %}<|im_start|>system\n{% for t in tools %}{{ t | tojson }}\n{% endfor %}<|im_end|>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' %}{% generation %}{{ m.content }}"
    "{% for c in m.tool_calls or [] %}<tool_call>{{ c.function | tojson }}</tool_call>{% endfor %}<|im_end|>"
    "{% endgeneration %}{% else %}{{ m.content }}<|im_end|>{% endif %}{{ '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
UNMARKED = CHATML.replace("{% generation %}", "").replace("{% endgeneration %}", "")
ROLES = {"system": "system", "human": "user", "gpt": "assistant", "observation": "tool"}
Row = dict[str, Any]


@dataclass(frozen=True)
class Sources:
    """The rows that are compared, as their files have them."""

    texts: list[Row]
    pairs: list[Row]
    talks: list[Row]  # several answers, no calls
    calls: list[Row]
    strings: list[Row]  # calls whose arguments are texts


@dataclass(frozen=True)
class Case:
    """Rows in one format, and what both sides are told.

    ``settings`` are TRL's beside its defaults; ``everything`` says that they train more than answers. ``mixed`` is what
    `Dataset.from_list` is told of columns whose values are of several types.
    """

    format: str
    settings: dict[str, Any]
    rows: Callable[[Sources], list[Row]]
    tokenizer: str = "plain"
    everything: bool = False
    mixed: str | None = None


@dataclass
class Outcome:
    """What came out of a case."""

    rows: int = 0
    compared: list[Comparison] = field(default_factory=list)
    classes: Counter[str] = field(default_factory=Counter)
    refusals: list[str] = field(default_factory=list)


def text_of(pair: Row) -> str:
    """Instruction and input."""
    return "\n\n".join(text for text in (pair["instruction"], pair.get("input", "")) if text)


def glued(between: str) -> Callable[[Sources], list[Row]]:
    """Prompt and completion, something between them at the end of the prompt."""
    return lambda s: [{"prompt": text_of(pair) + between, "completion": pair["output"]} for pair in s.pairs]


def message(turn: Row, *, as_text: bool) -> Row:
    """A turn of ShareGPT's as OpenAI writes it."""
    if turn["from"] != "function_call":
        return {"role": ROLES[turn["from"]], "content": turn["value"]}
    found = json.loads(turn["value"])
    calls = found if isinstance(found, list) else [found]
    if as_text:
        calls = [{**call, "arguments": json.dumps(call["arguments"], ensure_ascii=False)} for call in calls]
    return {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": c} for c in calls]}


def messages(row: Row, *, as_text: bool = False) -> list[Row]:
    """All turns."""
    return [message(turn, as_text=as_text) for turn in row["conversations"]]


def talks(s: Sources) -> list[Row]:
    """Conversations of text."""
    return [{"messages": messages(row)} for row in s.talks]


def calls(as_text: bool = False, strings: bool = False) -> Callable[[Sources], list[Row]]:
    """Conversations with calls, and their tools as JSON; those whose arguments are texts."""

    def made(s: Sources) -> list[Row]:
        rows = []
        for row in s.strings if strings else s.calls:
            tools = [{"type": "function", "function": tool} for tool in json.loads(row["tools"])]
            rows.append({"messages": messages(row, as_text=as_text), "tools": json.dumps(tools, ensure_ascii=False)})
        return rows

    return made


def sharegpt(s: Sources) -> list[Row]:
    """As the file has them."""
    return [{"conversations": row["conversations"]} for row in s.talks]


def halves(prompt: int) -> Callable[[Sources], list[Row]]:
    """Turns in a prompt (that many; from the end where negative) and turns in a completion."""
    return lambda s: [{"prompt": m[:prompt], "completion": m[prompt:]} for m in map(messages, s.talks)]


ANSWERS = {"assistant_only_loss": True}
CASES = (
    Case("`text`", {}, lambda s: [{"text": row["text"]} for row in s.texts]),
    Case("`text`, a tokenizer without BOS", {}, lambda s: [{"text": row["text"]} for row in s.texts], "bare"),
    Case("`prompt`, `completion`; a blank line between", {}, glued("\n\n")),
    Case("the same; the prompt ends in a space", {}, glued("\n\nAnswer: ")),
    Case("the same; nothing between", {}, glued("")),
    Case("the same; a blank line between", {"completion_only_loss": False}, glued("\n\n"), everything=True),
    Case("the same; longer than the window", {"max_length": WINDOW}, glued("\n\n")),
    Case("`messages`", {}, talks, "marked", everything=True),
    Case("`messages`", ANSWERS, talks, "marked"),
    Case("`messages`", ANSWERS, talks, "qwen2_5"),
    Case("`messages`", ANSWERS, talks, "qwen3"),
    Case("`messages`", ANSWERS, talks, "unmarked"),
    Case("`messages`, `tools`", ANSWERS, calls(), "marked"),
    Case("`messages`, `tools`; loaded with `use_json`", ANSWERS, calls(), "marked", mixed="use_json"),
    Case("`messages`, `tools`; loaded with `use_json`", ANSWERS, calls(), "qwen2_5", mixed="use_json"),
    Case("`messages`, `tools`; all arguments are texts", ANSWERS, calls(strings=True), "marked"),
    Case("`messages`, `tools`; arguments are JSON in a text", ANSWERS, calls(as_text=True), "marked"),
    Case("`conversations` (from, value)", {}, sharegpt, "marked", everything=True),
    Case("`conversations` (from, value)", ANSWERS, sharegpt, "marked"),
    Case("`prompt`, `completion` of messages; one answer", {}, halves(-1), "marked"),
    Case("`prompt`, `completion` of messages; one answer", ANSWERS, halves(-1), "marked"),
    Case("`prompt`, `completion` of messages; one answer", {}, halves(-1), "qwen2_5"),
    Case("`prompt`, `completion` of messages; one answer", {}, halves(-1), "qwen3"),
    Case("`prompt`, `completion` of messages; several", {}, halves(1), "marked", everything=True),
    Case("`prompt`, `completion` of messages; several", ANSWERS, halves(1), "marked"),
)
TOKENIZERS = {
    "plain": "",
    "bare": "",
    "marked": "ChatML with markers",
    "unmarked": "ChatML without",
    "qwen2_5": "Qwen2.5's",
    "qwen3": "Qwen3's",
}


def make_tokenizer(folder: str, kind: str) -> Any:
    """The tokenizer as it is, without BOS, or with a chat template: no BOS, turns and padding end in <|im_end|>."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    if kind == "plain":
        return tokenizer
    tokenizer.backend_tokenizer.post_processor = None
    tokenizer.bos_token = None
    if kind == "bare":
        return tokenizer
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    tokenizer.eos_token = tokenizer.pad_token = "<|im_end|>"
    tokenizer.chat_template = {"marked": CHATML, "unmarked": UNMARKED}.get(kind) or template(kind)
    return tokenizer


def encoded(rows: Sequence[Row], tokenizer: Any, window: int) -> tuple[Encoder, dict[int, Ids | str]]:
    """keeptune's rows by number; instead of a row the reason why there is none."""
    encoder = Encoder(tokenizer, context=window, chat=tokenizer.chat_template is not None)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
        loaded = load_examples(str(path))
    assert loaded.layout is not None
    system = "{{ system }}" if "system" in loaded.layout.roles else None
    wording = TemplateSet(default_templates(loaded.layout), system=system, chat=encoder.chat)
    found: dict[int, Ids | str] = {}
    for example in loaded.examples:
        try:
            row = encoder.encode(wording.fixed(example))
        except DataError as error:
            found[example.line - 1] = error.message
            continue
        if isinstance(row, Overlong):
            found[example.line - 1] = row.reason
            continue
        mask = [False] * len(row)
        for start, stop in row.spans:
            mask[len(row.prompt_ids) + start : len(row.prompt_ids) + stop] = [True] * (stop - start)
        found[example.line - 1] = Ids.of((*row.prompt_ids, *row.completion_ids), mask)
    return encoder, found


def run(case: Case, sources: Sources, tokenizer: Any) -> Outcome:
    """Both sides of a case, compared."""
    rows = case.rows(sources)
    settings = {"max_length": None, **case.settings}
    theirs = prepared(rows, tokenizer, settings, case.mixed)
    encoder, ours = encoded(rows, tokenizer, settings["max_length"] or UNLIMITED)
    outcome = Outcome(len(rows))
    if isinstance(theirs, str):
        outcome.refusals.append(theirs)
    differ = Differ(tokenizer, encoder.end_id, case.everything)
    for number in range(len(rows)):
        a, b = None if isinstance(theirs, str) else theirs.get(number), ours[number]
        if a is None:
            outcome.classes[theirs.split(":")[0] if isinstance(theirs, str) else "left out by TRL, too"] += 1
        if isinstance(b, str):
            outcome.refusals.append(f"keeptune: {b}")
            cut = a is not None and len(a[0]) == settings["max_length"] and a[0][-1] != encoder.end_id
            if a is not None:
                outcome.classes["cut" if cut else "keeptune refuses"] += 1
        elif a is not None:
            found = differ.compare(Ids(tuple(a[0]), tuple(a[1])), b)
            outcome.compared.append(found)
            outcome.classes.update(found.classes)
    return outcome


def cells(case: Case, outcome: Outcome) -> list[str]:
    """A line of the table."""
    told = ", ".join(f"`{key}={value}`" for key, value in case.settings.items()) or "defaults"
    counts = [sum(getattr(c, name) for c in outcome.compared) for name in ("same_ids", "same_labels", "same_loss")]
    classes = "; ".join(f"{name} {count}" for name, count in sorted(outcome.classes.items()))
    template_name = TOKENIZERS[case.tokenizer]
    return [case.format, template_name, told, str(outcome.rows), *map(str, counts), classes]


def table(outcomes: Sequence[tuple[Case, Outcome]]) -> Iterator[str]:
    """The table's lines."""
    head = ["format", "chat template", "TRL's setting", "rows", "same ids", "same labels", "same loss", "differences"]
    yield f"| {' | '.join(head)} |"
    yield "|---" * len(head) + "|"
    for each in outcomes:
        yield f"| {' | '.join(cells(*each))} |"


def read(path: Path) -> list[Row]:
    """Rows of a JSON or JSON-lines file."""
    text = path.read_text(encoding="utf-8")
    rows = json.loads(text) if text.lstrip().startswith("[") else [json.loads(x) for x in text.splitlines() if x]
    return list(rows)


def called(row: Row) -> bool:
    """Whether a conversation has a call."""
    return any(turn["from"] == "function_call" for turn in row["conversations"])


def of_texts(row: Row) -> bool:
    """Whether all arguments of its calls are texts."""
    made = [call for turn in messages(row) for call in turn.get("tool_calls", ())]
    return all(isinstance(value, str) for call in made for value in call["function"]["arguments"].values())


def caption(options: argparse.Namespace, files: Sequence[Path]) -> str:
    """Where the rows come from, with which versions."""
    hashes = ", ".join(f"`{p.name}` `{hashlib.sha256(p.read_bytes()).hexdigest()[:16]}`" for p in files)
    found = ", ".join(f"{k} {v}" for k, v in versions().items() if k in ("keeptune", "transformers", "trl"))
    today = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    source = f" in {options.source}" if options.source else ""
    return (
        f"The first {options.rows} rows of every kind{source} (SHA-256, first 16 digits): {hashes}. {today}, {found}."
    )


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="holds the files, where none are named")
    parser.add_argument("--texts", type=Path, help="rows with text (c4_demo.jsonl)")
    parser.add_argument("--pairs", type=Path, help="rows with instruction, input, output (alpaca_en_demo.json)")
    parser.add_argument("--talks", type=Path, help="ShareGPT rows with tools (glaive_toolcall_en_demo.json)")
    parser.add_argument("--rows", type=int, default=30, help="of every format")
    parser.add_argument("--tokenizer", default=str(ROOT / "src/keeptune/builtin/model"), help="a byte-level one")
    parser.add_argument("--source", default="", help="where the rows are published, for the caption")
    parser.add_argument("--write", action="store_true", help="put the table into docs/masks.md")
    return parser.parse_args(arguments)


def load(options: argparse.Namespace) -> tuple[Sources, list[Path]]:
    """The rows, and their files."""
    names: Mapping[str, str] = {
        "texts": "c4_demo.jsonl",
        "pairs": "alpaca_en_demo.json",
        "talks": "glaive_toolcall_en_demo.json",
    }
    files = [getattr(options, kind) or options.folder / name for kind, name in names.items()]
    texts, pairs, both = map(read, files)
    long = [row for row in both if not called(row) and len(row["conversations"]) > 2]
    calling = list(filter(called, both))
    kinds = (texts, pairs, long, calling, list(filter(of_texts, calling)))
    return Sources(*(rows[: options.rows] for rows in kinds)), files


def main(arguments: Sequence[str] | None = None) -> int:
    """See the module's docstring."""
    options = parse(arguments)
    sources, files = load(options)
    outcomes = []
    for case in CASES:
        outcome = run(case, sources, make_tokenizer(options.tokenizer, case.tokenizer))
        outcomes.append((case, outcome))
        print(" | ".join(cells(case, outcome)), flush=True)
        for refusal, count in Counter(outcome.refusals).items():
            print(f"    {count}: {refusal[:200]}")
        for found in outcome.compared:
            if found.shown:
                print(found.shown, file=sys.stderr)
    made = "\n".join([caption(options, files), "", *table(outcomes)])
    if options.write:
        PAGE.write_text(filled(PAGE, {"masks": made}, writer="masks"), encoding="utf-8")
    unknown = [c for c in chain.from_iterable(outcome.compared for _, outcome in outcomes) if UNKNOWN in c.classes]
    return 1 if unknown else 0


if __name__ == "__main__":
    sys.exit(main())
