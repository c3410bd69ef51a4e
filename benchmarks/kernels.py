"""Single kernels timed on an NVIDIA GPU: matrix products over weights in no cache, copies, reads and launches; see device.py."""

from __future__ import annotations

import time

import torch
from decoder import CUDA, random
from timing import Log, captured, on_device
from torch.nn import functional

KERNEL_COLUMNS = ("kernel", "dtype", "m", "n", "k", "moved_bytes", "flops", "seconds", "how")
SHAPES = (
    (1024, 1024), (2048, 2048), (4096, 2048), (4096, 4096), (4096, 6144), (4096, 14336), (4096, 28672), (8192, 28672), (8192, 65536),
)  # fmt: skip
EVERY_M = ((4096, 4096), (4096, 28672), (8192, 28672))


def matrix_kernels(log: Log, deadline: float) -> None:
    """Matrix products over weights that lie in no cache: each replay walks through 4 GB of them."""
    for dtype, name in ((torch.bfloat16, "bf16"), (torch.float8_e4m3fn, "fp8")):
        for k, n in SHAPES:
            for m in (1, 8, 16, 64, 128, 256, 512, 2048, 8192):
                if time.perf_counter() > deadline or (m not in (1, 16, 64, 256) and (k, n) not in EVERY_M):
                    continue
                try:
                    log.add(kernel="gemm", dtype=name, m=m, n=n, k=k, **_matrix(m, n, k, dtype), how="graph, cold")
                except RuntimeError as error:
                    print("skipped", name, m, n, k, str(error)[:120], flush=True)


def _matrix(m: int, n: int, k: int, dtype: torch.dtype) -> dict[str, float]:
    size = torch.finfo(dtype).bits // 8
    copies = max(2, min(256, int(4e9) // (n * k * size))) if m < 1024 else 4
    weights = [random((n, k), dtype) for _ in range(copies)]
    x, one = random((m if dtype == torch.bfloat16 else max(m, 16), k), dtype), torch.ones((), device=CUDA)

    def work() -> None:
        for w in weights:
            if dtype == torch.bfloat16:
                functional.linear(x, w)
            else:
                torch._scaled_mm(x, w.t(), one, one, out_dtype=torch.bfloat16)

    graph = captured(work)
    seconds = on_device(graph.replay) / copies
    return {"moved_bytes": float(n * k * size + m * (k * size + n * 2)), "flops": 2.0 * m * n * k, "seconds": seconds}


def other_kernels(log: Log) -> None:
    """Copies, reads and launches."""
    _streams(log)
    small, count = torch.zeros(1024, device=CUDA), 1000

    def many() -> None:
        for _ in range(count):
            small.add_(1.0)

    log.add(kernel="small", seconds=on_device(captured(many).replay) / count, how="graph, back to back")
    log.add(kernel="small", seconds=on_device(many) / count, how="issued by PyTorch, back to back")
    norm_x, weight = torch.randn(1, 4096, device=CUDA, dtype=torch.bfloat16), torch.ones(4096, device=CUDA, dtype=torch.bfloat16)

    def norms() -> None:
        for _ in range(count):
            functional.rms_norm(norm_x, (4096,), weight)

    log.add(kernel="rms_norm", dtype="bf16", m=1, n=4096, seconds=on_device(captured(norms).replay) / count, how="graph, back to back")


def _streams(log: Log) -> None:
    big, other = torch.randn(2**31, device=CUDA, dtype=torch.bfloat16), torch.empty(2**31, device=CUDA, dtype=torch.bfloat16)
    log.add(kernel="copy", dtype="bf16", moved_bytes=2.0 * 2**32, seconds=on_device(lambda: other.copy_(big)), how="queued")
    log.add(kernel="write", dtype="bf16", moved_bytes=2.0**32, seconds=on_device(lambda: other.fill_(1.0)), how="queued")
    log.add(kernel="read", dtype="bf16", moved_bytes=2.0**32, seconds=on_device(lambda: torch.amax(big)), how="queued, maximum of all")
