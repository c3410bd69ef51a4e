"""llama.cpp's llama-batched-bench: `pl` sequences at once, `pp` tokens in and `tg` tokens out of each, one run a line.

JSON lines and the printed table hold the same figures (ggml-org/llama.cpp,
tools/batched-bench/batched-bench.cpp); neither names the model, the device or the formats.
"""

from __future__ import annotations

from collections.abc import Iterator

from sol.sources.benchmarks.importer import Finding, Found, Given, RawRecord, Refused, Tool, Unreadable, count, flag, number
from sol.sources.benchmarks.tools.llama_placement import check_placement

COLUMNS = {"PP": "pp", "TG": "tg", "B": "pl", "T_PP s": "t_pp", "T_TG s": "t_tg"}


def matches(record: RawRecord) -> bool:
    """A line of JSON, or a row of the table."""
    return ("n_kv_max" in record and "speed_tg" in record) or "S_TG t/s" in record


def read(record: RawRecord, given: Given) -> Iterator[Finding]:
    """The prefill of all prompts, and the decode steps: tg of them, from pp cached tokens on."""
    record = {COLUMNS.get(k, k): v for k, v in record.items()}
    sequences, prompt = count(record, "pl"), count(record, "pp")
    if sequences is None or prompt is None:
        raise Unreadable("pl or pp is missing")
    split, assumes = check_placement({k: record[k] for k in ("n_gpu_layers",) if k in record}, given)
    fields = {**split, "engine": "llama.cpp", "source": "llama-batched-bench"}
    shared, separate = flag(record, "is_pp_shared"), flag(record, "is_tg_separate")
    prompts = 1 if shared else sequences
    pre = {"phase": "prefill", "measured_s": number(record, "t_pp"), "batch": float(prompts), "ctx": float(prompt)}
    yield Found({**fields, **pre}, (*assumes, "one run of each, so no spread"), "prefill")
    out = count(record, "tg")
    if out is None:
        return
    if shared and sequences > 1:
        yield Refused("the sequences share the prompt's cache (-pps): a step reads less than so many contexts", "decode")
        return
    steps, batch = (out * sequences, 1) if separate else (out, sequences)
    said = ["ctx of generated tokens is the mean of those cached before each: pp + (tg − 1)/2"]
    if separate is None and sequences > 1:
        said.append("sequences decode together (without -tgs, which the file does not record)")
    step = {"phase": "decode", "measured_s": number(record, "t_tg") / steps, "batch": float(batch), "ctx": prompt + (out - 1) / 2}
    yield Found({**fields, **step}, (*assumes, *said), "decode")


LLAMA_BATCHED_BENCH = Tool("llama-batched-bench", matches, read)
