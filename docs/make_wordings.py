"""Render every wording of promptsource on rows in the form of its data set, and write the table in docs/data-read.md.

    git clone https://github.com/bigscience-workshop/promptsource
    python docs/make_wordings.py promptsource/promptsource/templates

The rows are made up here, three per data set, with the columns and types that the data sets have on the hub.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from keeptune.core.errors import DataError
from keeptune.data.examples import Example
from keeptune.data.prompts.templates import InapplicableError
from keeptune.data.prompts.wordings import load_wordings

PAGE = Path(__file__).parent / "data-read.md"
BEGIN, END = "<!-- wordings: written by docs/make_wordings.py -->\n", "<!-- end of wordings -->\n"

A, B, C = "A man plays a guitar in the street.", "Somebody makes music outside.", "The street is empty at night."
NEWS = "The city opened a new bridge on Monday. Thousands walked across it before the first cars came."


def labelled(count: int, **columns: str) -> list[dict[str, Any]]:
    """One row per label."""
    return [{**columns, "label": label} for label in range(count)]


ROWS: dict[str, list[dict[str, Any]]] = {
    "ag_news": labelled(4, text=NEWS),
    "amazon_polarity": labelled(2, title="A good lamp", content="It gives a warm light and never flickers."),
    "app_reviews": [
        {"package_name": "com.example.notes", "review": "Opens fast, saves all.", "date": "May 1 2017", "star": star}
        for star in (1, 3, 5)
    ],
    "cnn_dailymail/3.0.0": [{"article": NEWS, "highlights": "A bridge opened.", "id": "1"}],
    "common_gen": [{"concept_set_idx": 0, "concepts": ["dog", "throw", "ball"], "target": "Throw a ball to the dog."}],
    "commonsense_qa": [
        {
            "question": "Where do you keep milk cold?",
            "choices": {"label": list("ABCDE"), "text": ["oven", "fridge", "shelf", "car", "garden"]},
            "answerKey": key,
        }
        for key in "BAE"
    ],
    "dbpedia_14": labelled(14, title="Ashford Mill", content="Ashford Mill stands on the river Wye."),
    "gigaword": [{"document": NEWS, "summary": "bridge opens"}],
    "glue/cola": labelled(2, sentence="The boat sank slowly."),
    "glue/mnli": labelled(3, premise=A, hypothesis=B),
    "glue/mrpc": labelled(2, sentence1=A, sentence2=B),
    "glue/qqp": labelled(2, question1="How do I bake bread?", question2="How is bread baked?"),
    "glue/rte": labelled(2, sentence1=A, sentence2=C),
    "glue/sst2": labelled(2, sentence="a quiet and tender film"),
    "imdb": labelled(2, text="I left the cinema smiling."),
    "paws/labeled_final": labelled(2, sentence1=A, sentence2=C),
    "piqa": labelled(2, goal="Dry wet shoes.", sol1="Fill them with paper.", sol2="Fill them with water."),
    "rotten_tomatoes": labelled(2, text="a quiet and tender film"),
    "samsum": [{"id": "1", "dialogue": "Ann: Tea?\r\nBob: Yes, please.", "summary": "Bob will have tea."}],
    "super_glue/boolq": labelled(2, question="is the bridge open", passage=NEWS),
    "super_glue/cb": labelled(3, premise=A, hypothesis=B),
    "super_glue/copa": [
        {"premise": "The cup fell.", "choice1": "It broke.", "choice2": "It sang.", "question": asked, "label": label}
        for asked in ("effect", "cause")
        for label in (0, 1)
    ],
    "super_glue/rte": labelled(2, premise=A, hypothesis=C),
    "super_glue/wic": labelled(2, word="bank", sentence1="They sat on the bank.", sentence2="The bank was closed."),
    "trec": [
        {"text": "Who built the first bridge ?", "coarse_label": coarse, "fine_label": fine}
        for coarse, fine in ((0, 0), (1, 2), (2, 24), (3, 28), (4, 33), (5, 39))
    ],
    "xsum": [{"document": NEWS, "summary": "A bridge has opened.", "id": "1"}],
    "yelp_review_full": labelled(5, text="The soup was hot and the waiter friendly."),
}


def examples(name: str) -> list[Example]:
    """The rows of a data set."""
    return [Example.make(row, path=name, line=number) for number, row in enumerate(ROWS[name], 1)]


def lines(folder: Path) -> Iterator[str]:
    """A row of the table per file."""
    total: Counter[str] = Counter()
    for file in sorted(folder.rglob("templates.yaml")):
        name = str(file.parent.relative_to(folder))
        if name not in ROWS:
            continue
        templates, misses = load_wordings(str(file)), []
        rendered = 0
        for template in templates:
            found: list[int] = []
            for example in examples(name):
                try:
                    found.append(len(template.render(example).completion))
                except InapplicableError:
                    continue
                except DataError as error:
                    misses.append(
                        error.message.replace(f"template '{template.name}'", f"'{template.name.split('/', 1)[1]}'")
                    )
                    break
            else:
                rendered += bool(found)
                if not found:
                    misses.append(f"{template.name.split('/', 1)[1]}: for none of these rows")
        total += Counter(files=1, wordings=len(templates), rendered=rendered)
        yield f"| {name} | {len(templates)} | {rendered} | {'; '.join(misses).replace('|', chr(92) + '|')} |"
    yield f"| all {total['files']} | {total['wordings']} | {total['rendered']} | |"


def main(arguments: Sequence[str]) -> int:
    """See the module's docstring."""
    if len(arguments) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    head = ["| data set | wordings | render | what others say |", "|---|---|---|---|"]
    page = PAGE.read_text(encoding="utf-8")
    before, rest = page.split(BEGIN)
    table = "\n".join([*head, *lines(Path(arguments[0]))])
    PAGE.write_text(f"{before}{BEGIN}\n{table}\n\n{END}{rest.split(END)[1]}", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
