"""What a step would take if every kernel did as well as the best ones measured on the device: no bound, and no engine's estimate."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sol.sources.database.kernels import Best, best_reached
from sol.specs.step import Role

if TYPE_CHECKING:
    from sol.answers.floor.result import Floor


class BestMeasured(NamedTuple):
    """`seconds` of the step [s], and whose rates they are: `read` of the bandwidth, `compute` of each format's peak."""

    seconds: float
    read: Best
    compute: dict[str, Best]

    def text(self) -> str:
        """The rates, in words."""
        shares = [f"{name} {100 * best.share:.0f} %" for name, best in (("reads", self.read), *self.compute.items())]
        return f"with the best kernels measured ({', '.join(shares)} of the peaks): no bound"


def best_measured(f: Floor) -> BestMeasured | None:
    """Of one point: its bytes and FLOPs at the best rates measured; None where nobody published one that the step needs."""
    q = f.question
    known = best_reached(q.gpu.id)
    if not f.is_point or "read" not in known or q.rates.peak is None:
        return None
    seconds, used = float(f.memory_s) / known["read"].share, {}
    work: dict[Role, float] = {}
    for op, _ in q.operators():
        if op.multiplies and op.wire is None:
            work[op.role] = work.get(op.role, 0.0) + float(op.flops)
    compute_s = 0.0
    for role, flops in work.items():
        fmt = q.rates.formats[role]
        best = known.get(fmt)
        if best is None:
            if flops / q.rates.peak[role] > 0.01 * float(f.latency_s):
                return None
            continue
        compute_s += flops / (q.rates.peak[role] * best.share)
        used[fmt] = best
    return BestMeasured(max(seconds, compute_s, float(f.network_s), float(f.latency_s)), known["read"], used)
