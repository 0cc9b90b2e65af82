"""Draw the further targets of the laws: orders, as the built-in target has them, put down in other layouts.

    python recipes/laws/shop.py

Writes a YAML and a JSONL file for each task to recipes/laws/tasks/. The base model has seen neither the sentences nor
the layouts. The tasks differ in the number of training rows, which is what law 10 is about.
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
TASKS = HERE / "tasks"
SEED = 1126
SETTINGS = {"metric": "exact_match", "max_new_tokens": 16, "margin": 3, "split": {"on_leak": "drop"}}
LAYOUTS = {  # task -> (training rows, wording)
    "diary": (1500, "{{ order }} Diary: ||| {{ day }} : {{ who }}"),
    "tallies": (700, "{{ order }} Tally: ||| {{ count }} {{ thing }}"),
    "shelves": (400, "{{ order }} Shelf: ||| {{ colour }} {{ thing }}"),
    "parcels": (400, "{{ order }} Parcel: ||| {{ who }} gets {{ colour }}"),
    "labels": (100, "{{ order }} Label: ||| {{ thing }} - {{ who }}"),
}
VALIDATION, TEST = 150, 400


def slots(record: str) -> dict[str, str]:
    """What a record of the built-in target says: 'Helen ; 9 blue brush ; Mon'."""
    who, goods, day = record.split(" ; ")
    count, colour, thing = goods.split(" ")
    return {"who": who, "count": count, "colour": colour, "thing": thing, "day": day}


def rows(name: str, train: int, seed: int = SEED) -> list[dict[str, Any]]:
    """The rows of a task; no two of them differ in opening and closing only."""
    sys.path.insert(0, str(HERE.parent / "builtin"))
    try:
        from make_tasks import divided, orders
    finally:
        sys.path.pop(0)
    sizes = {"train": train, "validation": VALIDATION, "test": TEST}
    drawn = divided(orders(random.Random(f"{seed}:laws:{name}")), sizes)
    return [{"order": row["order"], **slots(row["record"]), "part": row["part"]} for row in drawn]


def write_all(folder: Path = TASKS) -> None:
    """All tasks."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, (train, wording) in LAYOUTS.items():
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows(name, train))
        (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
        text = yaml.safe_dump({"data": f"{name}.jsonl", "templates": [wording], **SETTINGS}, sort_keys=False, width=120)
        (folder / f"{name}.yaml").write_text(f"# Written by recipes/laws/shop.py\n{text}", encoding="utf-8")


if __name__ == "__main__":
    write_all()
