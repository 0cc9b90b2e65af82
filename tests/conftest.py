"""Models and tokenizers of toy size, built on the spot: nothing is downloaded."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from keeptune.data.examples import Encoded

sys.path.insert(0, str(Path(__file__).parent))
import tiny_models

settings.register_profile("keeptune", deadline=None)  # a busy machine fails no test
settings.load_profile("keeptune")

TEXT = (
    "Once upon a time a small model learned to add numbers, to sort words and to say where the dog was.",
    "Question: which of these does not belong? apple, pear, hammer, plum. Answer: hammer.",
    "Translate into German: the house is red and the garden is green. Das Haus ist rot und der Garten ist grün.",
    "Summarise: the meeting was moved to Tuesday because the room was taken. The meeting is on Tuesday.",
)


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Scores of base models that the user keeps, perhaps made by another state of the code, are not for tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KEEPTUNE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def install(tmp_path: Path) -> Callable[[str], None]:
    """Writes what pip leaves beside a package ``my_package`` in ``tmp_path``: its name and its entry points."""

    def write(entry_points: str) -> None:
        metadata = tmp_path / "my_package-1.0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
        (metadata / "entry_points.txt").write_text(f"[keeptune]\n{entry_points}\n")

    return write


@pytest.fixture
def run_code() -> Callable[[str, Path, str], subprocess.CompletedProcess[str]]:
    """Runs Python code in another process: the code, its folder, and what stands first on its path."""

    def python(code: str, folder: Path, path: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (path, os.environ.get("PYTHONPATH"))))}
        return subprocess.run(
            [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True, check=False
        )

    return python


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    """A byte-level BPE tokenizer with about 320 pieces, <s>, </s> and <pad>; no chat template, no BOS added."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=["<pad>", "<s>", "</s>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    raw.train_from_iterator(TEXT, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=raw, bos_token="<s>", eos_token="</s>", pad_token="<pad>", model_max_length=128
    )


@pytest.fixture(scope="session")
def build(tokenizer: Any) -> Callable[..., Any]:
    """``build(architecture, seed=0, **config)`` makes a random two-layer transformers model for the tokenizer.

    The architectures are those of `tiny_models.SETTINGS`.
    """
    special = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": 0}

    def make(architecture: str, seed: int = 0, **overrides: Any) -> Any:
        return tiny_models.make(architecture, seed, **{"vocab_size": len(tokenizer), **special, **overrides})

    return make


@pytest.fixture
def tiny(build: Callable[..., Any], tokenizer: Any) -> Any:
    """A fresh `LanguageModel`: random two-layer Llama in float32 (context 128)."""
    from keeptune.models.language_model import LanguageModel

    return LanguageModel.wrap(build("llama"), tokenizer, name="tiny")


@pytest.fixture
def tiny_gpt2(build: Callable[..., Any], tokenizer: Any) -> Any:
    """A fresh `LanguageModel`: random two-layer GPT-2 in float32 without dropout."""
    from keeptune.models.language_model import LanguageModel

    model = build("gpt2", attn_pdrop=0.0, embd_pdrop=0.0, resid_pdrop=0.0)
    return LanguageModel.wrap(model, tokenizer, name="tiny-gpt2")


@pytest.fixture(scope="session")
def tiny_folder(build: Callable[..., Any], tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model of ``tiny`` as a Hugging Face folder in float32. Read it, never write to it."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    build("llama").save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def random_rows(tokenizer: Any) -> Callable[..., list[Encoded]]:
    """``random_rows(n, seed=0, longest=20)``: encoded rows of different lengths, each ending in EOS."""

    def make(n: int, seed: int = 0, longest: int = 20) -> list[Encoded]:
        draw = random.Random(seed)

        def ids(low: int) -> tuple[int, ...]:
            return tuple(draw.randrange(3, len(tokenizer)) for _ in range(draw.randint(low, longest // 2)))

        return [Encoded(f"row{i}", ids(2), (*ids(1), tokenizer.eos_token_id)) for i in range(n)]

    return make


@pytest.fixture(scope="session")
def branching_rows() -> Callable[..., list[Encoded]]:
    """``branching_rows(n, seed=0, longest=40, vocabulary=300)``: rows that go on where an earlier one may be cut.

    Among them are copies of one another, prefixes of one another and rows that share nothing.
    """

    def make(n: int, seed: int = 0, longest: int = 40, vocabulary: int = 300) -> list[Encoded]:
        draw, rows = random.Random(seed), []
        for number in range(n):
            before = draw.choice(rows) if rows and draw.random() < 0.8 else Encoded("", (), ())
            ids = (*before.prompt_ids, *before.completion_ids)
            if draw.random() < 0.8:  # otherwise it goes on where the other ends, or equals it
                ids = ids[: draw.randint(0, len(ids))]
            room = longest - len(ids)
            fewest = max(0, 2 - len(ids))
            ids = (*ids, *(draw.randrange(3, vocabulary) for _ in range(draw.randint(fewest, max(room, fewest)))))
            cut = draw.choice([0, draw.randint(0, len(ids) - 1), len(ids) - 1])
            rows.append(Encoded(f"row{number}", ids[:cut], ids[cut:]))
        return rows

    return make


@pytest.fixture(scope="session")
def ancestors() -> Callable[..., Any]:
    """``ancestors(batch)``: [T, T] bool, whether a token is another one or stands in front of it in its sequence."""
    import torch

    def make(batch: Any) -> Any:
        segments = batch.segments.tolist()
        seen = torch.zeros(len(batch.input_ids), len(batch.input_ids), dtype=torch.bool)
        for start, length, parent in segments:
            for row in range(start, start + length):
                seen[row, start : row + 1] = True
                if parent >= 0:
                    seen[row] |= seen[segments[parent][0] + segments[parent][1] - 1]
        return seen

    return make


@pytest.fixture(scope="session")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished study of the built-in base: two-shot prompting, full and LoRA after a few steps. Never write to it."""
    import keeptune as kt

    study = kt.Study(
        model="builtin",
        target="builtin:orders",
        retain="builtin:alphabet",
        arms=["prompt", "full", "lora"],
        seeds=[0],
        prompt={"shots": [2], "draws": 1},
        train={"max_steps": 3, "global_batch": 4},
        full={"learning_rates": [1e-3]},
        lora={"rank": 4, "learning_rates": [1e-2]},
        validation_items=20,
        test_items=20,
        workers=1,
        precision="fp32",
    )
    return study.run(tmp_path_factory.mktemp("small") / "run", quiet=True).folder
