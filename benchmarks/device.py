"""Measures an NVIDIA GPU as this package reads measurements: `python benchmarks/device.py OUT [--models a,b] [--seconds 300]`.

Needs PyTorch with CUDA (and transformers for the eager rows). Weights are random: a step's time does not
depend on their values, beyond the power they draw. Writes steps.csv (rows of `read_measurements`),
kernels.csv (seconds of single kernels), sessions.csv (with and without CUDA graphs, a fresh process each) and device.json.
The decoder is plain PyTorch: one fused matrix for q, k and v, one for gate and up, SDPA over a static cache; its rows
replay it from a CUDA graph, those with `cuda_graphs` no issue the same kernels one by one.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # sol beside this folder, installed or not
from decoder import CUDA, Decoder, random
from kernels import KERNEL_COLUMNS, matrix_kernels, other_kernels
from timing import Log, captured, wall

from sol import load_model
from sol.specs.mixers import Attention
from sol.specs.model import Model

STEP_COLUMNS = (
    "model", "gpu", "phase", "measured_s", "low_s", "high_s", "dtype", "kv_dtype", "batch", "ctx", "new_tokens", "engine", "cuda_graphs",
    "session",
)  # fmt: skip


def decoder_rows(log: Log, name: str, gpu: str, deadline: float, fp8: bool = False) -> None:
    """Decode steps and prompts of one model, from a graph, and a few queued."""
    model = load_model(name)
    made: Decoder | None = None
    dtype = "fp8" if fp8 else "bf16"
    for batch, ctx in ((1, 512), (1, 2048), (1, 8192), (8, 2048), (32, 512), (32, 2048), (128, 512), (128, 2048), (256, 512)):
        if time.perf_counter() > deadline or not _holds(model, batch * (ctx + 1), fp8):
            continue
        made = made or Decoder(model, 1, 16, fp8)
        made.resize(batch, ctx + 1)
        ids, decoder = torch.ones(batch, 1, device=CUDA, dtype=torch.long), made

        def work(d: Decoder = decoder, i: torch.Tensor = ids, c: int = ctx) -> Any:
            return d(i, c)

        common = {
            "model": name,
            "gpu": gpu,
            "phase": "decode",
            "dtype": dtype,
            "kv_dtype": "bf16",
            "batch": batch,
            "ctx": ctx,
            "new_tokens": 1,
        }
        _timed(log, captured(work).replay, 20, **common, engine="pytorch", cuda_graphs="yes")
        if (batch, ctx) in ((1, 2048), (32, 2048)):
            _timed(log, work, 20, **common, engine="pytorch", cuda_graphs="no")
    for batch, prompt in ((1, 128), (1, 512), (1, 2048), (1, 8192), (8, 1024)):
        if time.perf_counter() > deadline or made is None or not _holds(model, batch * prompt, fp8):
            continue
        made.resize(batch, prompt)
        ids, decoder = torch.ones(batch, prompt, device=CUDA, dtype=torch.long), made
        graph = captured(lambda d=decoder, i=ids: d(i, 0))  # type: ignore[misc]  # bound now
        _timed(log, graph.replay, 8, model=name, gpu=gpu, phase="prefill", dtype=dtype, kv_dtype="bf16", batch=batch, ctx=prompt,
               new_tokens=prompt, engine="pytorch", cuda_graphs="yes")  # fmt: skip
        del graph


def _timed(log: Log, work: Callable[[], Any], repeat: int, **row: Any) -> None:
    times = wall(work, repeat)
    log.add(**row, measured_s=statistics.median(times), low_s=times[0], high_s=times[-1], session="1")


def _holds(model: Model, tokens: int, fp8: bool) -> bool:
    (group,) = model.groups
    att = next(b for b in group.blocks if isinstance(b, Attention))
    cache = tokens * group.count * att.kv_width * 2
    return model.parameters * (1 if fp8 else 2) + cache + 3e9 < torch.cuda.mem_get_info()[1] * 0.92


def eager(name: str, gpu: str) -> None:
    """One fresh process: decode steps of transformers as it comes, SDPA, a dynamic cache, kernels issued by the host."""
    for batch, ctx, step in _eager(name, ((1, 2048), (1, 8192), (8, 2048), (32, 2048))):
        times = wall(step, 30, warm=5)
        row = {"model": name, "gpu": gpu, "phase": "decode", "measured_s": statistics.median(times), "low_s": times[0], "high_s": times[-1],
               "dtype": "bf16", "kv_dtype": "bf16", "batch": batch, "ctx": ctx + 5 + 14.5, "new_tokens": 1, "engine": "transformers",
               "cuda_graphs": "no", "session": "1"}  # fmt: skip
        print("ROW " + json.dumps(row), flush=True)


def _eager(name: str, points: tuple[tuple[int, int], ...]) -> Iterator[tuple[int, int, Callable[[], Any]]]:
    import tomllib

    import transformers
    from transformers import AutoConfig, AutoModelForCausalLM, DynamicCache

    print("transformers", transformers.__version__, flush=True)
    root = Path(__file__).resolve().parent.parent / "hardware_db" / "models"
    records = {k: v for p in root.glob("*.toml") for k, v in tomllib.loads(p.read_text(encoding="utf-8")).items() if k != "sources"}
    given = dict(records[name]["config"])
    config = AutoConfig.for_model(given.pop("model_type"), **{k: v for k, v in given.items() if k != "torch_dtype"})
    config._attn_implementation = "sdpa"
    with torch.device(CUDA):
        net = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).eval()
    (group,) = load_model(name).groups
    att = next(b for b in group.blocks if isinstance(b, Attention))
    for batch, ctx in points:
        cache = DynamicCache(config=config)
        shape = (batch, att.kv_heads, ctx, att.head_dim)
        for layer in range(group.count):
            cache.update(random(shape, torch.bfloat16), random(shape, torch.bfloat16), layer)
        ids = torch.ones(batch, 1, device=CUDA, dtype=torch.long)

        def step(c: Any = cache, i: torch.Tensor = ids) -> Any:
            with torch.inference_mode():
                return net(input_ids=i, past_key_values=c, use_cache=True)

        yield batch, ctx, step


def session(name: str, gpu: str, number: str) -> None:
    """One fresh process: the same decoder queued and from a graph, one line each."""
    decoder = Decoder(load_model(name), 1, 2049)
    ids = torch.ones(1, 1, device=CUDA, dtype=torch.long)

    def work() -> Any:
        return decoder(ids, 2048)

    plain, graph = wall(work, 30, warm=5), wall(captured(work).replay, 30, warm=5)
    for graphs, times in (("no", plain), ("yes", graph)):
        row = {"model": name, "gpu": gpu, "phase": "decode", "measured_s": statistics.median(times), "low_s": times[0], "high_s": times[-1],
               "dtype": "bf16", "kv_dtype": "bf16", "batch": 1, "ctx": 2048, "new_tokens": 1, "engine": "pytorch", "cuda_graphs": graphs,
               "session": number}  # fmt: skip
        print("ROW " + json.dumps(row), flush=True)


def apart(log: Log, deadline: float, *options: str) -> None:
    """A fresh process with these options, its rows logged."""
    if time.perf_counter() > deadline:
        return
    done = subprocess.run([sys.executable, __file__, "-", *options], capture_output=True, text=True, timeout=120, check=False)
    for line in done.stdout.splitlines():
        if line.startswith("ROW "):
            log.add(**json.loads(line[4:]))
    if done.returncode:
        print(done.stderr[-500:], flush=True)


def main() -> None:
    """Run it all within the time."""
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("out", type=Path)
    ask.add_argument("--gpu", required=True, help="id of the device (sol gpus)")
    ask.add_argument("--models", default="qwen2.5-0.5b,qwen2.5-1.5b,llama-3.2-3b,llama-3.1-8b,qwen2.5-7b,qwen2.5-14b,qwen2.5-32b")
    ask.add_argument("--seconds", type=float, default=300.0)
    ask.add_argument("--session", default="")
    ask.add_argument("--eager", action="store_true")
    given = ask.parse_args()
    torch.manual_seed(0)
    names = given.models.split(",")
    if given.eager:
        eager(names[0], given.gpu)
        return
    if given.session:
        with torch.inference_mode():
            session(names[0], given.gpu, given.session)
        return
    given.out.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    asked = "--query-gpu=name,memory.total,driver_version,power.limit,clocks.max.sm,clocks.max.mem"
    smi = subprocess.run(["nvidia-smi", asked, "--format=csv"], capture_output=True, text=True, check=False)
    about = {"gpu": torch.cuda.get_device_name(), "torch": torch.__version__, "cuda": torch.version.cuda, "nvidia_smi": smi.stdout}
    (given.out / "device.json").write_text(json.dumps(about, indent=1))
    print(about, flush=True)
    steps, kernels = Log(given.out / "steps.csv", STEP_COLUMNS), Log(given.out / "kernels.csv", KERNEL_COLUMNS)
    for name in names:
        apart(steps, start + 0.35 * given.seconds, "--gpu", given.gpu, "--models", name, "--eager")
    by_session = Log(given.out / "sessions.csv", STEP_COLUMNS)
    for number in range(8):
        apart(by_session, start + 0.6 * given.seconds, "--gpu", given.gpu, "--models", "qwen2.5-7b", "--session", str(number + 1))
    with torch.inference_mode():
        _try(lambda: other_kernels(kernels))
        _try(lambda: matrix_kernels(kernels, start + 0.68 * given.seconds))
        for i, name in enumerate(names):
            until = start + given.seconds * (0.68 + 0.27 * (i + 1) / len(names))
            _try(lambda n=name, u=until: decoder_rows(steps, n, given.gpu, u))  # type: ignore[misc]  # bound now
        for name in ("llama-3.1-8b", "qwen2.5-14b"):
            _try(lambda n=name: decoder_rows(steps, n, given.gpu, start + given.seconds, fp8=True))  # type: ignore[misc]  # as above
    print("seconds", round(time.perf_counter() - start), flush=True)


def _try(work: Callable[[], Any]) -> None:
    """A part that fails is said and leaves the rest to run."""
    try:
        work()
    except Exception as error:
        print("failed:", type(error).__name__, str(error)[:400], flush=True)
    torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
