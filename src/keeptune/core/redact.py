"""Secrets that may stand in a command line, a recipe or an error message are not written down."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

HIDDEN = "[hidden]"
_SECRET_NAMES = re.compile(r"(?i)(token|secret|passw(or)?d|api_?key|credential|private_?key)")
_SHORTEST = 8  # characters of a variable's value that is looked for: shorter ones would hide innocent words
_PATTERNS = (
    (re.compile(r"\bhf_[A-Za-z0-9]{16,}"), HIDDEN),  # tokens of the Hugging Face hub
    (re.compile(r"\b(sk|ghp|gho|github_pat|glpat|xox[abp])[-_][A-Za-z0-9_-]{16,}"), HIDDEN),
    (re.compile(r"\bAKIA[A-Z0-9]{16}\b"), HIDDEN),  # access keys of AWS
    (re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^/\s@'\"]+@"), rf"\1{HIDDEN}@"),  # user and password of an address
    (re.compile(r"(?i)([?&](?:[a-z_-]*token|[a-z_-]*key|signature|sig|password)=)[^&\s'\"]+"), rf"\1{HIDDEN}"),
)


def redact(text: str, environment: Mapping[str, str] | None = None) -> str:
    """The text without tokens, passwords in addresses, and values of environment variables that are named as secrets.

    Example:
        >>> redact("--data https://anna:pass@host/a.jsonl?token=abc")
        '--data https://[hidden]@host/a.jsonl?token=[hidden]'
    """
    values = os.environ if environment is None else environment
    secrets = [value for name, value in values.items() if _SECRET_NAMES.search(name) and len(value) >= _SHORTEST]
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    for pattern, shown in _PATTERNS:
        text = pattern.sub(shown, text)
    return text


def redacted(value: Any) -> Any:
    """The same of every text in a JSON-able value."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {key: redacted(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(redacted(each) for each in value)
    return value
