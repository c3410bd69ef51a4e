"""The kernel timings of the aiconfigurator-core wheel, as rows of seconds at a device's peaks.

The wheel holds one Parquet table per device, family of kernels, framework and version; latency is in
milliseconds. A row here is one timed operator: what it must read once (weights or cache) and what it
passes on (16-bit activations), in seconds at the peak bandwidth, and its operations, in seconds at the
peak of the format. Four roles say what a row can tell: `starting` (almost no work: latency), `reading` (more
than three last-level caches, hardly any operations: bandwidth), `computing`, and `both` (of matrix products
of 32 to 512 tokens beyond the last-level cache: how much of bytes and operations overlaps).

Left out: SGLang 0.5.6 (only current versions are read), A100 TensorRT-LLM 1.0.0 decode attention (faster
than its memory), latent attention of other frameworks (they prefill it absorbed), experts without a gate,
expert shapes read faster than memory can (fewer experts are touched than the table says), and on the
L40S every shape that its cache holds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from sol import GPU, load_format, load_gpu
from sol.physics.operators.operator import ACT_BYTES

Columns = dict[str, Any]

DEVICES = {
    "a100_sxm": "a100-sxm-80gb",
    "h100_sxm": "h100-sxm",
    "h200_sxm": "h200-sxm",
    "b200_sxm": "b200-sxm",
    "b300_sxm": "b300-sxm",
    "gb200": "gb200",
    "gb300": "gb300",
    "l40s": "l40s",
    "rtx_pro_6000_server": "rtx-pro-6000-server",
}
# The versions the wheel itself calls current (systems/query_versions.yaml), the usual serving engine first.
CURRENT = {"vllm": "0.24.0", "sglang": "0.5.14", "trtllm": "1.3.0rc20"}
IMPOSSIBLE = "trtllm/1.0.0"  # its decode attention
A100 = {"vllm": "0.14.0", "sglang": "0.5.10", "trtllm": "1.0.0"}
# The table's name of a format → ours, and the bits per weight these kernels read.
LINEAR = {
    "bfloat16": ("bf16", 16.0),
    "fp8": ("fp8", 8.0),
    "fp8_block": ("fp8-block128", 8 + 32 / 128**2),
    "nvfp4": ("nvfp4", 4.5),
    "sq": ("int8", 8.0),  # SmoothQuant, W8A8
    "int8_wo": ("w8a16", 8.0),
    "int4_wo": ("w4a16", 4.0),  # one scale per channel
}
EXPERTS = LINEAR | {"int4_wo": ("w4a16", 4 + 16 / 128), "w4a16_mxfp4": ("mxfp4", 4.25), "w4a8_mxfp4_mxfp8": ("mxfp4", 4.25)}
CACHES = {"bfloat16": ("bf16", 2.0), "fp8": ("fp8", 1.0)}
TILE = 128.0  # tokens a matrix multiplication rounds up to, once it has more than one tile of them
FEW_CACHED, MANY_BLOCKS = 64, 512  # tokens so few, and sequences times KV heads so many, that these alone take the time
LATENT, ROPE, NOPE, VALUE = 512, 64, 128, 128  # DeepSeek's latent attention, the only one timed


@dataclass(frozen=True, eq=False)
class Rows:
    """Timed operators: seconds at the peaks, the measured latency, and what each row can tell."""

    stream_s: np.ndarray  # weights or cache, read once
    flops_s: np.ndarray
    moved_s: np.ndarray  # activations in and out
    latency_s: np.ndarray
    starting: np.ndarray
    reading: np.ndarray
    computing: np.ndarray
    pieces: np.ndarray  # of attention sequences times KV heads, of experts those held
    pieced: np.ndarray  # rows in which pieces tell: hardly any bytes
    both: np.ndarray

    def __add__(self, other: Rows) -> Rows:
        return Rows(*(np.concatenate([getattr(self, f.name), getattr(other, f.name)]) for f in fields(self)))

    def where(self, keep: np.ndarray) -> Rows:
        """Only the rows of a mask."""
        return Rows(*(getattr(self, f.name)[keep] for f in fields(self)))


def tables(root: Path) -> Iterator[tuple[str, str, str, str, Rows]]:
    """Every table of the unpacked wheel: device, operator class, format, framework with its version, rows."""
    data = root / "aiconfigurator_core" / "systems" / "data"
    for folder, device in DEVICES.items():
        gpu = load_gpu(device)
        for framework, version in (A100 if folder == "a100_sxm" else CURRENT).items():
            for operator, read in READERS.items():
                for fmt, rows in read(data / folder, f"{framework}/{version}", gpu):
                    kept = beyond_cache(rows, gpu) if device == "l40s" else rows
                    if len(kept.latency_s):
                        yield device, operator, fmt, f"{framework} {version}", kept


def beyond_cache(rows: Rows, gpu: GPU) -> Rows:
    """Rows that the last-level cache cannot hold; those of almost no work stay, for their latency."""
    cached = (rows.stream_s + rows.moved_s) * gpu.memory_bytes_per_s <= cache_bytes(gpu)
    return rows.where(rows.starting | ~cached)


def gemm(folder: Path, engine: str, gpu: GPU) -> Iterator[tuple[str, Rows]]:
    """Matrix multiplications of m tokens by an n × k matrix; a format's own quantisation of its input is inside."""
    table = columns(folder / "gemm" / engine / "gemm_perf.parquet")
    for name, (fmt, bits) in LINEAR.items():
        c = of(table, gemm_dtype=name)
        m, n, k = (c[x] for x in "mnk")
        weight = n * k * bits / 8
        big = (n >= 1024) & (k >= 1024)
        padded = np.where(m > TILE, np.ceil(m / TILE) * TILE, m)
        yield (
            fmt,
            Rows(
                stream_s=weight / gpu.memory_bytes_per_s,
                flops_s=2 * padded * n * k / peak(gpu, fmt),
                moved_s=m * (n + k) * ACT_BYTES / gpu.memory_bytes_per_s,
                latency_s=c["latency"] * 1e-3,
                starting=(m <= 16) & (n >= 512) & (k >= 512) & (weight < 2e6),
                reading=(m <= 16) & big & (weight > 3 * cache_bytes(gpu)),
                computing=(m >= 1024) & (np.minimum(n, k) >= 2048) & (np.maximum(n, k) <= 32768),
                pieces=0 * m,
                pieced=0 * m > 0,
                both=(m >= 32) & (m <= 512) & (np.minimum(n, k) >= 2048) & (weight > cache_bytes(gpu)),
            ),
        )


def attention(folder: Path, engine: str, gpu: GPU) -> Iterator[tuple[str, Rows]]:
    """Decode and causal prefill attention, heads of 128, no window, at most 16 query heads to a KV head.

    Only attention computed in 16 bits; `fmt` is the cache's.
    """
    decode = folder / "attention" / engine / "generation_attention_perf.parquet"
    prefill = folder / "attention" / engine / "context_attention_perf.parquet"
    for name, (fmt, cache) in CACHES.items():
        c = heads(of({} if engine == IMPOSSIBLE else columns(decode), kv_cache_dtype=name))
        held = c["step"] + 1
        rows = roles(gpu, read=c["batch_size"] * held * c["kv"] * 256 * cache, flops=0 * held, moved=0 * held, c=c)
        blocks = c["batch_size"] * c["kv"]
        rows = replace(rows, reading=rows.reading & (held >= 256) & (c["batch_size"] <= 256))
        rows = replace(rows, pieces=blocks, pieced=(held <= FEW_CACHED) & (blocks >= MANY_BLOCKS))
        c = heads(of(columns(prefill), kv_cache_dtype=name, attn_dtype="bfloat16"))
        n, tokens = c["isl"], c["batch_size"] * c["isl"]
        pairs = tokens * (n + 1) / 2
        later = roles(gpu, read=0 * n, flops=4 * c["q"] * 128 * pairs, moved=tokens * (2 * c["q"] + 2 * c["kv"]) * 128 * ACT_BYTES, c=c)
        yield fmt, rows + replace(later, starting=0 * n > 0, computing=(n >= 128) & (later.flops_s > 10e-6))


def latent_attention(folder: Path, engine: str, gpu: GPU) -> Iterator[tuple[str, Rows]]:
    """DeepSeek's latent attention: absorbed in decode, expanded in prefill; its projections are not in it."""
    if engine == IMPOSSIBLE or not engine.startswith("trtllm"):
        return
    for name, (fmt, cache) in CACHES.items():
        c = of(columns(folder / "mla" / engine / "generation_mla_perf.parquet"), kv_cache_dtype=name)
        held = c["batch_size"] * (c["step"] + 1)
        rows = roles(gpu, read=held * (LATENT + ROPE) * cache, flops=2 * c["num_heads"] * (2 * LATENT + ROPE) * held, moved=0 * held, c=c)
        rows = replace(rows, reading=rows.reading & (rows.flops_s < 0.3 * rows.stream_s))
        c = of(columns(folder / "mla" / engine / "context_mla_perf.parquet"), kv_cache_dtype=name)
        n, tokens, q = c["isl"], c["batch_size"] * c["isl"], c["num_heads"]
        flops = 2 * q * (NOPE + ROPE + VALUE) * tokens * (n + 1) / 2
        later = roles(gpu, read=0 * n, flops=flops, moved=tokens * q * 2 * (NOPE + ROPE + VALUE) * ACT_BYTES, c=c)
        yield fmt, rows + replace(later, starting=0 * n > 0, computing=(n >= 128) & (later.flops_s > 10e-6))


def experts(folder: Path, engine: str, gpu: GPU) -> Iterator[tuple[str, Rows]]:
    """Gated experts on one device under balanced routing: every token copied to, and gathered from, its experts."""
    table = columns(folder / "moe" / engine / "moe_perf.parquet")
    for name, (fmt, bits) in EXPERTS.items():
        if name == ("w4a16_mxfp4" if gpu.peak("fp4") else "w4a8_mxfp4_mxfp8"):  # fp4 units are used with 8-bit activations
            continue
        c = gated(of(table, moe_dtype=name, distribution="balanced", moe_ep_size=1))
        if name == "w4a8_mxfp4_mxfp8":  # of gpt-oss, the model published so; vLLM times others, whose input it quantises apart
            c = {key: v[c["num_experts"] <= 128] for key, v in c.items()}
        tokens, d, k, held = c["num_tokens"], c["hidden_size"], c["topk"], c["num_experts"]
        f = c["inter_size"] / c["moe_tp_size"]
        each = tokens * k / held
        touched = np.minimum(held, tokens * k) * 3 * d * f * bits / 8
        stream_s = touched / gpu.memory_bytes_per_s
        rows = Rows(
            stream_s=stream_s,
            flops_s=6 * tokens * k * d * f / peak(gpu, fmt),
            moved_s=tokens * (2 * d + k * (2 * d + 6 * f)) * ACT_BYTES / gpu.memory_bytes_per_s,
            latency_s=c["latency"] * 1e-3,
            starting=(tokens == 1) & (f >= 256) & (stream_s < 15e-6),
            reading=(each >= 1) & (each <= 4) & (f >= 256) & (touched > 3 * cache_bytes(gpu)),
            computing=(each >= 256) & (f >= 256),
            pieces=held,
            pieced=(tokens == 1) & (f >= 256) & (stream_s < 15e-6),
            both=0 * tokens > 0,
        )
        yield fmt, rows.where(possible(c, rows))


READERS = {"gemm": gemm, "attention": attention, "mla": latent_attention, "experts": experts}


def columns(path: Path) -> Columns:
    """A table's columns; none where there is no such table."""
    if not path.exists():
        return {}
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    return {name: table[name].to_numpy(zero_copy_only=False) for name in table.column_names}


def of(c: Columns, **chosen: object) -> Columns:
    """The rows whose columns hold the values named; numbers become floats. Absent columns count as matching."""
    if not c:
        return dict.fromkeys(NUMBERS, np.empty(0)) | {"kernel_source": np.empty(0, dtype=str)}
    keep = np.ones(len(c["latency"]), dtype=bool)
    for name, value in chosen.items():
        keep &= c.get(name, np.full(len(keep), value)) == value
    return {name: v[keep].astype(str if v.dtype == object else float) for name, v in c.items()}


NUMBERS = (
    *("m", "n", "k", "latency", "batch_size", "isl", "step", "num_heads", "num_key_value_heads", "head_dim", "num_tokens"),
    *("hidden_size", "inter_size", "topk", "num_experts", "moe_tp_size"),
)


def heads(c: Columns) -> Columns:
    """Attention rows of plain heads of 128, with q and kv heads; no KV heads in a table means one to each."""
    c = c | {"q": c["num_heads"], "kv": np.where(c["num_key_value_heads"] > 0, c["num_key_value_heads"], c["num_heads"])}
    keep = (c["head_dim"] == 128) & (c.get("window_size", 0 * c["q"]) == 0) & (c["q"] <= 16 * c["kv"])
    return {name: v[keep] for name, v in c.items()}


def gated(c: Columns) -> Columns:
    """Without the experts that have no gate (the Nemotron shapes) and the kernels that say so."""
    bare = (c["hidden_size"] == 2688) | np.isin(c["inter_size"], (1856, 2688)) | (c["topk"] == 22)
    keep = ~bare & (np.char.find(c["kernel_source"], "nongated") < 0)
    return {name: v[keep] for name, v in c.items()}


def possible(c: Columns, rows: Rows) -> np.ndarray:
    """Not the expert shapes any of whose timings beats the peak bandwidth: they touch fewer experts than it says."""
    shape = np.stack([c[x] for x in ("hidden_size", "inter_size", "topk", "num_experts")], axis=1)
    beaten = {tuple(s) for s in shape[rows.reading & (rows.stream_s > rows.latency_s)]}
    return np.array([tuple(s) not in beaten for s in shape], dtype=bool)


def roles(gpu: GPU, read: np.ndarray, flops: np.ndarray, moved: np.ndarray, c: Columns) -> Rows:
    """Attention's rows: bytes read and moved, operations in 16 bits."""
    stream_s, flops_s = read / gpu.memory_bytes_per_s, flops / peak(gpu, "bf16")
    return Rows(
        stream_s=stream_s,
        flops_s=flops_s,
        moved_s=moved / gpu.memory_bytes_per_s,
        latency_s=c["latency"] * 1e-3,
        starting=(stream_s < 0.5e-6) & (flops_s < 0.5e-6),
        reading=read > 3 * cache_bytes(gpu),
        computing=flops_s > 4 * stream_s + 10e-6,
        pieces=0 * stream_s,
        pieced=0 * stream_s > 0,
        both=0 * stream_s > 0,
    )


def peak(gpu: GPU, fmt: str) -> float:
    """The dense rate the format's products are charged at [FLOP/s]; infinite where the device has none."""
    number = load_format(fmt)
    for compute in (number.compute, number.otherwise):
        rate = gpu.peak("bf16" if compute == "16-bit" else compute) if compute else None
        if rate:
            return float(rate)
    return np.inf


def cache_bytes(gpu: GPU) -> float:
    """The last-level cache [B]."""
    if gpu.last_level_cache_bytes is None:
        raise ValueError(f"{gpu.id} has no last_level_cache_bytes")
    return float(gpu.last_level_cache_bytes)
