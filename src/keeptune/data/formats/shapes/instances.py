"""Tasks as Natural Instructions writes them: a definition, and instances of input and output."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from typing_extensions import override

from keeptune.data.formats.conversation import Supervise
from keeptune.data.formats.recognise import COMPLETION, canonical
from keeptune.data.formats.shapes.base import FORMATS, Columns, Fields, Format, has_keys, items
from keeptune.data.formats.values import UnusableValue, as_text

DEFINITIONS = ("definition", "instruction")


@FORMATS.register("natural-instructions")
class NaturalInstructions(Format):
    """One task a row: ``definition``, ``positive_examples`` and ``instances``, each of which becomes an example."""

    words = "a task's definition and instances -> output"
    order = 90
    roles = ("instruction", "input", COMPLETION)

    @override
    def find(self, columns: Columns) -> Sequence[str]:
        found = columns.any_of("instances")
        if not found or not columns.any_of(*DEFINITIONS) or not columns.holding(has_keys(("input",), ("output",))):
            return ()
        return list(columns.values)

    @override
    def read(self, fields: Fields, taken: Sequence[str], supervise: Supervise | None) -> Iterator[Fields]:
        named = {canonical(column): value for column, value in fields.items()}
        said = next((named[name] for name in DEFINITIONS if name in named), None)
        definition = "\n".join(as_text(line, "definition") for line in (said if isinstance(said, list) else [said]))
        if not definition.strip():
            raise UnusableValue("field 'definition' is empty")
        shown = _positive(named)
        for number, instance in enumerate(items(named, "instances")):
            if not isinstance(instance, Mapping) or "output" not in instance:
                raise UnusableValue(f"field 'instances[{number}]' has no output")
            example = {"instruction": definition, "input": as_text(instance.get("input"), f"instances[{number}].input")}
            more = {"positive_examples": shown} if shown else {}
            yield {**example, **more, COMPLETION: instance["output"]}


def _positive(named: Mapping[str, Any]) -> list[dict[str, str]]:
    """The task's worked examples, for templates that print them."""
    nested = named.get("examples")
    found = named.get("positive_examples") or (nested.get("Positive Examples") if isinstance(nested, Mapping) else None)
    found = found if isinstance(found, list) else []
    return [
        {"input": str(each.get("input", "")), "output": str(each.get("output", ""))}
        for each in found
        if isinstance(each, Mapping)
    ]
