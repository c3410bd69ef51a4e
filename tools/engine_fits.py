"""Which figures of an engine its published rows can tell, and what is usual of each: the decisions behind the database's calibrations.

The fit itself is the product's, `sol.answers.calibrate.published`.
"""

from __future__ import annotations

from collections.abc import Sequence

from sol import load_format, load_model
from sol.answers.calibrate.accuracy import questions
from sol.answers.estimate.stand_ins import can_estimate
from sol.physics.fit.fit import Usual
from sol.physics.time.estimate import rate_names
from sol.sources.database.measured import MeasuredRow
from sol.specs.calibration import Calibration

FEW_MODELS = 2


def rated(row: MeasuredRow) -> bool:
    """Whether there can be an estimate: a sourced rate, or bytes that hide products, and no prompt through a pipeline in pieces."""
    return not (row.pp > 1 and row.phase == "prefill") and all(map(can_estimate, questions(row)))


TIMES = {
    "step_s": Usual(1e-3, 1.0, 1e-9, 1.0), "sequence_s": Usual(3e-5, 1.0, 1e-9, 1e-2), "host_s": Usual(6e-4, 0.5, 1e-9, 1.0),
    "launch_s": Usual(3e-6, 0.7, 1e-9, 1e-2),
}  # fmt: skip
"""Times per step, per sequence in it, per layer of the host, per kernel [s]."""
MBU, MFU = Usual(0.75, 0.3, 0.02, 1.0), Usual(0.5, 0.5, 0.005, 1.0)
ATTENTION = Usual(0.3, 1.0, 0.002, 1.0)
BESIDES = {"eager": ("host_s",), "graph": ("step_s", "sequence_s"), "fused": ("launch_s",), "llama.cpp": ("launch_s",)}
"""The times that each class of engines is known by."""
BASED = ("graph", "eager")
"""Classes whose kernels are those of `kernels.toml`, where the device is there."""


def free_figures(rows: Sequence[MeasuredRow], base: Calibration | None, kind: str) -> dict[str, Usual]:
    """What these rows can tell: times on top of known rates, or the rates of every format they have too."""
    figures = {name: TIMES[name] for name in BESIDES[kind] if name != "sequence_s" or max(r.batch for r in rows) > 1}
    if base is None:
        for name in sorted({format_of(r) for r in rows}):
            mine = [r for r in rows if format_of(r) == name]
            figures[f"gemm.{name}:mbu"] = MBU
            if any(r.phase != "decode" or r.batch >= LARGE for r in mine):
                figures[f"gemm.{name}:mfu"] = MFU
        routed = [r for r in rows if load_model(r.model).is_moe]
        for name in sorted({format_of(r) for r in routed}):
            figures[f"experts.{name}:mbu"] = MBU
        if routed:
            figures["experts:launch_s"] = TIMES["launch_s"]._replace(value=1e-5)
        if any(r.phase != "decode" and (r.ctx or r.prompt_tokens or 0) >= LONG for r in rows):
            figures["attention:mfu"] = ATTENTION
    return figures


LARGE, LONG = 64, 4096
"""A batch whose products may be bound by FLOPs, and a prompt whose attention weighs [1, tokens]."""


def format_of(row: MeasuredRow) -> str:
    """The format of a row's weights, as rates name it; 16 bits are one."""
    found = rate_names(load_format(row.dtype))
    return "bf16" if found[-1] == "bf16" else found[0]
