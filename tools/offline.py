"""A run that queues all its requests at once: the steps of an engine from the first prompt to the last token, and their time.

`serve` says what a server makes in steady state. A published throughput is of a whole run: at the start nothing but prompts is computed,
requests of one length end together and are followed together, and at the end the batch drains. Which requests share a step does
not depend on how long steps take, so that the schedule comes first and all its steps are priced at once.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from sol.answers.estimate.estimate import estimate_of
from sol.answers.serve.server import Server
from sol.specs.mixers import Attention
from sol.specs.model import Model
from sol.specs.step import Step

TRTLLM_BENCH_GRAPHS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 384, 512, 1024, 2048, 4096, 8192)
"""Batches that NVIDIA's performance overviews capture as CUDA graphs [1]: `batch_sizes` with `enable_padding`, in both editions."""
TRTLLM_BENCH_POOL = 0.95
"""Their --kv_cache_free_gpu_mem_fraction "in many cases"; 0.90 in the others, which are not named."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a step of an engine may hold: sequences [1], tokens [token]; whether a prompt may be cut, and shares steps with decoding.

    `graphs` are the batches that decoding alone is padded to; none are where it is not.
    """

    slots: int
    budget: int
    chunked: bool
    mixed: bool
    graphs: tuple[int, ...] = ()


class Steps(NamedTuple):
    """Some steps that are alike: how many [1], sequences that decode [1], their mean context [token], prompts [1], tokens of each now."""

    times: int
    decoding: int
    ctx: float
    prompts: float
    chunk: float
    past: float


def schedule(requests: int, prompt: int, output: int, of: Limits) -> list[Steps]:
    """All steps of a run of so many requests of one length that are queued at once; first come, first served.

    A prompt that is cut has its steps to itself beside decoding; others share one as far as whole ones have room.
    """
    found: list[Steps] = []
    running: deque[list[int]] = deque()  # cohorts that began together: [sequences, step of their last token]
    now = active = ctx_sum = 0  # ctx_sum: tokens that the sequences that decode hold
    waiting, part = requests, 0  # part: tokens of the first prompt that are computed
    while waiting or running:
        room = max(of.budget - (active if of.mixed else 0), 0)
        begun, chunk, past = 0, 0, 0
        free = min(of.slots - active, waiting)
        if free > 0:
            if of.chunked and (part or room < prompt):
                chunk, past = min(room, prompt - part), part
                part += chunk
                if part == prompt:
                    begun, part = 1, 0
            else:
                begun = min(free, max(room // prompt, 0 if active and of.mixed else 1))
                chunk = prompt if begun else 0
        decodes = active if (of.mixed or not chunk) else 0
        ctx = ctx_sum / active if active else 0.0
        if chunk:
            count = 1
            found.append(Steps(1, decodes, ctx, max(begun, 1), chunk, past))
        else:
            count = running[0][1] - now
            found.append(Steps(count, decodes, ctx + (count - 1) / 2.0, 0.0, 1.0, 0.0))
        if decodes or not chunk:
            now += count  # the clock of decoding: steps of prompts alone do not move it
            ctx_sum += count * decodes
        waiting -= begun
        if begun and output > 1:
            running.append([begun, now + output - 1])
            active += begun
            ctx_sum += begun * prompt
        while running and running[0][1] <= now:
            done, _ = running.popleft()
            active -= done
            ctx_sum -= done * (prompt + output - 1)
    return found


def seconds(server: Server, steps: list[Steps], graphs: tuple[int, ...] = ()) -> float:
    """The estimated time of these steps [s]."""
    columns = np.array(steps, dtype=float)
    alike, index = np.unique(columns[:, 1:], axis=0, return_inverse=True)
    count = np.bincount(index.ravel(), weights=columns[:, 0])
    decoding, ctx, prompts, chunk, past = alike.T
    q, extra = server.question, np.zeros(decoding.size)
    if graphs:
        copies = q.split.dp
        padded = np.array([captured(d / copies, graphs) * copies for d in decoding])
        padded = np.where(prompts > 0.0, decoding, padded)  # a step with prompts is no graph
        extra = padded - decoding
        ctx, decoding = ctx * decoding / np.maximum(padded, 1.0), padded
    others = Step(prompts, chunk, past, "last", imbalance=q.step.imbalance)
    step = Step(decoding, np.ones(1), ctx, "last", imbalance=q.step.imbalance, beside=(others,))
    each = np.asarray(estimate_of(replace(q, step=step, ctx=ctx, scalar=False), server.calibration).latency_s)
    sampled = server.calibration.sequence_s.value * extra / q.split.dp  # nobody samples from what pads a batch
    return float(np.sum(count * (each - sampled)))


def captured(batch: float, graphs: tuple[int, ...]) -> float:
    """The batch of the graph that runs so many sequences: the next larger one, or the batch itself beyond the largest."""
    return next((float(g) for g in graphs if g >= batch), batch)


def trtllm_bench_limits(model: Model, weight_bytes: float, kv_bytes: float, memory_bytes: float, *, tp: int, pp: int, dp: int,
                        prompt: float, output: float) -> tuple[int, int]:  # fmt: skip
    """Sequences and tokens of a step that trtllm-bench asks for where its user asks for none, of one copy of attention.

    NVIDIA/TensorRT-LLM at 04cba882, tensorrt_llm/bench/build/tuning.py (calc_engine_setting, finetune_setting) and
    bench/benchmark/utils/general.py (get_settings): the requests that the memory beside the weights holds, at most 4,096, over the
    stages of a pipeline; tokens for as many prompts as end in a step, at least 2,048 and, as prompts are not cut, one prompt
    and the whole batch. `weight_bytes`, `kv_bytes`: of a weight, and of a number in the cache.
    """
    ways = tp * dp
    heads = [(b.kv_heads, b.head_dim) for b in model.blocks if isinstance(b, Attention)]
    numbers = max(ways, heads[0][0]) * heads[0][1] if heads else max(model.hidden, ways)  # latent attention counts as full heads there
    token_bytes = 2.0 * model.layers * numbers * kv_bytes
    free = memory_bytes * ways * pp - model.parameters * weight_bytes
    requests = TRTLLM_BENCH_POOL * free / (token_bytes * (prompt + output))
    batch = min(requests, 4096.0) / pp
    tokens = min(batch * (1.0 + prompt / output), 32768.0)
    step = 32 if batch < 256 else 128 if batch < 1024 else 256
    most = max(64, step * math.ceil(batch / step))
    step = 256 if tokens < 4096 else 512 if tokens < 8192 else 1024
    return most, max(2048, step * math.ceil(tokens / step), math.ceil(prompt) + most)
