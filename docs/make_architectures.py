"""Write docs/architectures.md: what tests/integration/test_architectures.py runs, row by row.

    python docs/make_architectures.py

A row says of an architecture what that test finds; where the two differ, or the page is another one, it fails.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

PAGE = Path(__file__).parent / "architectures.md"
COMMAND = "python docs/make_architectures.py"

PAIRS = "encoder-decoder"
BALANCE = "its routers train without their auxiliary loss, and a warning says so"


@dataclass(frozen=True)
class Row:
    """One architecture: how it runs, and what is special about it."""

    model_type: str  # in config.json, and in tests/tiny_models.py
    family: str
    architecture: str  # the class of transformers
    engine: str  # "flat", "padded" or "encoder-decoder"
    notes: str


ROWS = (
    Row("llama", "Llama", "LlamaForCausalLM", "flat", "grouped heads; the head is the embedding"),
    Row("qwen3", "Qwen3", "Qwen3ForCausalLM", "flat", "norms of queries and keys"),
    Row("gemma3_text", "Gemma 3 (text)", "Gemma3ForCausalLM", "flat", "layers with and without a local window"),
    Row("mistral", "Mistral", "MistralForCausalLM", "flat", "a local window"),
    Row("phi3", "Phi-3", "Phi3ForCausalLM", "flat", "query, key and value in one layer"),
    Row("gpt2", "GPT-2", "GPT2LMHeadModel", "flat", "transposed linear layers, learned positions, dropout"),
    Row("gpt_neox", "GPT-NeoX", "GPTNeoXForCausalLM", "flat", "attention beside the feed-forward layer"),
    Row("opt", "OPT", "OPTForCausalLM", "flat", "learned positions, dropout"),
    Row(
        "falcon",
        "Falcon",
        "FalconForCausalLM",
        "padded",
        "one head of keys and values; its attention is not one of transformers' attention functions",
    ),
    Row("olmo2", "OLMo 2", "Olmo2ForCausalLM", "flat", "norms behind the layers"),
    Row("smollm3", "SmolLM3", "SmolLM3ForCausalLM", "flat", "layers with and without positions"),
    Row(
        "qwen3_moe",
        "Qwen3-MoE",
        "Qwen3MoeForCausalLM",
        "flat",
        f"LoRA adds to experts and routers, too; {BALANCE}",
    ),
    Row("mamba2", "Mamba 2", "Mamba2ForCausalLM", "padded", "a recurrence, which goes along the row as it lies there"),
    Row(
        "lfm3",
        "LFM3",
        "Lfm3ForCausalLM",
        "padded",
        "short convolutions between layers of attention: they mix what lies side by side",
    ),
    Row(
        "flint",
        "Flint",
        "FlintForCausalLM",
        "padded",
        f"sinks in attention, which the flat engine has not; LoRA leaves routed experts and routers as they are;"
        f" {BALANCE}",
    ),
    Row("t5", "T5", "T5ForConditionalGeneration", PAIRS, "relative positions; the head is the embedding, scaled"),
    Row("mt5", "mT5", "MT5ForConditionalGeneration", PAIRS, "gated feed-forward layers, a head of its own, as FLAN-T5"),
    Row("bart", "BART", "BartForConditionalGeneration", PAIRS, "learned positions"),
)

TEXT = """# Architectures

`tests/integration/test_architectures.py` makes a random model of two layers of each architecture, stores it with a toy
tokenizer, loads it, and does with it what a study does. What comes out is compared with what plain transformers and
plain peft give for one row at a time, in fp32 on a CPU; the versions are those of
[constraints.txt](../constraints.txt). No published weights take part: the page says that the code is right, not that a
model of seven billion parameters fits.

- engine: `flat` lays rows end to end and computes shared prefixes once; `padded` gives each row a line of its own,
  which is slower. Logits agree to 1e-5 of their spread, the loss to 1e-5, and each gradient to 1e-5 of its largest
  value; loss and gradient are those of the padded engine, too. `encoder-decoder` reads a prompt once for all its
  answers.
- full, LoRA: a few steps of training, stored. transformers or peft alone read the folder and give the same logits, and
  so does LoRA merged into the weights, to 1e-5 of their spread.
- generates: greedy answers are those of transformers' `generate`.
- k shots: choices behind two worked examples have the sums of log-probabilities of a plain forward, to 2e-5 nats.

"""


def page() -> str:
    """All of docs/architectures.md."""
    head = ["architecture", "class", "engine", "full", "LoRA", "generates", "k shots", "notes"]
    rows = [[row.family, f"`{row.architecture}`", row.engine, *["yes"] * 4, row.notes] for row in ROWS]
    lines = [head, ["---"] * len(head), *rows]
    return TEXT + "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
