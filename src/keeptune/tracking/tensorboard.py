"""TensorBoard: event files below ``tensorboard/`` in the run folder, a folder for the study and one for every arm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from typing_extensions import override

from keeptune.report.tables import markdown_table
from keeptune.tracking.base import TRACKERS
from keeptune.tracking.service import Opened, ServiceTracker

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

FOLDER = "tensorboard"


class Events:
    """The event files of one folder; its id is the folder's name."""

    def __init__(self, writer: SummaryWriter, name: str) -> None:
        self.id, self._writer = name, writer

    def params(self, values: Mapping[str, object]) -> None:
        """A table of the settings, under text."""
        rows = [{"setting": name, "value": value} for name, value in values.items()]
        self._writer.add_text("params", markdown_table(rows))

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """See `Service`."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step or 0)

    def tags(self, values: Mapping[str, str]) -> None:
        """See `Service`."""
        for name, value in values.items():
            self._writer.add_text(name, value)

    def files(self, paths: Sequence[Path]) -> None:
        """Tables are shown under text; the report stays where it is, beside the event files."""
        for path in paths:
            if path.suffix == ".csv":
                self._writer.add_text(path.name, f"```\n{path.read_text(encoding='utf-8')}```")

    def close(self) -> None:
        """See `Service`."""
        self._writer.close()


@TRACKERS.register("tensorboard")
class TensorBoard(ServiceTracker[Events]):
    """Event files."""

    package: ClassVar[str] = "tensorboard"

    @override
    def open(self, wanted: Opened) -> Events:
        from torch.utils.tensorboard import SummaryWriter

        name = wanted.id or ("study" if wanted.kind == "study" else wanted.name)
        return Events(SummaryWriter(str(wanted.study / FOLDER / name)), name)
