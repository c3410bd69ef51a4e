"""What a client of a loaded server measured, as steps of a fit: times per output token, and times to the first token of a request alone.

A time per output token at C concurrent requests is taken as two steps, weighed by how often each occurs (`physics.serving.steady`):
C sequences that decode, and the same beside prompts that begin. C is what the load keeps in flight, so that the batch, less the
requests whose prompts are computed, is at most C; the context is the mean over the output.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from sol.answers.estimate.estimate import estimate_of
from sol.answers.question.ask import Question, ask
from sol.answers.serve.server import STAND_IN, resolve_lengths, step_budget
from sol.errors import SolError
from sol.physics.serving.steady import Scheduling, beside
from sol.sources.database.engines import is_engine, load_engine
from sol.specs.calibration import Calibration, Figure
from sol.specs.hardware import GPU
from sol.specs.measurement import Aggregate
from sol.specs.quantities import Array
from sol.specs.step import Fusion, Step


def tells_steps(row: Aggregate) -> bool:
    """Whether a row is a time per output token whose load is known."""
    lengths = row.prompt_tokens is not None and row.output_tokens is not None and row.output_tokens >= 2
    return row.metric == "tpot" and row.concurrency is not None and row.concurrency >= 1 and lengths


def tells_first_token(row: Aggregate) -> bool:
    """Whether a row is the time to the first token of a request that is alone."""
    return row.metric == "ttft" and row.concurrency == 1 and row.prompt_tokens is not None


def steps_of(rows: Sequence[Aggregate], fusion: Fusion) -> tuple[Question, Array, Array]:
    """The steps of rows that differ in concurrency alone: a question of both steps of every row, their rows, and how often each occurs.

    All rows' steps without prompts come first, then all with them; shape (2·rows).
    """
    m = rows[0]
    lengths = resolve_lengths(m.prompt_tokens, m.output_tokens)
    q = _asked(m, fusion, lengths.mean_ctx, lengths.new)
    concurrency = np.array([r.concurrency for r in rows], dtype=np.float64)
    budget = float(_budget(m, q.gpu, lengths.mean_ctx)) * int(q.split.dp)
    work = beside(concurrency - 1.0, lengths, Scheduling(budget, np.inf))
    none, ones = np.zeros(len(rows)), np.ones(1)
    prompts = Step(np.concatenate([none, work.merged]), np.tile(work.chunk, 2), np.tile(work.past, 2), "last", imbalance=q.step.imbalance)
    step = Step(np.tile(concurrency, 2), ones, np.array([lengths.mean_ctx]), "last", imbalance=q.step.imbalance, beside=(prompts,))
    whole = replace(q, step=step, ctx=np.array([lengths.mean_ctx]), scalar=False)
    return whole, np.tile(np.arange(len(rows)), 2), np.concatenate([1.0 - work.share, work.share])


def one_sequence(row: Aggregate, fusion: Fusion) -> Question:
    """The step that no time per output token of a row is below: one sequence alone, after its prompt."""
    return ask(row.model, row.gpu, ctx=row.prompt_tokens, dtype=row.dtype, kv_dtype=row.kv_dtype, tp=row.tp, pp=row.pp, ep=row.ep,
               dp=row.dp, fusion=fusion)  # fmt: skip


def with_first_token(made: Calibration, rows: Sequence[Aggregate]) -> Calibration:
    """The calibration with the time outside all steps until a client has its first token: the median over these rows, at least 0."""
    if not rows:
        return made
    beyond = [r.measured_s - _prompt_s(r, made) for r in rows]
    value = max(float(np.median(beyond)), 0.0)
    note = f"median of {len(rows)} rows of one request alone, beyond the steps of its prompt"
    return made.model_copy(update={"first_token_s": Figure(value=value, note=note)})


def _prompt_s(row: Aggregate, made: Calibration) -> float:
    """The estimated steps of a prompt alone [s]: chunks of its mean size, where it is longer than a step."""
    q = ask(row.model, row.gpu, phase="prefill", ctx=row.prompt_tokens, dtype=row.dtype, kv_dtype=row.kv_dtype, tp=row.tp, pp=row.pp,
            ep=row.ep, dp=row.dp, fusion=made.fusion)  # fmt: skip
    lengths = resolve_lengths(row.prompt_tokens, row.output_tokens or 2.0)
    work = beside(np.zeros(1), lengths, Scheduling(float(_budget(row, q.gpu, lengths.new)) * int(q.split.dp), np.inf))
    step = replace(q.step, new_tokens=work.chunk, past_tokens=work.past)
    one = replace(q, step=step, ctx=work.chunk + work.past, scalar=False)
    return float(work.passes[0] * np.asarray(estimate_of(one, made).latency_s).reshape(-1)[0])


def _budget(row: Aggregate, gpu: GPU, ctx: float) -> Array:
    """Tokens of the largest step of the row's engine, by its own defaults; of vLLM where nobody wrote down the engine's [token]."""
    return step_budget(load_engine(row.engine if row.engine and is_engine(row.engine) else STAND_IN), gpu, np.array(ctx))


def _asked(m: Aggregate, fusion: Fusion, ctx: float, new: float) -> Question:
    try:
        return ask(
            m.model, m.gpu, groups=[(1.0, 1.0, ctx), (1.0, new, 0.0)], dtype=m.dtype, kv_dtype=m.kv_dtype, tp=m.tp, pp=m.pp, ep=m.ep,
            dp=m.dp, fusion=fusion,
        )  # fmt: skip
    except SolError as error:
        raise type(error)(f"{described(m)}: {error}") from None


def described(m: Aggregate) -> str:
    """A row as text."""
    load = f" · {m.concurrency:g} at once" if m.concurrency is not None else ""
    return f"{m.model} · {m.metric}{load} · {m.prompt_tokens or 0:,.0f} + {m.output_tokens or 0:,.0f} tokens"
