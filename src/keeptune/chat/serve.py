"""From what the command line named to a server that listens."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from keeptune.chat.access import Access
from keeptune.chat.columns import Sources
from keeptune.chat.conversation import Conversation
from keeptune.chat.kept import KeptRows
from keeptune.chat.models import Models
from keeptune.chat.server import ChatServer, Served
from keeptune.chat.view import page_view


@contextmanager
def chat_server(
    sources: Sources,
    kept: KeptRows,
    *,
    max_new_tokens: int = 256,
    device: str = "auto",
    host: str = "127.0.0.1",
    port: int = 0,
) -> Iterator[ChatServer]:
    """Within, a server that listens; call its `serve_forever`. Afterwards nothing is answered any more.

    Args:
        sources: see `read_sources`.
        kept: where answers are kept.
        max_new_tokens: of an answer.
        device: see `load`.
        host: beyond this machine every request needs a token (see `Access`).
        port: 0 takes a free one.

    Raises:
        KeeptuneError: the first model cannot be loaded, or the address cannot be listened at.
    """
    models = Models([column.place for column in sources.columns], device)
    conversation = Conversation(sources.columns, models, max_new_tokens)
    view = page_view(sources, max_new_tokens, str(kept.path))
    try:
        with ChatServer(host, port, Served(view, conversation, kept, Access.of(host))) as server:
            yield server
    finally:
        conversation.close()
