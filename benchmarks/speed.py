"""How fast the answers come, as ratios measured in one run: `python benchmarks/speed.py`.

Nothing here is asserted; a ratio says more than a time on a machine nobody knows.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np

from sol import estimate, floor, plan

POINTS, CALLS = 1_000_000, 500


def best(work: Callable[[], object], repeat: int = 5) -> float:
    """The fastest of a few runs [s]: the one least disturbed by the machine."""
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def sixty_passes() -> float:
    """60 `np.maximum` passes over a million floats [s], the yardstick."""
    a, b = np.random.default_rng(0).random((2, POINTS))
    return best(lambda: [np.maximum(a, b) for _ in range(60)])


def cold(code: str) -> float:
    """Seconds of a fresh process that runs `code`, its modules compiled as an installation has them."""
    env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    return best(lambda: subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, env=env), repeat=15)


BARE = "import numpy\nfrom pydantic import BaseModel\nclass A(BaseModel):\n    a: float\n"
COMMAND = "import sys\nsys.argv = 'sol floor qwen2.5-7b h100 --ctx 2048 --json'.split()\nfrom sol.views.cli import run\nrun()\n"


def main() -> None:
    """Print every ratio beside its target."""
    yardstick = sixty_passes()
    batch, ctx = np.linspace(1, 256, 1000)[:, None], np.linspace(0, 131072, 1000)[None, :]
    rng = np.random.default_rng(1)
    scattered = rng.uniform(1, 256, POINTS), rng.uniform(0, 131072, POINTS)
    for model in ("qwen2.5-7b", "qwen3-30b-a3b"):
        grid = best(lambda m=model: floor(m, "h200", ctx=ctx, batch=batch))
        loose = best(lambda m=model: floor(m, "h200", ctx=scattered[1], batch=scattered[0]))
        scalar = best(lambda m=model: [floor(m, "h200", ctx=2048) for _ in range(CALLS)]) / CALLS
        print(f"{model:14}  1000×1000 grid {grid / yardstick:5.2f} × the yardstick (target 3)   {POINTS / grid / 1e6:5.1f} M points/s")
        print(f"{'':14}  1 M scattered  {loose / yardstick:5.2f} × the yardstick (target 6)   {POINTS / loose / 1e6:5.1f} M points/s")
        print(f"{'':14}  scalar call    {scalar * 1e3:5.3f} ms (target 0.2)")
        likely = best(lambda m=model: estimate(m, "h200", ctx=ctx, batch=batch))
        one = best(lambda m=model: [estimate(m, "h200", ctx=2048) for _ in range(CALLS)]) / CALLS
        print(f"{'':14}  estimates      {likely / yardstick:5.2f} × the yardstick on the grid, {one * 1e3:5.3f} ms per call")
    for model, devices in (("llama-3.1-70b", "1-16"), ("deepseek-v3", "8,16,32,64,72")):
        ask = {"devices": devices, "ctx": 4096, "objective": "tokens_per_s_per_gpu", "network": "infiniband-ndr"}
        splits = len(set(plan(model, "h200", **ask).splits))
        every = best(lambda m=model, a=ask: plan(m, "h200", **a))
        print(
            f"{model:14}  plan, {splits:3} splits × 64 batches {every / yardstick:5.3f} × the yardstick   {every * 1e3:5.1f} ms (target 20)"
        )
    print(
        f"{'cold start':14}  sol floor --json {cold(COMMAND) / cold(BARE):4.2f} × a process with numpy and one Pydantic model (target 1.3)"
    )


if __name__ == "__main__":
    main()
