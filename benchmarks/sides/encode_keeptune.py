"""keeptune's side of `encode.py`, and the encoding of `large.py`: rows of a file through the neutral wording."""

from __future__ import annotations

import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from common.workers import Channel
from keeptune.data.encode.cache import encoded
from keeptune.data.encode.encoder import Encoder
from keeptune.data.load import load_examples
from keeptune.data.prompts.templates import TemplateSet, default_templates
from keeptune.data.storage.lazy import LazyMap
from keeptune.inspect.preview import load_tokenizer


def main() -> None:
    """Answer ``load``, then ``encode`` as often as it is asked, every time into a cache of its own."""
    channel = Channel()
    settings = channel.settings
    tokenizer, *_ = load_tokenizer(settings["tokenizer"])
    encoder = Encoder(tokenizer, context=settings["context"])

    def load() -> dict[str, Any]:
        nonlocal rows
        started = time.perf_counter()
        loaded = load_examples(settings["rows"])
        assert loaded.layout is not None
        rows = LazyMap(loaded.examples, TemplateSet(default_templates(loaded.layout)).fixed)
        return {"seconds": time.perf_counter() - started, "rows": len(rows)}

    def encode() -> dict[str, Any]:
        with TemporaryDirectory(dir=settings["folder"]) as folder:
            started = time.perf_counter()
            made = encoded(encoder, rows, "benchmark", Path(folder), processes=settings["processes"], small=0)
            seconds = time.perf_counter() - started
            # Few rows: the pages of those that are looked at are mapped, and count as memory.
            looked_at = [made.rows[number] for number in range(0, len(made.rows), max(1, len(made.rows) // 500))]
            tokens = sum(map(len, looked_at)) / len(looked_at)
            return {
                "seconds": seconds,
                "encoded": len(made.rows),
                "dropped": len(made.dropped),
                "tokens_per_row": round(tokens, 1),
                "bytes": sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file()),
            }

    rows: Any = ()
    channel.serve(load=load, encode=encode)


if __name__ == "__main__":
    main()
