"""How often a pipeline ends a step: even stages change nothing, uneven ones wait for the fullest, and no schedule is faster."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest

from sol import estimate, floor, plan
from sol.answers.floor.floor import floor_of
from sol.answers.question.ask import ask

RATE = 4.8e12  # an H200, B/s
LAYER = 2.0 * (2 * 4096 * 4096 + 2 * 4096 * 1024 + 3 * 4096 * 14336 + 2 * 4096)  # of Llama-3.1-8B: q, o; k, v; three of the ffn; norms
HEAD = 2.0 * 128256 * 4096


def cache(ctx: float) -> float:
    """Bytes of one sequence's cache that one layer reads and writes: keys and values of 8 heads of 128, 16 bits."""
    return (ctx + 1.0) * 2 * 8 * 128 * 2.0


@pytest.mark.truth
@pytest.mark.parametrize(("pp", "fullest"), [(3, 11), (5, 7), (6, 6), (7, 5)])
def test_the_fullest_stage_takes_every_micro_batch(pp: int, fullest: int) -> None:
    batch, ctx = 200 * pp, 2048  # caches are most of the bytes
    f = floor("llama-3.1-8b", "h200", ctx=ctx, batch=batch, pp=pp)
    rate = f.question.rates.memory_bytes_per_s
    assert f.bound == "memory"
    turns = pp * fullest * (LAYER + 200 * cache(ctx)) / rate
    assert f.interval_s == pytest.approx(max(f.latency_s, turns), rel=1e-12)
    assert f.interval_s > f.latency_s
    assert f.tokens_per_s == batch / f.interval_s
    assert f.tokens_per_s_per_user == 1.0 / f.interval_s
    assert f"one has {fullest}" in str(f)


@pytest.mark.truth
def test_fewer_and_larger_micro_batches_hide_an_uneven_stage() -> None:
    """Six sequences of a 70B on three stages: two micro-batches of three take barely longer than three of two."""
    f, merged = (floor("llama-3.1-70b", "h200", ctx=100, batch=b, pp=3) for b in (6, 9))
    assert f.latency_s <= f.interval_s <= merged.latency_s < 1.001 * f.latency_s


@pytest.mark.law
@pytest.mark.parametrize("model", ["llama-3.1-8b", "gemma-2-9b", "mamba-codestral-7b", "qwen3-30b-a3b"])
def test_even_stages_few_sequences_and_mixtures_change_nothing(model: str) -> None:
    of = ask(model, "h200", ctx=1024).model
    for pp in range(1, 9):
        batch = np.array([1.0, pp - 1.0 or 1.0, pp, 64 * pp])
        f = floor_of(ask(model, "h200", ctx=1024, batch=batch, pp=pp))
        same = f.interval_s == f.latency_s
        assert same[:2].all() or pp == 1
        if of.layers % pp == 0 or of.is_moe:
            assert same.all()
        assert (f.interval_s >= f.latency_s).all()


@pytest.mark.law
def test_a_cell_of_a_sweep_is_its_scalar_to_the_last_bit() -> None:
    pp, batch, ctx = (
        np.array([1, 3, 4, 5, 6, 7]),
        np.array([1.0, 5.0, 12.5, 64.0, 1000.0])[:, None],
        np.array([64.0, 4096.0])[:, None, None],
    )
    for model in ("llama-3.1-8b", "gemma-2-9b"):
        sweep = floor_of(ask(model, "h200", ctx=ctx, batch=batch, pp=pp))
        for i in np.ndindex(sweep.interval_s.shape):
            point = floor_of(ask(model, "h200", ctx=ctx[i[0], 0, 0], batch=batch[i[1], 0], pp=int(pp[i[2]])))
            assert point.interval_s == sweep.interval_s[i]
            assert point.tokens_per_s == sweep.tokens_per_s[i]


def _dealt(n: int, most: int) -> Iterator[tuple[int, ...]]:
    """Every way to deal n sequences into micro-batches, larger ones first."""
    if n == 0:
        yield ()
    for first in range(min(n, most), 0, -1):
        for rest in _dealt(n - first, first):
            yield (first, *rest)


@pytest.mark.law
@pytest.mark.parametrize("pp", [3, 5, 6, 7])
@pytest.mark.parametrize("ctx", [64, 4096, 65536])
@pytest.mark.parametrize("each", [1, 2, 3])
def test_no_schedule_of_whole_layers_is_faster(pp: int, ctx: int, each: int) -> None:
    """Every way to deal sequences into micro-batches, over the best placement: a stage holds ⌈32/pp⌉ layers whatever is done."""
    batch = pp * each
    f = floor_of(ask("llama-3.1-8b", "h200", ctx=ctx, batch=batch, pp=pp))
    rate = f.question.rates.memory_bytes_per_s
    assert f.bound == "memory"
    best = math.inf
    for parts in _dealt(batch, batch):
        through = (32 * (LAYER + parts[0] * cache(ctx)) + HEAD) / rate  # the largest micro-batch, through all stages
        fullest = sum(-(-32 // pp) * (LAYER + b * cache(ctx)) for b in parts) / rate
        best = min(best, max(through, fullest))
    assert f.interval_s <= best * (1 + 1e-4)  # embedding rows and the last norm are left out by hand
    assert f.interval_s >= f.latency_s


@pytest.mark.law
def test_what_is_rated_is_never_above_the_floor() -> None:
    p = plan("llama-3.1-8b", "h200", devices="1-8", ctx=8192, objective="tokens_per_s_per_gpu")
    slower = 0
    for i in range(0, len(p.splits), 7):
        f = floor_of(ask("llama-3.1-8b", "h200", ctx=8192, batch=p.batch[i], **p.splits[i]._asdict()))
        assert p.tokens_per_s_per_gpu[i] <= f.tokens_per_s_per_gpu * (1 + 1e-12)
        slower += p.batch[i] / p.latency_s[i] / p.devices[i] > f.tokens_per_s_per_gpu
    assert slower
    e = estimate("llama-3.1-8b", "h200", ctx=8192, batch=700, pp=7)
    assert e.tokens_per_s <= e.floor.tokens_per_s
