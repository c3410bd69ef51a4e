"""A floor as a frozen result that carries its inputs and shows itself.

Plain floats for one point, read-only arrays for a sweep. Every total is the sum of the operator rows.
The rows of a large sweep are computed again by the same function when they are asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic

import numpy as np
from numpy.typing import NDArray

from sol.answers.question.ask import Question
from sol.answers.report.citations import Bibliography, citations
from sol.answers.report.explanation import Explanation
from sol.answers.report.shown import Shown
from sol.errors import InvalidInput
from sol.frozen import Frozen
from sol.specs.assumption import Assumption
from sol.specs.parts import Count
from sol.specs.quantities import Amount, Flag, Index, Label, Number
from sol.tabular import Table, joined
from sol.units import show_count, show_seconds

if TYPE_CHECKING:
    from sol.specs.calibration import Calibration


@dataclass(frozen=True, eq=False, repr=False)
class Floor(Shown, Frozen, Generic[Amount, Flag, Label]):
    """The floor of one step, with its inputs and assumptions. Scalars in, floats out; arrays in, read-only arrays out.

    Fields [unit]: `latency_s` the bound [s]; `interval_s` from one step's end to the next, at which all rates are [s]: `latency_s`,
    and more where a pipeline's stages differ in layers; `serial_s` the same operators one after the other [s];
    `memory_s`, `compute_s` Σ bytes/bandwidth and Σ flops/ceiling [s] (`compute_s` is None where no
    source gives the device a 16-bit rate), `network_s` Σ wire bytes/link bandwidth [s]; `moved_weight_bytes`,
    `moved_kv_bytes`, `wire_bytes` sent [B];
    `communication_s` the collectives of the serial floor, latency included [s]; `flops` [FLOP]; `resident_bytes` what must fit [B];
    `fits` (None where the capacity is unknown); `is_bound` whether no assumption is above its optimistic end by what would
    matter (5 %); `loosened` by kind which one is: "routing" (uniform experts), "cache" (a warm one could hold a part),
    "unknown_cache", "copies" (keys and values read by several devices), "experts" (divided in width), "bridge" (none named),
    "wire" (16 bits), "states" (32 bits); `devices` how many (an array where splits are); `valid` whether the split can be, without which
    figures are NaN. Of a split replica, all but the rates are those of one device, the fullest, over a whole pass.
    """

    question: Question
    latency_s: Amount
    interval_s: Amount
    serial_s: Amount
    memory_s: Amount
    compute_s: Amount | None
    network_s: Amount
    moved_weight_bytes: Amount
    moved_kv_bytes: Amount
    wire_bytes: Amount
    flops: Amount
    resident_bytes: Amount
    fits: Flag | None
    is_bound: Flag
    loosened: Mapping[str, Flag]
    _rows: Callable[[], Table]
    _at: Callable[[Index], Floor]
    devices: Count = 1
    communication_s: Amount | float = 0.0
    shown_by: ClassVar[str] = "sol.answers.floor.show"

    # What it is made of

    @property
    def moved_bytes(self) -> Amount:
        """Bytes that must come from or go to memory in the step [B]."""
        f: Floor = self
        made: Amount = _frozen(f.moved_weight_bytes + f.moved_kv_bytes)
        return made

    @property
    def bound(self) -> Label:
        """The resource that sets the floor: "memory", "compute" or "network" (an array of them for a sweep)."""
        memory, compute, network = (np.asarray(0.0 if v is None else v) for v in (self.memory_s, self.compute_s, self.network_s))
        one_device = np.where(memory >= compute, "memory", "compute")
        limit = np.where(network > np.maximum(memory, compute), "network", one_device)
        limit = limit if np.all(self.valid) else np.where(self.valid, limit, "")
        made: Any = str(limit) if self.is_point else np.broadcast_to(limit, np.shape(self.latency_s))
        bound: Label = made
        return bound

    @property
    def tokens_per_s(self) -> Amount:
        """New tokens computed per second, all sequences together [token/s]; in prefill, prompt tokens."""
        made: Amount = per_second(self.question, self.interval_s)
        return made

    @property
    def tokens_per_s_per_user(self) -> Amount:
        """New tokens computed per second for one sequence, of a mixed step for one of its first group [token/s]."""
        made: Amount = per_second(self.question, self.interval_s, sequences=False)
        return made

    @property
    def tokens_per_s_per_gpu(self) -> Amount:
        """`tokens_per_s` divided by the devices [token/s]."""
        f: Floor = self
        made: Amount = _frozen(f.tokens_per_s / f.devices)
        return made

    @property
    def intensity(self) -> Amount:
        """Arithmetic intensity of the whole step [FLOP/B]."""
        f: Floor = self
        made: Amount = _frozen(f.flops / f.moved_bytes)
        return made

    @property
    def ridge(self) -> float | None:
        """Intensity at which the device turns from memory- to compute-bound, for the weights' compute format [FLOP/B]."""
        rates = self.question.rates
        if rates.peak is None:
            return None
        return rates.peak["weights"] / rates.memory_bytes_per_s

    @property
    def valid(self) -> Flag:
        """Whether the model and the links allow the split; an array for a sweep."""
        made: Any = True if self.is_point else np.broadcast_to(self.question.valid, np.shape(self.latency_s))
        valid: Flag = made
        return valid

    @property
    def is_point(self) -> bool:
        """Whether this is one point rather than a sweep."""
        return self.question.scalar

    @property
    def operators(self) -> Table:
        """The rows that the totals sum: time, bytes, FLOPs and bound of each operator."""
        return self._rows()

    @property
    def assumptions(self) -> tuple[Assumption, ...]:
        """What was assumed, one line each."""
        return self.question.assumptions

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader must know before using the number."""
        return self.question.warnings

    def __getitem__(self, index: Index) -> Floor[float, bool, str]:
        """One point of a sweep as a separate result: `floor(grid)[i, j]` equals `floor(point)`."""
        if self.is_point:
            raise InvalidInput("this floor", "is already one point", "index a sweep")
        try:
            chosen = np.empty(np.shape(self.latency_s), dtype=bool)[index]
        except (IndexError, TypeError):
            chosen = None
        if chosen is None or np.ndim(chosen):
            raise InvalidInput(f"index {index!r}", f"does not choose one point of a sweep of shape {np.shape(self.latency_s)}")
        return self._at(index)

    def compare(
        self, *, measured_s: Number, engine: str | None = None, calibration: Calibration | str | Path | None = None
    ) -> Any:  # any: a `Comparison`, which is made of floors, so that no floor may import it
        """A measured time of this step [s] compared with the floor, as by `sol.compare`. Raises `InvalidInput` for a sweep."""
        comparing = import_module("sol.answers.compare.compare")
        return comparing.compare_of(self.question, measured_s, engine, calibration)

    # How it shows itself

    def sources(self) -> Bibliography:
        """The bibliography: every number this result rests on, its printed words and where they stand."""
        return citations(self.question)

    def explain(self) -> Explanation:
        """The formula with the numbers in it, row by row. Raises `InvalidInput` for a sweep: index one point of it."""
        made: Explanation = self.drawn("explain")
        return made

    def heading(self) -> str:
        """What was asked, on one line."""
        q, several = self.question, self.question.split.times
        return joined(
            (f"{q.model.id} on {several}{q.gpu.id}", str(q.split) if several else "", q.phase, *_step_words(q),
             q.storage.weights.id, f"kv {q.storage.cache.id}" if q.storage.cache is not q.storage.base else "")
        )  # fmt: skip

    def __repr__(self) -> str:
        low, high = float(np.nanmin(self.latency_s)), float(np.nanmax(self.latency_s))
        if self.is_point:
            return f"<Floor {self.heading()}: {show_seconds(low, 4)}, {self.bound}-bound>"
        return f"<Floor {self.heading()}: {np.size(self.latency_s)} points, {show_seconds(low, 4)} … {show_seconds(high, 4)}>"


def _step_words(q: Question) -> tuple[str, ...]:
    if q.phase == "mixed":
        return tuple(f"{_span(g.batch)} × {_span(g.new_tokens)} new after {_span(g.past_tokens)}" for g in q.step.groups)
    return (
        f"batch {_span(q.step.batch)}", f"ctx {_span(q.ctx)}",
        f"{_span(q.cached_tokens)} cached" if q.phase == "prefill" and q.cached_tokens.any() else "",
        f"{_span(q.step.new_tokens)} new tokens" if q.phase == "decode" and (q.step.new_tokens != 1).any() else "",
    )  # fmt: skip


def per_second(q: Question, latency_s: Any, *, sequences: bool = True) -> Any:
    """New tokens per second at a step time, of all `sequences` together or of one [token/s]."""
    tokens = q.step.tokens if sequences else q.step.new_tokens
    return _frozen(tokens.item() / latency_s if q.scalar else tokens / latency_s)


def _span(values: NDArray[np.float64]) -> str:
    low, high = float(values.min()), float(values.max())
    return show_count(low) if low == high else f"{show_count(low)}…{show_count(high)}"


def _frozen(value: Any) -> Any:
    """The value; arrays are made read-only."""
    if isinstance(value, np.ndarray):
        value.flags.writeable = False
    return value
