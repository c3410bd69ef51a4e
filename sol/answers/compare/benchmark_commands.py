"""The command of an engine that measures the same step, so that two numbers can be compared."""

from __future__ import annotations

from typing import NamedTuple

from sol.answers.question.ask import Question
from sol.sources.database.database import built_in_model

STEPS = 128
"""Steps that a benchmark runs. Contexts are set so that their mean is the context asked for."""
VLLM_DTYPE = {"bf16": "--dtype bfloat16", "fp16": "--dtype float16", "fp8": "--quantization fp8", "nf4": "--quantization bitsandbytes"}


class Action(NamedTuple):
    """What a command is for, and the command."""

    what: str
    command: str


def remeasured(q: Question, engine: str | None, estimated: bool) -> tuple[Action, ...]:
    """Commands that measure the same step in vLLM or llama.cpp, and the estimate if there is a calibration (`estimated`)."""
    gguf = q.storage.weights.id.startswith(("q", "iq", "mxfp4-moe"))
    found = []
    whole = q.phase == "prefill" or (q.step.new_tokens == 1).all()  # no tool times a step that verifies drafts
    if whole and not gguf and q.gpu.vendor not in ("apple", "groq", "cerebras"):
        found += _vllm(q)
    if whole and q.split.devices == 1 and (gguf or q.storage.weights.id in ("bf16", "fp16") or engine == "llama.cpp"):
        found.append(_llama(q))
    if estimated:
        name = q.model.id if built_in_model(q.model.id) is not None else q.model.hf_id or "MODEL"
        found.append(Action("what to expect", f"sol estimate {name} {q.gpu.id}{_asked(q)}" + (f" --engine {engine}" if engine else "")))
    return tuple(found)


def _vllm(q: Question) -> list[Action]:
    ctx, batch = q.ctx.item(), q.step.batch.item()
    options = [VLLM_DTYPE.get(q.storage.weights.id, ""), "--kv-cache-dtype fp8" if q.storage.cache.id == "fp8" else ""]
    options += [f"--{name}-parallel-size {n}" for name, n in (("tensor", q.split.tp), ("pipeline", q.split.pp)) if n > 1]
    base = f"vllm bench latency --model {q.model.hf_id or q.model.id} --batch-size {max(1, round(batch))}"
    tail = "".join(f" {o}" for o in options if o)
    if q.phase == "prefill":
        return [Action("vLLM: the time of a prompt", f"{base} --input-len {max(1, round(ctx))} --output-len 1{tail}")]
    prompt = max(1, round(ctx - STEPS / 2))
    what = f"vLLM: run it, then again with --output-len 1; a step is the difference divided by {STEPS}"
    return [Action(what, f"{base} --input-len {prompt} --output-len {STEPS + 1}{tail}")]


def _llama(q: Question) -> Action:
    ctx, batch = max(0, round(q.ctx.item())), max(1, round(q.step.batch.item()))
    file = "model.gguf"
    depth = max(0, round(ctx - STEPS / 2))
    if batch == 1:
        if q.phase == "prefill":
            return Action("llama.cpp: the time is ctx divided by the pp rate", f"llama-bench -m {file} -p {ctx} -n 0")
        return Action("llama.cpp: a step is 1 divided by the tg rate", f"llama-bench -m {file} -p 0 -n {STEPS} -d {depth}")
    prompt, made = (ctx, 1) if q.phase == "prefill" else (max(1, depth), STEPS)
    return Action(
        "llama.cpp: T_PP is the time of the prompts" if q.phase == "prefill" else f"llama.cpp: a step is T_TG divided by {STEPS}",
        f"llama-batched-bench -m {file} -c {batch * (prompt + made)} -npp {prompt} -ntg {made} -npl {batch}",
    )


def _asked(q: Question) -> str:
    """The options of `sol` for the same question."""
    s, parts = q.split, [f"--ctx {q.ctx.item():g}"]
    parts += [f"--batch {q.step.batch.item():g}"] if q.step.batch.item() != 1 else []
    parts += ["--phase prefill"] if q.phase == "prefill" else []
    parts += [f"--cached-tokens {q.cached_tokens.item():g}"] if q.phase == "prefill" and q.cached_tokens.item() else []
    parts += [f"--new-tokens {q.step.new_tokens.item():g}"] if q.phase == "decode" and q.step.new_tokens.item() != 1 else []
    own = q.model.weight_format is not None and q.storage.weights.id == q.model.weight_format.id
    parts += [f"--dtype {q.storage.weights.id}"] if q.storage.weights.id != (q.model.dtype or "bf16") and not own else []
    parts += [f"--kv-dtype {q.storage.cache.id}"] if q.storage.cache is not q.storage.base else []
    parts += [f"--routing {q.routing}"] if isinstance(q.routing, str) and q.routing != "expected" else []
    parts += [f"--{name} {n}" for name, n in zip(s._fields, s, strict=True) if n > 1]
    return " " + " ".join(parts)
