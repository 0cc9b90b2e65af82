"""What a training is expected to need before there is a device for it."""

from __future__ import annotations

from keeptune.core.records.base import Record


class MemoryAccount(Record):
    """Peak bytes of one process that trains, line by line. On a GPU the device's; ``host`` lies in the CPU's memory."""

    weights: int  # of the model, as they are stored
    base_copy: int = 0  # of the base, beside a method that trains its own weights
    masters: int  # float32 copies of trained weights of low precision
    moments: int  # both of AdamW, float32
    summed_gradients: int  # float32, over the micro-batches of a step
    activations: int  # that backward needs of one micro-batch
    temporaries: int  # gradients just made, a chunk of the head's logits, layers gathered or made plain
    fragments: int = 0  # memory between blocks that the C library keeps
    kernels: int = 0  # compiled products that oneDNN keeps: one for every shape that was met, on a CPU in bf16
    reading: int = 0  # the file of the best weights, mapped while it is read back at the end; on a CPU
    overhead: int  # libraries and the device's context
    host: int = 0  # what is offloaded, and the base's copy beside a GPU

    @property
    def total(self) -> int:
        """All that the device has to hold."""
        return sum(value for name, value in self if name != "host")


class Forecast(Record):
    """One arm on one layout of processes."""

    arm: str  # as the recipe names it
    layout: str  # "DDP", "FSDP, offload"
    ranks: int
    micro_batch: int  # tokens that the model computes at once
    memory: MemoryAccount
    fits: bool
    trainings: int
    seconds: float  # of all trainings of the arm, scoring left out
    network_share: float = 0.0  # of a step's time that waits for other processes
    cost: float | None = None  # of all ranks for that time, in the price's currency


class ForecastRecord(Record):
    """forecast.json: what `keeptune plan` found."""

    model: str
    device: str
    rates: str  # how seconds were found: measured here, or a table's peak times a share
    tokens: int  # of one training, before prefixes are shared
    steps: int
    forecasts: tuple[Forecast, ...]
    notes: tuple[str, ...] = ()
