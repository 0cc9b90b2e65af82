"""The tokenizer of a model, with the chat template that belongs to it, whichever file holds it."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from keeptune.core.errors import ModelError
from keeptune.core.units import content_hash

log = logging.getLogger(__name__)

# Where processors look for a template, in their order; transformers' tokenizers read neither.
PROCESSOR_FILES = ("processor_config.json", "chat_template.json")
_VOCABULARIES = ("tokenizer.json", "tekken.json", "*.model", "*.model.v*", "*.tiktoken", "*vocab*", "spiece*")


def read_tokenizer(source: str, name: str) -> Any:
    """The tokenizer of a folder or hub name, with a padding token and the chat template that the model is served with.

    A template that stands where only processors look is taken where the tokenizer has none, and a log message says so.

    Raises:
        ModelError: there is no tokenizer, it cannot be read, or none of its chat templates is the default.
    """
    from transformers import AutoTokenizer

    _check_there(Path(source), name)
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError, ImportError) as error:
        lines = str(error).strip().splitlines()
        raise ModelError(
            f"the tokenizer cannot be loaded: {lines[0] if lines else type(error).__name__}",
            where=name,
            remedy="name a model folder with tokenizer files, or a model of the hub (owner/name)",
        ) from error
    _add_template(tokenizer, source, name)
    _check_default(tokenizer.chat_template, name)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def unembedded_tokens(tokenizer: Any, embedded: int, name: str) -> frozenset[int]:
    """Added tokens of a tokenizer that a model with ``embedded`` embeddings does not know: images', for example.

    Raises:
        ModelError: the end token is one of them, or a token that plain text needs.
    """
    beyond = {token: id for token, id in tokenizer.get_vocab().items() if id >= embedded}
    if not beyond.keys() <= tokenizer.get_added_vocab().keys():
        raise ModelError(
            f"the tokenizer has {len(tokenizer)} tokens, the model embeds {embedded}",
            where=name,
            remedy="use the tokenizer that the model was trained with",
        )
    if tokenizer.eos_token_id in beyond.values():
        raise ModelError(
            f"the end token {tokenizer.eos_token!r} has number {tokenizer.eos_token_id}, the model embeds {embedded}",
            where=name,
            remedy="use the tokenizer that the model was trained with, or one whose eos_token the model knows",
        )
    return frozenset(beyond.values())


def has_vocabulary(folder: Path) -> bool:
    """Whether the folder holds the tokens of a tokenizer, and not just settings."""
    return any(any(folder.glob(pattern)) for pattern in _VOCABULARIES)


def stored_template(folder: Path, name: str) -> str | None:
    """The default chat template of a folder that holds no tokenizer; None where it has none.

    Raises:
        ModelError: a file that cannot be read, or templates of which none is the default.
    """
    file = folder / "chat_template.jinja"
    if file.is_file():
        return file.read_text(encoding="utf-8")
    template = _processor_template(str(folder), name, ("tokenizer_config.json", *PROCESSOR_FILES))[1]
    _check_default(template, name)
    return default_template(template) or None


def _check_there(folder: Path, name: str) -> None:
    if (folder / "config.json").is_file() and not has_vocabulary(folder):
        raise ModelError(
            "the folder holds no tokenizer (tokenizer.json is missing)",
            where=name,
            remedy="copy tokenizer.json and tokenizer_config.json of the model that it was made from into it",
        )


def _add_template(tokenizer: Any, source: str, name: str) -> None:
    """The processor's template, where the tokenizer has none; says where two differ."""
    file, template = _processor_template(source, name)
    if template is None:
        return
    if not tokenizer.chat_template:
        tokenizer.chat_template = template
        log.warning("%s: the chat template is taken from %s; the tokenizer's files hold none", name, file)
    elif template not in (tokenizer.chat_template, default_template(tokenizer.chat_template)):
        log.warning("%s: %s holds another chat template than the tokenizer; the tokenizer's is used", name, file)


def _processor_template(source: str, name: str, files: Sequence[str] = PROCESSOR_FILES) -> tuple[str, Any]:
    """(file, template) of the first of ``files`` that has one."""
    from transformers.utils import cached_file

    for file in files:
        path = cached_file(
            source,
            file,
            _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False,
            _raise_exceptions_for_gated_repo=False,
        )
        if path is None:
            continue
        try:
            found = json.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ModelError(f"{file} is not JSON: {error}", where=name, remedy="mend or remove the file") from error
        template = found.get("chat_template") if isinstance(found, dict) else None
        if isinstance(template, list):  # as tokenizer_config.json names several
            template = {str(each.get("name")): each.get("template") for each in template if isinstance(each, dict)}
        if template:
            return file, template
    return "", None


def default_template(template: Any) -> Any:
    """The template that is used where several have names."""
    return template.get("default") if isinstance(template, dict) else template


def _check_default(template: Any, name: str) -> None:
    if isinstance(template, dict) and template and "default" not in template:
        raise ModelError(
            f"its chat templates are named {', '.join(sorted(template))}, and none is the default",
            where=name,
            remedy="name the one to be used 'default' in tokenizer_config.json, or save it as chat_template.jinja",
        )


def tokenizer_digest(tokenizer: Any) -> str:
    """Hex digest of the files that the tokenizer saves, but for the padding that a caller may have switched on."""
    found = []
    with TemporaryDirectory() as name:
        tokenizer.save_pretrained(name)
        for path in sorted(Path(name).rglob("*")):
            if path.is_file():
                data = path.read_bytes()
                if path.name == "tokenizer.json":
                    content = json.loads(data) | {"padding": None, "truncation": None}
                    data = json.dumps(content, sort_keys=True).encode()
                found.append((path.name, hashlib.sha256(data).hexdigest()))
    return content_hash([type(tokenizer).__name__, found])
