"""What an engine reaches on a device: fractions of its peaks, and times that bytes and FLOPs do not explain.

A calibration is a record and never part of a floor. With all rates at 100 % and all times zero it gives the serial
floor. Fitting and physics are elsewhere. Symbols: docs/notation.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field, model_validator

from sol.frozen import FrozenMap
from sol.specs.engines import version_numbers
from sol.specs.record import TEXT_FOR_NUMBER, HandMade, NotNegative, Positive, Record, Source
from sol.specs.step import Fusion
from sol.tabular import Column, Table
from sol.units import show_seconds

FormName = Literal["M1", "M2", "M3", "given"]
"""M1: serial/mbu + one time, per step or per kernel · M2: both, or per sequence too · M3: the host's time per layer where it is longer ·
given: figures from elsewhere, none of them fitted to steps."""

OperatorKind = Literal["gemm", "attention", "experts", "other"]
"""Operators that reach different rates: matrix products, attention and states, grouped products of experts, and what multiplies nothing."""
RateFigure = Literal["mbu", "mfu", "launch_s"]
OPERATOR_KINDS: tuple[OperatorKind, ...] = ("gemm", "attention", "experts", "other")


class Figure(Record):
    """One number of a calibration, its 95 % interval where it has one, and its source where that is not the record's own."""

    value: NotNegative
    low: NotNegative | None = None
    high: NotNegative | None = None
    source: str | None = None
    note: str = ""

    @model_validator(mode="before")
    @classmethod
    def _plain_number(cls, data: Any) -> Any:
        if isinstance(data, str):
            raise ValueError(TEXT_FOR_NUMBER)
        return {"value": data} if isinstance(data, int | float) and not isinstance(data, bool) else data

    @model_validator(mode="after")
    def _inside_its_interval(self) -> Figure:
        low, high = (self.value if v is None else v for v in (self.low, self.high))
        if not low <= self.value <= high:
            raise ValueError(f"{self.value:g} lies outside its interval {low:g} … {high:g}")
        return self


def _fraction(figure: Figure | None) -> Figure | None:
    if figure is not None and not 0 < figure.value <= 1:
        raise ValueError(f"a fraction of a peak lies above 0 and is at most 1 (got {figure.value:g})")
    return figure


NOTHING, WHOLE = Figure(value=0.0), Figure(value=1.0)


class Rate(Record):
    """Rates of one kind of operator that differ from the calibration's own: fractions of the peaks, and seconds per kernel.

    `passes`: how often the operator's activations cross memory after its product instead of during it [1].
    `piece_s`: time of each piece, whatever its bytes [s]: of attention, of a sequence's KV head, beneath the bytes and FLOPs; of
    experts, of each that the device holds, on top of them. `exposed`: the share of the shorter of bytes and FLOPs that the longer does
    not hide [0..1], of matrix products.
    """

    mbu: Figure | None = None
    mfu: Figure | None = None
    launch_s: Figure | None = None
    passes: Figure | None = None
    piece_s: Figure | None = None
    exposed: Figure | None = None

    @model_validator(mode="after")
    def _means_something(self) -> Rate:
        _fraction(self.mbu)
        _fraction(self.mfu)
        _fraction(self.exposed)
        if self.passes is not None and self.passes.value < 1:
            raise ValueError(
                f"passes: activations cross memory at least once (got {self.passes.value:g}); leave it out to hide them beneath"
            )
        return self


class Reached(NamedTuple):
    """What operators of one kind reach, in plain numbers: see `Rate`."""

    mbu: float
    mfu: float
    launch_s: float
    passes: float | None
    piece_s: float = 0.0
    exposed: float = 0.0


class Residual(Record):
    """One fitted row: its inputs, the measured time, and the time of this calibration [s].

    `left_out_s` is the time of a fit without the rows of its model; None with one model.
    """

    where: str
    model: str = ""
    measured_s: Positive
    estimated_s: Positive
    left_out_s: Positive | None = None
    floor_s: Positive | None = None


class Calibration(HandMade):
    """What an engine reaches on a device.

    Fields [unit]: `mbu`, `mfu` fractions of peak bandwidth and dense peak [0..1]; `launch_s` per kernel [s];
    `host_s` of the host per layer [s]; `step_s` fixed per step, `sequence_s` per sequence in it [s];
    `spread_s` of each layer of experts that are spread over devices, besides its operators [s];
    `first_token_s` of a request before and after its steps, until the client has its first token [s], in no step;
    `overlap` [0..1] how far operators overlap. `rates` replaces them for a kind of operator, "gemm",
    "attention", "experts" or "other", or for one with its weights in one format, "gemm.q4_k_m", or in one
    of its family, "gemm.w4a16". `fusion` says which kernels there are. `within_95`: 19 of 20 models that
    were not fitted lie within a factor e^±within_95 of the estimate. `n` rows, of `models`, with
    weights of one `dtype` ("16-bit": bf16 or fp16) where the rows say; `cuda_graphs` likewise. `versions` of the engine that
    the rows are of, the first and the last; none where they do not say. `base`: the record of the database that it adds times
    to, whose rates it has. `stands_for`: what was asked where that is not this record itself, an engine by version or no engine.
    `collectives`: the engine, with @ its version, whose all-reduce it runs, where that is not `engine`.

    >>> Calibration(gpu="h100-sxm", engine="ideal").at("gemm", "bf16")
    Reached(mbu=1.0, mfu=1.0, launch_s=0.0, passes=None, piece_s=0.0, exposed=0.0)
    """

    id: str = ""
    base: str = ""
    gpu: str
    engine: str
    collectives: str = ""
    versions: tuple[()] | tuple[str, str] = ()
    cuda_graphs: bool | None = None
    dtype: str = ""
    form: FormName = "given"
    fusion: Fusion = "ideal"
    mbu: Figure = WHOLE
    mfu: Figure = WHOLE
    launch_s: Figure = NOTHING
    host_s: Figure = NOTHING
    step_s: Figure = NOTHING
    sequence_s: Figure = NOTHING
    spread_s: Figure = NOTHING
    first_token_s: Figure = NOTHING
    overlap: Figure = NOTHING
    rates: Mapping[str, Rate] = Field(default_factory=FrozenMap)
    within_95: Annotated[float, Field(gt=0, lt=10, strict=True)] | None = None
    n: Annotated[int, Field(ge=0, strict=True)] = 0
    models: tuple[str, ...] = ()
    residuals: tuple[Residual, ...] = ()
    sources: Mapping[str, Source] = Field(default_factory=FrozenMap)
    source: str | None = None
    note: str = ""
    stands_for: str = ""

    @model_validator(mode="after")
    def _means_something(self) -> Calibration:
        if self.versions:
            first, last = (version_numbers(v) for v in self.versions)
            if first is None or last is None or first > last:
                raise ValueError(f"versions: {', '.join(self.versions)} are not the first and the last, such as 0.12 and 0.20")
        _fraction(self.mbu)
        _fraction(self.mfu)
        if self.overlap.value > 1:
            raise ValueError(f"overlap: a fraction is at most 1 (got {self.overlap.value:g})")
        for key in self.rates:
            if key.partition(".")[0] not in OPERATOR_KINDS:
                raise ValueError(
                    f"rates: '{key}' is no kind of operator; one of {', '.join(OPERATOR_KINDS)}, or one with a format, gemm.fp8"
                )
        return self

    def at(self, kind: OperatorKind, *formats: str) -> Reached:
        """The rates of a kind of operator with weights (attention: a cache) in a format, given by its names, the narrowest first.

        The nearest known rates: of the kind in that format, of the kind, for experts of matrix products. For a format without rates
        the calibration's own, or, if those are the peak, the geometric mean of the kind's other formats.
        """

        def nearest(name: RateFigure) -> float:
            keys, mean = self.rates_of(name, kind, *formats)
            found = [float(getattr(self.rates[k], name).value) for k in keys]
            if not found:
                return float(getattr(self, name).value)
            return math.exp(sum(map(math.log, found)) / len(found)) if mean else found[0]

        known = self._known(kind, formats)
        of_mfu = next((r for r in known if r.mfu is not None), None)  # what was found with an mfu goes with it
        exposed = 0.0 if of_mfu is None or of_mfu.exposed is None else of_mfu.exposed.value
        passes = None if of_mfu is None or of_mfu.passes is None else of_mfu.passes.value
        of_launch = next((r for r in known if r.launch_s is not None), None)  # times of pieces go with the launch beside them
        piece_s = 0.0 if of_launch is None or of_launch.piece_s is None else of_launch.piece_s.value
        return Reached(nearest("mbu"), nearest("mfu"), nearest("launch_s"), passes, piece_s, exposed)

    def rates_of(self, figure: RateFigure, kind: OperatorKind, *formats: str) -> tuple[tuple[str, ...], bool]:
        """The names of the rates behind a figure of a kind of operator, and whether it is their mean; empty: the calibration's own."""
        keys = [key for k in _kinds(kind) for key in (*(f"{k}.{f}" for f in formats), k)]
        for key in keys:
            if key in self.rates and getattr(self.rates[key], figure) is not None:
                return (key,), False
        others = () if figure == "launch_s" else tuple(k for k in self._others(kind, formats) if getattr(self.rates[k], figure) is not None)
        return others, True

    def _known(self, kind: OperatorKind, formats: tuple[str, ...]) -> list[Rate]:
        """The rates of a kind of operator in a format, the nearest first."""
        keys = [key for k in _kinds(kind) for key in (*(f"{k}.{f}" for f in formats), k)]
        return [self.rates[k] for k in keys if k in self.rates]

    def _others(self, kind: OperatorKind, formats: tuple[str, ...]) -> list[str]:
        """The names of the rates that stand in for a format of which nothing here says how much of the bandwidth it reaches."""
        if self.mbu.value < 1.0 or any(r.mbu is not None for r in self._known(kind, formats)):
            return []
        return next(filter(None, ([k for k in self.rates if k.startswith(f"{of}.")] for of in _kinds(kind))), [])

    def stand_in(self, kind: OperatorKind, *formats: str) -> str:
        """The rates used instead, as text, for a format without rates in a calibration by formats; empty if it has rates.

        >>> Calibration(gpu="mi300x", engine="vllm", rates={"gemm.fp8": Rate(mbu=0.6)}).stand_in("gemm", "bf16")
        'rates of fp8'
        """
        of_formats = {k for k in self.rates if k.startswith(tuple(f"{of}." for of in _kinds(kind)))}
        if not of_formats or of_formats.intersection(f"{of}.{f}" for of in _kinds(kind) for f in formats):
            return ""
        others = self._others(kind, formats)
        return f"rates of {', '.join(k.partition('.')[2] for k in others)}" if others else "rates of no one format"

    def tells_mfu(self, kind: OperatorKind, *formats: str) -> bool:
        """Whether the calibration has a fraction of the peak FLOPs for a kind of operator; without one the full peak is used."""
        said = [*self._known(kind, formats), *(self.rates[k] for k in self._others(kind, formats))]
        return any(r.mfu is not None for r in said) or self.mfu.value < 1.0 or self.mfu.low is not None

    def interval(self) -> tuple[float, float]:
        """Factors on an estimate that hold 19 of 20 models [1]; (0, inf) if unknown."""
        if self.within_95 is None:
            return 0.0, math.inf
        return math.exp(-self.within_95), math.exp(self.within_95)

    def to_table(self) -> Table:
        """Every fitted row with its estimate, and the estimate without its model; the largest errors first."""
        ordered = sorted(self.residuals, key=lambda r: -abs(math.log(r.estimated_s / r.measured_s)))
        rows = tuple(
            (r.where, r.measured_s, r.estimated_s, r.estimated_s / r.measured_s - 1,
             None if r.left_out_s is None else r.left_out_s / r.measured_s - 1)
            for r in ordered
        )  # fmt: skip
        return Table(columns=COLUMNS, rows=rows, title=repr(self))

    def __repr__(self) -> str:
        known = f"mbu {self.mbu.value:.3g}, mfu {self.mfu.value:.3g}" + "".join(
            f", {name} {v * 1e6:.3g} µs" for name in ("launch_s", "host_s", "step_s", "sequence_s") if (v := getattr(self, name).value)
        )
        return f"<Calibration {self.id or self.engine} on {self.gpu}: {self.form}, {known}, of {self.n} rows>"


def _kinds(kind: OperatorKind) -> tuple[OperatorKind, ...]:
    """Kinds whose rates apply to an operator: experts use those of matrix products if they have none."""
    return (kind, "gemm") if kind == "experts" else (kind,)


def _percent(value: float) -> str:
    return f"{100 * value:+.1f} %"


COLUMNS = (
    Column("row", "row", left=True, wrap=True),
    Column("measured_s", "measured", lambda v: show_seconds(v, 4)),
    Column("estimated_s", "estimated", lambda v: show_seconds(v, 4)),
    Column("error", "error", _percent),
    Column("left_out_error", "model left out", _percent),
)
