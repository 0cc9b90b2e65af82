"""The answer inside a longer text."""

from __future__ import annotations

import re

from keeptune.core.errors import ConfigError


class Extractor:
    """Cuts the answer out of a text by a regular expression.

    The last match counts (models often reason first and answer last), or the first one where ``first`` is
    set; of a match, group 1 where the pattern has a group. A prediction without a match becomes the empty
    text. References go through the same pattern but stay whole where it does not match.
    """

    def __init__(self, pattern: str, first: bool = False) -> None:
        """Raises:
        ConfigError: the pattern does not compile.
        """
        try:
            self._pattern = re.compile(pattern)
        except re.error as error:
            raise ConfigError(
                f"extract: {pattern!r} is not a regular expression: {error}",
                remedy="mend the pattern; in YAML, single quotes keep backslashes as they are",
            ) from error
        self._first = first
        self.key = f"{'first' if first else 'last'} {pattern}"  # for content hashes

    def __call__(self, text: str) -> str | None:
        """The answer, or None where nothing matches."""
        matches = list(self._pattern.finditer(text))
        if not matches:
            return None
        match = matches[0 if self._first else -1]
        return (match.group(1) or "") if self._pattern.groups else match.group(0)
