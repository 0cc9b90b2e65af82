"""Packs: wordings of a common kind of task that come with keeptune, as files below ``packs``."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from typing import Any

import yaml

from keeptune.core.errors import ConfigError
from keeptune.data.formats.recognise import ColumnSchema
from keeptune.data.prompts.templates import Template, renaming


def packs() -> tuple[str, ...]:
    """Names of the packs that come with keeptune."""
    files = (resources.files("keeptune.data.prompts") / "packs").iterdir()
    return tuple(sorted(file.name.removesuffix(".yaml") for file in files if file.name.endswith(".yaml")))


def load_pack(
    name: str, layout: ColumnSchema | None = None, fields: Mapping[str, str] | None = None
) -> tuple[Template, ...]:
    """The wordings of a pack; with a layout, those whose fields the layout has.

    Args:
        name: one of `packs`.
        layout: its roles take the places of the pack's fields of the same name, its completion that of the
            pack's completion.
        fields: pack field -> column, where the names differ; wins over the layout.

    Raises:
        ConfigError: no such pack, or none of its wordings can be filled.
    """
    if name not in packs():
        raise ConfigError(f"there is no template pack '{name}'", remedy=f"packs: {', '.join(packs())}")
    file = resources.files("keeptune.data.prompts") / "packs" / f"{name}.yaml"
    pack = yaml.safe_load(file.read_text(encoding="utf-8"))
    columns: dict[str, str] = {}
    if layout is not None:
        columns = {role: column for role, column in layout.roles.items() if role != "completion"}
        columns[pack["completion"]] = layout.completion
    columns |= fields or {}
    wordings = pack["templates"]
    if layout is not None:
        wordings = [wording for wording in wordings if set(wording["fields"]) <= {*columns, *layout.metadata}]
    if not wordings:
        needed = sorted({field for wording in pack["templates"] for field in wording["fields"]})
        raise ConfigError(
            f"no wording of the pack '{name}' can be filled from the columns of this data",
            remedy=f"map the pack's fields {', '.join(needed)} to columns",
        )
    return tuple(_wording(wording, f"{name}/{wording['name']}", columns) for wording in wordings)


def _wording(wording: Mapping[str, Any], name: str, columns: Mapping[str, str]) -> Template:
    head = renaming({field: columns.get(field, field) for field in wording["fields"]})
    return Template.parse(head + wording["text"].strip("\n"), name, wording.get("answer_choices"))
