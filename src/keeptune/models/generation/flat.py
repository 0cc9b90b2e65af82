"""Generation without padding: prompts are laid flat, rows that are done make room for the next prompts.

Rows live in the slots of a cache. The prompts of a batch are computed in one flat row, of which only the last token
of each prompt needs logits; from then on all rows are fed one token per step. Rows that are done are closed up and
the slots behind them filled again, both once enough have come together to be worth it. What all prompts begin with
(an instruction, demonstrations) is stored once and met by all rows in one matrix product.

Shapes: B rows, W slots, L tokens of a row, N new tokens, P tokens of the shared prefix, V vocabulary.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from keeptune.batching.trie import prompt_batch
from keeptune.models.cache import GRAIN, Capture, Fill, Slots
from keeptune.models.decode import decode_logits, decoding, plan_step
from keeptune.models.forward import flat_logits
from keeptune.models.generation.choose import Choose, Ints, likeliest
from keeptune.models.generation.rows import Rows
from keeptune.models.generation.stops import StopTexts
from keeptune.models.loaded import LoadedModel
from keeptune.models.progress import Progress, default_budget

MAX_ROWS: Mapping[str, int] = {"cpu": 128, "cuda": 256}  # rows of a step; beyond, it takes longer in proportion
CPU_CACHE_BYTES = 2**30
CUDA_CACHE_SHARE = 0.5  # of the memory that is free
MIN_SHARED = 16  # a shorter common prefix is not worth products of its own
TURNOVER = 8  # rows are closed up and slots filled again when one in so many is done


def flat_generate(
    lm: LoadedModel,
    prompts: Sequence[Sequence[int]],
    limits: Sequence[int],
    ends: tuple[int, ...],
    stops: StopTexts,
    token_budget: int | None = None,
    progress: Progress | None = None,
    choose: Choose = likeliest,
    cut: bool = False,
) -> list[tuple[int, ...]]:
    """New tokens of every prompt, an end token included, for models that run flat; ``cut`` as in `flat_logits`.

    Raises:
        ModelError: the model's keys and values cannot be cached; nothing was generated yet.
    """
    shared = common_prefix(prompts)
    shared = shared if shared >= MIN_SHARED else 0
    capture = Capture()
    flat_logits(lm, prompt_batch([prompts[0][: max(shared, 1)]])[0].to(lm.device), capture, cut=cut)
    needs = [len(prompt) + limit - shared for prompt, limit in zip(prompts, limits, strict=True)]
    held = token_budget or _cache_bytes(lm.device) // capture.token_bytes()
    most = MAX_ROWS["cuda" if lm.device.type == "cuda" else "cpu"]
    results: list[tuple[int, ...]] = [()] * len(prompts)
    done = 0
    for wave in waves(needs, held, most):
        width = max(1, min(most, len(wave), held // needs[wave[0]]))
        slots = Slots(capture.layers, capture.layers if shared else {}, width)
        rows = Rows(width, max(limits[index] for index in wave), ends, stops)
        prefill = min(held, default_budget(lm.device))
        generation = _Generation(lm, prompts, limits, shared, slots, rows, prefill, choose, cut)
        for finished in generation.run(deque(wave)):
            for index, ids in finished:
                results[index] = ids
            done += len(finished)
            if progress is not None:
                progress(done, len(prompts))
    return results


def common_prefix(prompts: Sequence[Sequence[int]]) -> int:
    """How many tokens all of several prompts begin with; at least the last token of each is its own."""
    if len(prompts) < 2:
        return 0
    first, last = min(map(tuple, prompts)), max(map(tuple, prompts))  # what these two share, all between them share
    same = next((at for at, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
    return min(same, min(map(len, prompts)) - 1)


def waves(needs: Sequence[int], held: int, most: int) -> list[list[int]]:
    """Indices in the order in which they are generated, longest first, cut into waves with slots of one length.

    One long row would make all slots long. Where ``held`` tokens are then too few for the ``most`` rows of a step, a
    new wave begins at half the length.
    """
    order = sorted(range(len(needs)), key=lambda index: (-needs[index], index))
    result: list[list[int]] = []
    for place, index in enumerate(order):
        if result:
            longest, waiting = needs[result[-1][0]], len(order) - place + len(result[-1])
            if 2 * needs[index] >= longest or held // longest >= min(most, waiting):
                result[-1].append(index)
                continue
        result.append([index])
    return result


@dataclass(eq=False)
class _Generation:
    """One wave: prompts in, finished rows out."""

    lm: LoadedModel
    prompts: Sequence[Sequence[int]]
    limits: Sequence[int]
    shared: int  # P
    slots: Slots
    rows: Rows
    prefill_tokens: int
    choose: Choose
    cut: bool

    def run(self, queue: deque[int]) -> Iterator[list[tuple[int, tuple[int, ...]]]]:
        """Generate for the prompts whose indices are in ``queue``; yields (index, new ids) of those that are done."""
        with decoding(self.lm):
            while queue or self.rows.active:
                finished = self.rows.finished()
                if len(finished) * TURNOVER >= self.rows.active > 0:
                    yield self._close_up(finished)
                elif queue and self.rows.active < self.slots.width:
                    self._admit(self._next_prompts(queue))
                else:
                    self._step()

    def _next_prompts(self, queue: deque[int]) -> list[int]:
        """As many waiting prompts as there are free slots and tokens in the budget, at least one."""
        taken = [queue.popleft()]
        tokens = len(self.prompts[taken[0]]) - self.shared
        while queue and len(taken) < self.slots.width - self.rows.active:
            tokens += len(self.prompts[queue[0]]) - self.shared
            if tokens > self.prefill_tokens:
                break
            taken.append(queue.popleft())
        return taken

    def _admit(self, indices: list[int]) -> None:
        """Compute prompts in one flat row into the slots behind the active ones; each gets its first new token."""
        chosen = [self.prompts[index] for index in indices]
        lengths = np.array([len(prompt) for prompt in chosen])
        self._make_room(int(lengths.max()))
        batch, places = prompt_batch([prompt[self.shared :] for prompt in chosen])
        fill = Fill(self.slots, self.rows.active, _index(places).to(self.lm.device))
        batch = batch.to(self.lm.device)
        logits_BV = flat_logits(self.lm, batch, fill, self.shared, self.cut)
        logits_BV = logits_BV.index_select(0, batch.sources[batch.examples.argsort()])
        limits = np.array([self.limits[index] for index in indices])
        prompts = np.array(indices)
        self.rows.add(prompts, lengths, limits, self.choose(logits_BV, prompts))

    def _step(self) -> None:
        """Feed every active row its newest token and append the next one."""
        tokens, positions = self.rows.newest(), self.rows.positions()
        self._make_room(int(positions.max()) + 1)
        step = plan_step(self.slots, self.shared, positions)
        self.rows.append(self.choose(decode_logits(self.lm, tokens, step), self.rows.prompts()))

    def _close_up(self, finished: Ints) -> list[tuple[int, tuple[int, ...]]]:
        """Take out ``finished`` rows; the last rows move into their places."""
        results = self.rows.results(finished)
        sources, targets = self.rows.close_up(finished)
        if len(sources):
            length = int(self.rows.positions().max()) - self.shared
            device = self.lm.device
            self.slots.move(torch.from_numpy(sources).to(device), torch.from_numpy(targets).to(device), length)
        return results

    def _make_room(self, tokens: int) -> None:
        """Slots for rows of ``tokens`` tokens, the shared prefix included; much shorter ones where that will do."""
        active = self.rows.positions()
        needed = max(tokens, int(active.max()) + 1 if len(active) else 0) - self.shared
        length = -(-needed // GRAIN) * GRAIN
        if length > self.slots.length or 2 * length <= self.slots.length:
            self.slots.resize(length, self.rows.active)


def _index(places: Sequence[Ints]) -> Tensor:
    """[n, L] the rows of n prompts; behind the end of a prompt its last row stands again."""
    longest = max(map(len, places))
    return torch.from_numpy(np.stack([np.pad(rows, (0, longest - len(rows)), mode="edge") for rows in places]))


def _cache_bytes(device: torch.device) -> int:
    if device.type != "cuda":
        return CPU_CACHE_BYTES
    free = torch.cuda.mem_get_info(device)[0]
    reusable = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(CUDA_CACHE_SHARE * (free + reusable))
