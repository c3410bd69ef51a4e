"""A floor as a frozen result that carries its inputs and shows itself.

Plain floats for one point, read-only arrays for a sweep. Every total is the sum of the operator rows.
The rows of a large sweep are computed again by the same function when they are asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from sol.answers.question.ask import Question
from sol.answers.report.citations import Bibliography, citations
from sol.answers.report.explanation import Explanation
from sol.answers.report.shown import Shown
from sol.errors import InvalidInput
from sol.frozen import Frozen
from sol.specs.assumption import Assumption
from sol.tabular import Table, joined
from sol.units import show_count, show_seconds

if TYPE_CHECKING:
    from sol.specs.calibration import Calibration


@dataclass(frozen=True, eq=False, repr=False)
class Floor(Shown, Frozen):
    """The floor of one step, with its inputs and assumptions. Scalars in, floats out; arrays in, read-only arrays out.

    Fields [unit]: `latency_s` the bound [s]; `serial_s` the same operators one after the other [s];
    `memory_s`, `compute_s` Σ bytes/bandwidth and Σ flops/ceiling [s] (`compute_s` is None where no
    source gives the device a 16-bit rate), `network_s` Σ wire bytes/link bandwidth [s]; `moved_weight_bytes`,
    `moved_kv_bytes`, `wire_bytes` sent [B];
    `communication_s` the collectives of the serial floor, latency included [s]; `flops` [FLOP]; `resident_bytes` what must fit [B];
    `fits` (None where the capacity is unknown); `is_bound` whether
    every assumption is at its optimistic end (uniform expert routing is not, nor a cold cache that could
    hold all the step reads); `devices` how many (an array where splits are); `valid` whether the split can be, without which
    figures are NaN. Of a split replica, all but the rates are those of one
    device, the fullest, over a whole pass.
    """

    question: Question
    latency_s: Any
    serial_s: Any
    memory_s: Any
    compute_s: Any
    network_s: Any
    moved_weight_bytes: Any
    moved_kv_bytes: Any
    wire_bytes: Any
    flops: Any
    resident_bytes: Any
    fits: Any
    is_bound: Any
    _rows: Callable[[], Table]
    _at: Callable[[Any], Floor]
    devices: Any = 1
    communication_s: Any = 0.0
    shown_by: ClassVar[str] = "sol.answers.floor.show"

    # What it is made of

    @property
    def moved_bytes(self) -> Any:
        """Bytes that must come from or go to memory in the step [B]."""
        return _frozen(self.moved_weight_bytes + self.moved_kv_bytes)

    @property
    def bound(self) -> Any:
        """The resource that sets the floor: "memory", "compute" or "network" (an array of them for a sweep)."""
        memory, compute, network = (np.asarray(0.0 if v is None else v) for v in (self.memory_s, self.compute_s, self.network_s))
        one_device = np.where(memory >= compute, "memory", "compute")
        limit = np.where(network > np.maximum(memory, compute), "network", one_device)
        limit = limit if np.all(self.valid) else np.where(self.valid, limit, "")
        return str(limit) if self.is_point else np.broadcast_to(limit, np.shape(self.latency_s))

    @property
    def tokens_per_s(self) -> Any:
        """New tokens computed per second, all sequences together [token/s]; in prefill, prompt tokens."""
        return per_second(self.question, self.latency_s)

    @property
    def tokens_per_s_per_user(self) -> Any:
        """New tokens computed per second for one sequence [token/s]."""
        return per_second(self.question, self.latency_s, sequences=False)

    @property
    def tokens_per_s_per_gpu(self) -> Any:
        """`tokens_per_s` divided by the devices [token/s]."""
        return _frozen(self.tokens_per_s / self.devices)

    @property
    def intensity(self) -> Any:
        """Arithmetic intensity of the whole step [FLOP/B]."""
        return _frozen(self.flops / self.moved_bytes)

    @property
    def ridge(self) -> float | None:
        """Intensity at which the device turns from memory- to compute-bound, for the weights' compute format [FLOP/B]."""
        rates = self.question.rates
        if rates.peak is None:
            return None
        return rates.peak["weights"] / rates.memory_bytes_per_s

    @property
    def valid(self) -> Any:
        """Whether the model and the links allow the split; an array for a sweep."""
        return True if self.is_point else np.broadcast_to(self.question.valid, np.shape(self.latency_s))

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

    def __getitem__(self, index: Any) -> Floor:
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

    def compare(self, *, measured_s: float, engine: str | None = None, calibration: Calibration | str | Path | None = None) -> Any:
        """A measured time of this step [s] compared with the floor, as by `sol.compare`. Raises `InvalidInput` for a sweep."""
        comparing = import_module("sol.answers.compare.compare")  # by name: a comparison is made of floors, so no floor imports it
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
            (f"{q.model.id} on {several}{q.gpu.id}", str(q.split) if several else "", q.phase,
             f"batch {_span(q.step.batch)}", f"ctx {_span(q.ctx)}",
             f"{_span(q.cached_tokens)} cached" if q.phase == "prefill" and q.cached_tokens.any() else "",
             f"{_span(q.step.new_tokens)} new tokens" if q.phase == "decode" and (q.step.new_tokens != 1).any() else "",
             q.storage.weights.id, f"kv {q.storage.cache.id}" if q.storage.cache is not q.storage.base else "")
        )  # fmt: skip

    def __repr__(self) -> str:
        if self.is_point:
            return f"<Floor {self.heading()}: {show_seconds(self.latency_s, 4)}, {self.bound}-bound>"
        low, high = float(np.nanmin(self.latency_s)), float(np.nanmax(self.latency_s))
        return f"<Floor {self.heading()}: {np.size(self.latency_s)} points, {show_seconds(low, 4)} … {show_seconds(high, 4)}>"


def per_second(q: Question, latency_s: Any, *, sequences: bool = True) -> Any:
    """New tokens per second at a step time, of all `sequences` together or of one [token/s]."""
    tokens = q.step.batch * q.step.new_tokens if sequences else q.step.new_tokens
    return _frozen(tokens.item() / latency_s if q.scalar else tokens / latency_s)


def _span(values: NDArray[np.float64]) -> str:
    low, high = float(values.min()), float(values.max())
    return show_count(low) if low == high else f"{show_count(low)}…{show_count(high)}"


def _frozen(value: Any) -> Any:
    """The value; arrays are made read-only."""
    if isinstance(value, np.ndarray):
        value.flags.writeable = False
    return value
