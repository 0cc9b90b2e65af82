"""From a row to token ids: template, rendering, encoding, and which tokens are trained on.

Run: python examples/see_the_tokens.py <model folder or hub name>
"""

from __future__ import annotations

import sys
from typing import Any

from keeptune import Encoder, Example, Template

ROW = Example.make({"dialogue": "A: Tea?\nB: Please.", "summary": "B wants tea."})
TEMPLATE = Template.parse("Summarize the conversation.\n\n{{ dialogue }}\n\nSummary: ||| {{ summary }}")


def show(tokenizer: Any) -> str:
    """The row with the supervised tokens in brackets."""
    chat = bool(getattr(tokenizer, "chat_template", None))
    rendered = TEMPLATE.render(ROW, chat=chat)
    encoded = Encoder(tokenizer, context=1024, chat=chat).encode(rendered)
    prompt = "".join(tokenizer.decode([i]) for i in encoded.prompt_ids)
    completion = "".join(f"[{tokenizer.decode([i])}]" for i in encoded.completion_ids)
    return prompt + completion


if __name__ == "__main__":
    from transformers import AutoTokenizer

    print(show(AutoTokenizer.from_pretrained(sys.argv[1])))
