from __future__ import annotations

import json
import logging
import math
from dataclasses import dataclass
from pathlib import Path

import jsonschema
import pytest

from keeptune.core.documents import document, document_schema
from keeptune.core.records import Interval
from keeptune.core.verbose import speak, speaking


@dataclass(frozen=True, slots=True)
class Found:
    """A data class that holds a record."""

    path: Path
    change: Interval
    counts: dict[str, int]


def test_a_document_is_json_that_its_schema_knows_also_where_a_number_is_infinite() -> None:
    found = [Found(Path("a/b"), Interval(low=-math.inf, high=1.0), {"n": 3})]
    text = document(found)
    values = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert values == [{"path": "a/b", "change": {"low": None, "high": 1.0, "level": 0.95}, "counts": {"n": 3}}]
    schema = document_schema(list[Found], "found")
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(values, schema)
    values[0]["change"]["middle"] = 0.0
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(values, schema)


def test_the_log_speaks_until_it_is_told_to_stop() -> None:
    said: list[str] = []
    log = logging.getLogger("keeptune.core.test")
    assert not speaking()
    log.info("nobody hears it")
    stop = speak(said.append)
    assert speaking()
    log.info("read from %s", "a cache")
    log.debug("a detail")
    stop()
    log.info("nobody hears it")
    assert said == ["read from a cache"] and not speaking()
