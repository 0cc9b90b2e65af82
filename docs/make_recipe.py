"""Write docs/recipe.md and docs/recipe.schema.json: what a recipe may say, from the models that read it.

python docs/make_recipe.py
"""

from __future__ import annotations

import json
from pathlib import Path

from keeptune.recipe.reference import EDITORS, ROOT, SCHEMA_FILE, FieldRow, Section, recipe_schema, sections

DOCS = Path(__file__).parent
PAGE = DOCS / "recipe.md"
COMMAND = "python docs/make_recipe.py"

TEXT = """# Recipes: every field

`keeptune study` reads a recipe. Model and target are all that it needs; `keeptune init rows.jsonl` writes one, and
`keeptune recipe train` lists the fields of a section in the terminal. [Studies](study.md) says what they are for.

This page is written by `{command}` from the models that read recipes, and so is their JSON schema,
[{schema}]({schema}). Where the first line of a recipe names it, editors with a YAML language server
complete keys and mark what is wrong:

```yaml
{editors}
model: builtin
target: {{task: builtin:orders}}
```

`keeptune recipe --schema` prints the schema with the methods and remedies of your own packages in it.
"""

TWO = "target: [{task: builtin:orders}, {task: builtin:counting}]\n"
EXAMPLES = {
    ROOT: "model: HuggingFaceTB/SmolLM2-135M\ntarget: {data: dialogsum.jsonl}\nretain: [{text: notes/*.txt}]\n",
    "prompt": "prompt: {shots: [0, 4], draws: 3}\n",
    "train": "train: {epochs: 2, global_batch: 32, warmup: 0.1}\n",
    "remedies": "arms: [prompt, lora, lora+kl]\nremedies: {kl: {weight: 0.5}}\n",
    "mixture": f"{TWO}mixture: {{rule: temperature, temperature: 2}}\n",
    "sequence": f"{TWO}sequence: {{arms: [lora, lora+replay:10%]}}\n",
    "curve": "target: {task: builtin:orders}\ncurve: {sizes: [50, 100, 250], arms: [lora]}\n",
    "costs": "requests: 1_000_000\ncosts: {cached_token_price: 0.25}\n",
    "task": "target: {data: rows.jsonl, metric: exact_match, templates: 'Q: {{instruction}} ||| {{output}}'}\n",
    "task file": "retain: [{task: builtin:addition, margin: 3}]\n",
    "text": "retain: [{text: notes/*.txt, margin: 1%, limit: 500}]\n",
    "task of lm-eval": "retain: [{task: harness:piqa, metric: acc_norm, margin: 2}]\n",
    "split": "target: {data: rows.jsonl, split: {validation: 0.1, test: 0.3, on_leak: drop}}\n",
    "split of a text": "retain: [{text: notes/*.txt, split: {validation: 0.3, test: 0.5}}]\n",
    "full": "full: {learning_rates: [1.0e-5, 1.0e-4]}\n",
    "lora": "lora: {rank: 8, alpha: 16, rank_pattern: {down_proj: 32}}\n",
    "last_layers": "arms: [prompt, last-layers:4]\n",
    "matching": "arms: [prompt, matching]\nmatching: {pattern: 'mlp'}\n",
    "peft": "arms: [prompt, peft:loha]\npeft: {settings: {r: 8}}\n",
    "prompt_tuning": "prompt_tuning: {tokens: 20, start: text, text: Name the colour.}\n",
}


def page() -> str:
    """The text of the page."""
    text = TEXT.format(command=COMMAND, schema=SCHEMA_FILE, editors=EDITORS.format(SCHEMA_FILE))
    return "\n".join([text, *(part for each in sections() for part in section(each))])


def schema() -> str:
    """The text of the schema's file."""
    return json.dumps(recipe_schema(), indent=1) + "\n"


def section(found: Section) -> list[str]:
    """Heading, description, table and example of a section."""
    lines = [f"## {found.title}", "", cell(found.description), ""]
    if found.fields:
        lines += ["| field | type | default | |", "|---|---|---|---|", *map(row, found.fields), ""]
    else:
        lines += ["No settings.", ""]
    if found.title in EXAMPLES:
        lines += ["```yaml", example(EXAMPLES[found.title]), "```", ""]
    return lines


def example(text: str) -> str:
    """An example that can be read by itself."""
    given = "" if "target:" in text else "target: {data: rows.jsonl}\n"
    return (("" if "model:" in text else "model: builtin\n") + given + text).rstrip()


def row(field: FieldRow) -> str:
    """One line of a table."""
    kind = f"[{field.section}](#{anchor(field.section)})" if field.section else cell(field.type)
    default = "**required**" if field.required else f"`{field.default}`".replace("|", r"\|") if field.default else ""
    return f"| `{field.key}` | {kind} | {default} | {cell(field.description)} |"


def cell(text: str) -> str:
    """A text that holds no mark of a table."""
    return text.replace("|", r"\|").replace("<", "&lt;")


def anchor(title: str) -> str:
    """As GitHub makes it from a heading."""
    return title.lower().replace(".", "").replace(" ", "-")


def main() -> None:
    """Write both files."""
    PAGE.write_text(page(), encoding="utf-8")
    (DOCS / SCHEMA_FILE).write_text(schema(), encoding="utf-8")


if __name__ == "__main__":
    main()
