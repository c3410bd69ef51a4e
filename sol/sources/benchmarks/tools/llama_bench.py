"""llama.cpp's llama-bench: one sequence, `n_prompt` tokens in or `n_gen` tokens out, after `n_depth` cached ones.

JSON, JSON lines, CSV and SQL hold the same keys (ggml-org/llama.cpp, tools/llama-bench/llama-bench.cpp);
the Markdown table holds rates only. A repetition is timed as a whole, in nanoseconds; there is no
sampling in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from sol.errors import short
from sol.sources.benchmarks.importer import Finding, Found, Given, RawRecord, Tool, Unreadable, flag, number, optional_number, text
from sol.sources.benchmarks.tools.llama_formats import cache_format, model_and_format
from sol.sources.benchmarks.tools.llama_placement import check_placement, check_size, devices_used

TEST = re.compile(r"(?:pp ?(\d{1,12}))?\+?(?:tg ?(\d{1,12}))?(?: @ d(\d{1,12}))?")
RATE = re.compile(r"([\d.]+)(?: ± [\d.]+)?")


def matches(record: RawRecord) -> bool:
    """A record of any version since the first; a row of the Markdown table."""
    return ("build_commit" in record and "avg_ts" in record) or ("t/s" in record and "test" in record and "params" in record)


def read(record: RawRecord, given: Given) -> Iterator[Finding]:
    """A prompt is a prefill, generated tokens are decode steps; a test of both is a request."""
    if "t/s" in record:
        yield _markdown(record, given)
        return
    commit = text(record, "build_commit")
    fields = {**_weights(text(record, "model_type"), record, given), **_cache(record)}
    fields["gpu"] = _device(record)
    split, assumes = check_placement(record, given)
    fields |= {**split, "source": f"llama-bench {commit}"}
    lengths = (_count(record, "n_prompt"), _count(record, "n_gen"), _count(record, "n_depth"))
    yield _timed(*lengths, number(record, "avg_ns") * 1e-9, fields, assumes)


def _timed(prompt: int, out: int, depth: int, run_s: float, fields: dict[str, Any], assumes: tuple[str, ...]) -> Finding:
    """Step i of n after d cached tokens reads d + i − 1 of them: d + (n − 1)/2 in the mean."""
    common = {**fields, "engine": "llama.cpp"}
    if prompt and out:
        if depth:
            raise Unreadable(f"a request of {prompt}+{out} tokens after {depth} cached ones; run its parts as tests of their own")
        return Found({**common, "metric": "request", "measured_s": run_s, "batch": 1.0, "prompt_tokens": float(prompt),
                      "output_tokens": float(out)}, assumes)  # fmt: skip
    if prompt:
        return Found({**common, "phase": "prefill", "measured_s": run_s, "batch": 1.0, "ctx": float(depth + prompt),
                      "new_tokens": float(prompt)}, assumes)  # fmt: skip
    if out:
        said = "ctx of generated tokens is the mean of those cached before each: depth + (n − 1)/2"
        return Found({**common, "phase": "decode", "measured_s": run_s / out, "batch": 1.0, "ctx": depth + (out - 1) / 2}, (*assumes, said))
    raise Unreadable("n_prompt and n_gen are both 0: nothing was timed")


def _count(record: RawRecord, key: str) -> int:
    value = optional_number(record, key) or 0.0
    if value < 0 or not value.is_integer():
        raise Unreadable(f"{key}={short(record[key])} is not a count of tokens")
    return int(value)


def _weights(model_type: str | None, record: RawRecord, given: Given) -> dict[str, Any]:
    if model_type is None:
        raise Unreadable("model_type is missing")
    name, ftype = model_and_format(model_type)
    parameters = optional_number(record, "model_n_params")
    if parameters is not None:
        check_size(parameters, 0.05, given)
        name = f"{name}, {parameters:.0f} parameters"
    return {"model": name, "dtype": ftype}


def _cache(record: RawRecord) -> dict[str, Any]:
    keys, values = text(record, "type_k"), text(record, "type_v")
    if keys is None and "f16_kv" in record:  # until December 2023
        return {"kv_dtype": "fp16" if flag(record, "f16_kv") else "f32"}
    if keys != values:
        raise Unreadable(f"keys are cached as {short(keys)} and values as {short(values)}; only one format for both can be said")
    return {"kv_dtype": None if keys is None else cache_format(keys)}


def _device(record: RawRecord) -> str | None:
    """The device, as its driver names it: the first of several alike; the CPU where there is no other."""
    names = [n.strip() for n in (text(record, "gpu_info") or "").split(", ") if n.strip()]
    if not names:
        return text(record, "cpu_info")
    if (text(record, "split_mode") or "") == "none" and len(names) > 1:
        main = _count(record, "main_gpu")
        return names[main] if main < len(names) else None
    if len(set(names)) > 1 and devices_used(record) == 1:
        return None  # one of them, and the file does not say which
    if len(set(names)) > 1:
        raise Unreadable(f"several devices that differ: {short(', '.join(names))}; rates of a mixture are those of no device")
    return names[0]


def _markdown(record: RawRecord, given: Given) -> Finding:
    """A row of the printed table, where only options that are not the default have a column."""
    match, rate = TEST.fullmatch(text(record, "test") or ""), RATE.fullmatch(text(record, "t/s") or "")
    if match is None or rate is None or not any(match.groups()[:2]):
        raise Unreadable(f"test {short(record.get('test'))} at {short(record.get('t/s'))} t/s is none of llama-bench's")
    prompt, out, depth = (int(n or 0) for n in match.groups())
    per_s = number({"t/s": rate[1]}, "t/s")
    name, ftype = model_and_format(text(record, "model") or "")
    parameters = re.fullmatch(r"([\d.]+) ([BM])", text(record, "params") or "")
    if parameters is not None:
        check_size(number({"params": parameters[1]}, "params") * {"B": 1e9, "M": 1e6}[parameters[2]], 0.06, given)
        name = f"{name}, {parameters[0]}"
    cache = _cache({"type_k": record.get("type_k", "f16"), "type_v": record.get("type_v", "f16")})
    renamed = {"n_gpu_layers": "ngl", "split_mode": "sm", "tensor_split": "ts", "no_kv_offload": "nkvo", "devices": "dev",
               "tensor_buft_overrides": "ot", "n_cpu_moe": "ncmoe", "embeddings": "embd", "backends": "backend"}  # fmt: skip
    split, assumes = check_placement({long: record[column] for long, column in renamed.items() if column in record}, given)
    fields = {"model": name, "dtype": ftype, **cache, **split, "source": "llama-bench"}
    said = "time from the printed rate, a mean of rates with two decimals"
    return _timed(prompt, out, depth, (prompt + out) / per_s, fields, (*assumes, said))


LLAMA_BENCH = Tool("llama-bench", matches, read)
