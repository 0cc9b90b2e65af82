from __future__ import annotations

import pytest

from keeptune.core.errors import ConfigError
from keeptune.evaluate.extract import Extractor


def test_extractor_takes_last_match_and_group_one() -> None:
    text = "#### 12 then #### 40"
    assert Extractor(r"#### (\d+)")(text) == "40"
    assert Extractor(r"#### (\d+)", first=True)(text) == "12"
    assert Extractor(r"\d+")(text) == "40"
    assert Extractor(r"#### (\d+)")("none") is None
    assert Extractor(r"x(y)?")("x") == ""


def test_extractor_names_the_bad_pattern() -> None:
    with pytest.raises(ConfigError, match=r"extract: '\(a' is not a regular expression.*-> mend the pattern"):
        Extractor("(a")
