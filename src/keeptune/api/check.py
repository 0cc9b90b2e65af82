"""`keeptune.check`: what is in a data set, before anything is trained. Needs no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Console

from keeptune.api.data import Data, source, sources
from keeptune.api.results import Checked
from keeptune.data.formats.conversation import Supervise
from keeptune.inspect.check import check as look
from keeptune.inspect.findings import check_page
from keeptune.inspect.preview import encoder_of


def check(
    data: Data,
    *,
    fields: Mapping[str, str] | None = None,
    cluster: str | None = None,
    format: str | None = None,
    supervise: Supervise | None = None,
    against: Data | Sequence[Data] | None = None,
    model: str | None = None,
    quiet: bool = False,
) -> Checked:
    """Counts, lengths, labels, duplicates, leaks between parts and unusable rows of a data set.

    Args:
        data: a file, a folder of parts, hf:owner/name, or rows.
        fields: role -> column, where columns are not recognised.
        cluster: the column that names what several rows share.
        format: how to read the rows, where that cannot be found out.
        supervise: turns of conversations to learn from: "all", "last" or "weights".
        against: benchmarks whose rows should not be here.
        model: a model whose tokenizer and chat template should be able to use the rows; no weights are loaded.
        quiet: show no progress.

    Raises:
        KeeptuneError: the source cannot be read, recognised or mostly used.

    Example:
        >>> check([{"prompt": f"{i} + 1 =", "completion": f" {i + 1}"} for i in range(40)], quiet=True).page.rows
        40
    """
    with Console(stderr=True, quiet=quiet).status("reading rows") as status:
        report = look(
            source(data, "rows"),
            fields=fields,
            cluster=cluster,
            format=format,
            supervise=supervise,
            against=sources(against, "benchmark"),
            encoder=encoder_of(model) if model else None,
            say=status.update,
        )
    return Checked(check_page(report))
