"""May a step be estimated from its bytes alone, where no source has a rate of its FLOPs?"""

from __future__ import annotations

import numpy as np

from sol.answers.question.ask import Question


def can_estimate(q: Question) -> bool:
    """Whether every product has a sourced rate, or takes no longer than its bytes at any plausible one.

    Narrow formats can be multiplied in 16 bits, so that no rate is below the device's of 16 bits: where a source has that, products that
    hide beneath their bytes at it hide at any. Without it one token of one sequence, 2 FLOPs a weight, hides on every device.
    """
    if q.rates.peak is not None:
        return True
    if q.step.beside or q.phase != "decode":
        return False
    if not np.any(np.asarray(q.step.batch) * np.asarray(q.step.new_tokens) > 1.0):
        return True
    sixteen = max((q.gpu.peak(name) or 0.0 for name in ("bf16", "fp16")), default=0.0)
    return sixteen > 0.0 and all(np.all(op.flops / sixteen <= times.moved_s) for op, times in q.operators() if op.wire is None)
