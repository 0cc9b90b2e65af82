"""The training rows of the base model: blocks of prose and answered questions, as token ids."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from itertools import islice

from jinja2 import Environment, StrictUndefined
from transformers import PreTrainedTokenizerFast

import skills
from keeptune.data.examples import Encoded

ENVIRONMENT = Environment(undefined=StrictUndefined)


def render(template: str, fields: Mapping[str, object]) -> tuple[str, str]:
    """Prompt and completion of a wording; one space joins them, at the front of the completion."""
    prompt, completion = ENVIRONMENT.from_string(template).render(**fields).split("|||")
    return prompt.strip(), " " + completion.strip()


def skill_texts(count: int, seed: int, fewer: Sequence[str] = ()) -> list[tuple[str, str, str]]:
    """(skill, prompt, completion) of `count` questions of every skill, from the pool "base", wordings drawn at random.

    The skills named in `fewer` get a quarter of them.
    """
    out = []
    for skill in skills.SKILLS:
        rng = random.Random(f"{seed}:{skill.name}")
        compiled = [ENVIRONMENT.from_string(t) for t in skill.templates]
        for item in islice(skills.items(skill, "base", rng), count // 4 if skill.name in fewer else count):
            prompt, completion = rng.choice(compiled).render(**item.fields).split("|||")
            out.append((skill.name, prompt.strip(), " " + completion.strip()))
    return out


def skill_rows(texts: Sequence[tuple[str, str, str]], tokenizer: PreTrainedTokenizerFast, name: str) -> list[Encoded]:
    """Only the answer and the end token are trained on."""
    prompts = tokenizer([prompt for _, prompt, _ in texts]).input_ids
    answers = tokenizer([answer for _, _, answer in texts], add_special_tokens=False).input_ids
    return [
        Encoded(f"{name}-{i}", tuple(prompt), (*answer, tokenizer.eos_token_id))
        for i, (prompt, answer) in enumerate(zip(prompts, answers, strict=True))
    ]


def prose_ids(tokenizer: PreTrainedTokenizerFast, paragraphs: Sequence[str]) -> list[int]:
    """All paragraphs, a line break after each, as one run of ids."""
    ids = tokenizer([p + "\n" for p in paragraphs], add_special_tokens=False).input_ids
    return [token for row in ids for token in row]


def prose_rows(ids: Sequence[int], tokenizer: PreTrainedTokenizerFast, rng: random.Random, name: str) -> list[Encoded]:
    """Cut the run into blocks: most of 256 tokens, some of 1,024, so that all positions are learned."""
    rows, start = [], rng.randrange(256)
    while start < len(ids):
        size = 1024 if rng.random() < 0.02 else 256
        block = tuple(ids[start : start + size - 1])
        start += len(block)
        if len(block) > 1:
            rows.append(Encoded(f"{name}-{len(rows)}", (tokenizer.bos_token_id,), block))
    return rows
