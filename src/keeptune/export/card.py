"""The model card of a pushed arm: what it learned, what it kept, on which data, and how to make it again. No torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from keeptune.core.records import DataCard
from keeptune.export.chosen import Chosen
from keeptune.export.records import ExportRecord
from keeptune.report.tables import Row, markdown_table, shown_arms, shown_suites

UNKNOWN = "not recorded; see the source"


def model_card(chosen: Chosen, record: ExportRecord, repo: str, license: str | None = None) -> str:
    """README.md of a repository: the hub's metadata, then a page."""
    summary, manifest = chosen.summary, chosen.summary.manifest
    suites = shown_suites(summary, [chosen.arm.name])
    parts = [
        f"---\n{yaml.safe_dump(_metadata(chosen, record, license), sort_keys=False, allow_unicode=True)}---\n",
        f"# {repo.rpartition('/')[2]}\n",
        f"{chosen.arm.label}, trained from `{_named(chosen.base)}` on {_data_names(chosen)}.\n",
        f"**{summary.recommendation.headline}** {summary.recommendation.paragraph}\n",
        "## Target and arms\n",
        f"{summary.target}, {summary.metric}, test items, 95 % intervals:\n",
        markdown_table(shown_arms(summary)),
        "## What it kept\n",
        markdown_table([{key: row[key] for key in row if key != "arm"} for row in suites])
        or "No retained suite was measured: what this model forgot is not known.\n",
        "\n".join(f"- {verdict.sentence}" for verdict in chosen.arm.suites) + "\n" if suites else "",
        "## Data\n",
        markdown_table([_data_row(card) for card in summary.cards]),
        "## Use\n",
        f"```python\n{_use(chosen, record, repo)}```\n",
        f"On {record.prompts} prompts of the study these weights are {record.kl:.2g} nats per token from the model that"
        f" was scored; the most likely token is the same at {100 * record.agreement:.4g} % of the positions.\n",
        "## Made by\n",
        f"```sh\n{manifest.command}\n```\n",
        f"keeptune {manifest.keeptune}, {', '.join(f'{name} {v}' for name, v in manifest.versions.items())};"
        f" seeds {', '.join(map(str, manifest.seeds))}; base `{manifest.model_hash}`,"
        f" configuration `{manifest.config_hash}`.\n",
    ]
    return "\n".join(part for part in parts if part)


def _metadata(chosen: Chosen, record: ExportRecord, license: str | None) -> dict[str, Any]:
    """What the hub reads: a base that is a local folder is not named to it."""
    on_hub = "/" in chosen.base and not Path(chosen.base).exists()
    base = {"base_model": chosen.base.partition("@")[0]} if on_hub else {}
    library = "peft" if chosen.adapter and not record.merged else "transformers"
    stated = {"license": license} if license else {}
    return {**stated, **base, "library_name": library, "pipeline_tag": "text-generation", "tags": ["keeptune"]}


def _data_row(card: DataCard) -> Row:
    return {
        "data": card.name,
        "source": card.source if card.source.startswith(("hf:", "builtin:")) else Path(card.source).name,
        "sha256": f"`{card.sha256[:16]}`",
        "rows": f"{card.rows:,}",
        "train / validation / test": " / ".join(f"{card.counts.get(p, 0):,}" for p in ("train", "validation", "test")),
        "leaks": card.leaks,
        "licence": UNKNOWN,
    }


def _data_names(chosen: Chosen) -> str:
    return ", ".join(f"`{card.name}`" for card in chosen.summary.cards) or f"`{chosen.summary.target}`"


def _named(base: str) -> str:
    return Path(base).name if Path(base).exists() else base


def _use(chosen: Chosen, record: ExportRecord, repo: str) -> str:
    if chosen.adapter and not record.merged:
        return (
            "from peft import PeftModel\nfrom transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
            f'base = AutoModelForCausalLM.from_pretrained("{_named(chosen.base)}")\n'
            f'model = PeftModel.from_pretrained(base, "{repo}")\n'
            f'tokenizer = AutoTokenizer.from_pretrained("{repo}")\n'
        )
    return (
        "from transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
        f'model = AutoModelForCausalLM.from_pretrained("{repo}")\n'
        f'tokenizer = AutoTokenizer.from_pretrained("{repo}")\n'
    )
