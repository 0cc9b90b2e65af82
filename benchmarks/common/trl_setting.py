"""A setting of TRL's trainer by name: ``padded:8``, ``bfd:8``, ``padding_free:16:checkpointed``, ``bfd:8:fp32``."""

from __future__ import annotations

from dataclasses import dataclass, field

LAYOUTS = ("padded", "bfd", "padding_free", "grouped")


@dataclass(frozen=True)
class TrlSetting:
    """One way to run the same training in TRL.

    ``padded`` and ``padding_free`` see the rows in the benchmark's order, so that their losses can be compared step
    by step. ``bfd`` (packing) and ``grouped`` (by length) choose the rows of a step themselves.
    """

    layout: str
    micro_batch: int  # examples; packing gets as many bins as hold so many on average
    precision: str = "bf16"  # autocast over float32 weights; "pure" has bf16 weights
    checkpointed: bool = False
    liger: bool = False
    attention: str | None = field(default=None)  # transformers' name of an implementation

    @property
    def keeps_order(self) -> bool:
        """Whether a step holds exactly the rows that keeptune's holds."""
        return self.layout in ("padded", "padding_free")

    @classmethod
    def parse(cls, text: str) -> TrlSetting:
        """LAYOUT:MICRO_BATCH and then any of fp32, bf16, pure, checkpointed, liger, attention=NAME.

        Raises:
            SystemExit: an unknown word.
        """
        layout, micro_batch, *words = text.split(":")
        values: dict[str, object] = {}
        for word in words:
            if word in ("fp32", "bf16", "pure"):
                values["precision"] = word
            elif word in ("checkpointed", "liger"):
                values[word] = True
            elif word.startswith("attention="):
                values["attention"] = word.removeprefix("attention=")
            else:
                raise SystemExit(f"'{word}' in '{text}' is no setting: {cls.parse.__doc__}")
        if layout not in LAYOUTS or not micro_batch.isdigit():
            raise SystemExit(f"'{text}' should start with one of {', '.join(LAYOUTS)}, a colon and a number")
        return cls(layout, int(micro_batch), **values)  # type: ignore[arg-type]
