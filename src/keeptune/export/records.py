"""What an export leaves beside the weights."""

from __future__ import annotations

from typing import Literal

from keeptune.core.records import Record

Dtype = Literal["fp32", "bf16", "fp16"]


class ExportRecord(Record):
    """export.json: where exported weights come from, and how close they are to what the study scored."""

    keeptune: str
    arm: str
    base: str
    base_hash: str
    merged: bool  # the adapter was added to the base's weights
    dtype: Dtype | None  # None: as it was stored
    gguf: bool = False  # one file in place of a model folder
    prompts: int  # on which both models were asked
    kl: float  # mean KL(study's model in float32 || exported model), nats per position
    agreement: float  # share of positions with the same most likely token
    largest: float  # largest difference of two log-probabilities of a most likely token, nats
    bound: float  # `kl` above it is refused


class PushRecord(Record):
    """An export that was uploaded."""

    url: str  # of the commit
    export: ExportRecord
