"""What commands print under --json: a record or a list of records as one JSON document, and the schema of such."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema
from typing_extensions import override

DRAFT = "https://json-schema.org/draft/2020-12/schema"


def document(found: Any) -> str:
    """A record, a frozen data class or a list of these. JSON knows no infinity: such numbers are null."""
    return TypeAdapter(Any).dump_json(found, indent=1).decode()


def document_schema(kind: Any, title: str) -> dict[str, Any]:
    """The JSON schema of what `document` makes of a ``kind``: a class, or ``list[...]`` of one."""
    schema = TypeAdapter(kind).json_schema(mode="serialization", schema_generator=_Schema)
    return {"$schema": DRAFT, **schema, "title": title}


class _Schema(GenerateJsonSchema):
    @override
    def float_schema(self, schema: core_schema.FloatSchema) -> JsonSchemaValue:
        """A number that may be infinite is null then."""
        return {**super().float_schema(schema), "type": ["number", "null"]}
