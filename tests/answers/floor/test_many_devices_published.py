"""Published tensor parallelism and exchange of experts: none is faster than our bytes over its links, and the speed-ups come out."""

from __future__ import annotations

import csv
from functools import lru_cache
from typing import Any

import numpy as np
import pytest

from sol import floor, load_link, load_model
from sol.answers.calibrate.accuracy import scored
from sol.answers.question.ask import ask
from sol.answers.question.links import topology
from sol.physics.network import collectives
from sol.physics.network.communication import wire_rows
from sol.physics.network.sharding import share
from sol.sources.database.database import load_gpu
from sol.sources.database.measured import MeasuredRow, measured_rows
from sol.sources.database.tomlfiles import data_root
from sol.specs.step import Step

NDR = "infiniband-ndr"  # 50 GB/s a card, one direction
MEASURED = data_root() / "measured"


# What travels


@pytest.mark.truth
def test_tokens_travel_as_the_experts_take_them() -> None:
    """16 bits, 8 to fp8 products, 4 to fp4 products; a device without fp4 units multiplies 4-bit weights in 16 bits."""
    sent = {}
    for gpu in ("b200", "h200"):
        for dtype in ("bf16", "fp8", "nvfp4", "w4a16"):
            q = ask("deepseek-v3", gpu, ctx=2048, batch=32, dp=32, ep=32, dtype=dtype, network=NDR)
            rows = {r.name: r for r in wire_rows(q.model, q.split, Step(np.ones(1), np.ones(1), np.array([2048.0]), "last"), q.storage)}
            sent[gpu, dtype] = rows["dispatch"].wire.message_bytes[0] / rows["combine"].wire.message_bytes[0]  # type: ignore[union-attr]
    assert [sent["b200", d] for d in ("bf16", "fp8", "nvfp4", "w4a16")] == [1.0, 0.5, 0.25, 1.0]
    assert [sent["h200", d] for d in ("bf16", "fp8", "nvfp4", "w4a16")] == [1.0, 0.5, 1.0, 1.0]


DEEPEP = [r for r in csv.DictReader((MEASURED / "collectives.csv").read_text(encoding="utf-8").splitlines()) if r["kernel"] == "deepep"]


@pytest.mark.truth
@pytest.mark.parametrize("row", DEEPEP, ids=[r["id"] for r in DEEPEP])
def test_no_published_exchange_of_experts_is_faster_than_ours(row: dict[str, str], record_property: Any) -> None:
    """128 tokens a card, hidden 7168, 8 experts each, fp8 out and bf16 back: our bytes over their time are below every link's rate."""
    ep, name = int(row["ranks"]), row["engine"].rpartition(" ")[2]
    links = topology(load_gpu(row["gpu"]), load_link(row["network"]))
    q = ask("deepseek-v3", row["gpu"], ctx=1, batch=128 * ep, dp=ep, ep=ep, dtype="fp8", network=row["network"])
    tokens = Step(share(q.step.batch, ep), q.step.new_tokens, q.step.past_tokens, q.step.logits)
    (wire,) = (r.wire for r in wire_rows(q.model, q.split, tokens, q.storage) if r.name == name)
    assert wire is not None
    sent = collectives.wire_bytes("all_to_all", np.asarray(wire.message_bytes), np.array([float(ep)]), links)
    taken = float(row["printed"]) * 1e-6
    for link, size in zip(links.levels, sent, strict=True):
        record_property(link.id, round(float(size[0] / taken / link.per_direction_bytes_per_s), 3))
        assert size[0] / taken <= link.per_direction_bytes_per_s
    assert sum(s[0] for s in sent) <= 128 * 8 * 7168 * (1.0 if name == "dispatch" else 2.0)  # theirs goes once to every expert


# gpt-fast's published tensor parallelism

GPT_FAST = [r for r in measured_rows() if r.engine == "gpt-fast" and r.gpu == "a100-sxm-80gb" and r.dtype == "bf16"]
OUTLIER = "GPTF-0019"
"""Llama-3.1-70B on 2 cards, 62.4 ms: a third more than Llama-2-70B's 46.9 of nearly the same bytes, and 2.34 times its own on 4."""


@lru_cache
def serial(model: str, tp: int) -> float:
    return floor(model, "a100-sxm-80gb", ctx=104.5, tp=tp, dtype="bf16").serial_s


@pytest.mark.truth
def test_published_speed_ups_of_tensor_parallelism() -> None:
    """Our serial ratio against theirs, from the fewest cards of a model to each number: within 16 % at two cards, or from two to four.

    Elsewhere we promise too much, never too little: up to twice at eight cards. A step has a fixed time per layer that no card
    shares, which the next test finds; the outlier is left out.
    """
    errors: dict[tuple[str, int], float] = {}
    for model in dict.fromkeys(r.model for r in GPT_FAST):
        rows = sorted((r for r in GPT_FAST if r.model == model and r.id != OUTLIER), key=lambda r: r.tp)
        for row in rows[1:]:
            if row.tp > rows[0].tp:
                theirs = rows[0].measured_s / row.measured_s
                errors[row.id, row.tp] = serial(model, rows[0].tp) / serial(model, row.tp) / theirs - 1
    print({k: round(v, 3) for k, v in errors.items()})
    within = {row for (row, _), error in errors.items() if abs(error) <= 0.16}
    assert {"GPTF-0009", "GPTF-0013"} <= within
    assert all(error > 0 for error in errors.values())


@pytest.mark.truth
def test_what_the_speed_ups_miss_is_a_fixed_time_a_layer() -> None:
    """Two figures from Llama-2-7B on 1 and 2 cards (a share of the rate, a time a layer) put every other row within 15 %, most within 5.

    Every card reads the whole head, as gpt-fast's tp.py leaves it.
    """

    def known(row: MeasuredRow) -> tuple[float, int]:
        model = load_model(row.model)
        head = model.vocab * model.hidden * 2 * (1 - 1 / row.tp) / load_gpu("a100-sxm-80gb").memory_bytes_per_s
        return serial(row.model, row.tp) + head, model.layers

    rows = {r.id: r for r in GPT_FAST}
    first, second = rows["GPTF-0001"], rows["GPTF-0009"]
    per_serial = (first.measured_s - second.measured_s) / (known(first)[0] - known(second)[0])
    per_layer = (first.measured_s - per_serial * known(first)[0]) / known(first)[1]
    assert 1 / per_serial == pytest.approx(1700 / 2039, abs=0.05)  # "seems like peak bandwidth is about 1700 GB/s", their README
    errors = {}
    for name, row in rows.items():
        at, layers = known(row)
        errors[name] = (per_serial * at + per_layer * layers) / row.measured_s - 1
    print(f"{1 / per_serial:.3f} of the rate, {per_layer * 1e6:.1f} µs a layer", {k: round(v, 3) for k, v in errors.items()})
    held = {k: abs(v) for k, v in errors.items() if k not in (OUTLIER, first.id, second.id)}
    assert max(held.values()) <= 0.15
    assert np.median(list(held.values())) <= 0.05
    assert errors[OUTLIER] < -0.15


@pytest.mark.truth
def test_estimates_tell_the_published_speed_ups() -> None:
    """Every row within 15 % of its model's on the fewest cards, dense and routed, 16 and 8 bits; bases but the outlier."""
    known = scored([r for r in measured_rows() if r.engine == "gpt-fast" and r.gpu == "a100-sxm-80gb" and r.id != OUTLIER])
    errors = {}
    for of in dict.fromkeys((s.row.model, s.row.dtype) for s in known):
        base, *more = sorted((s for s in known if (s.row.model, s.row.dtype) == of), key=lambda s: s.row.tp)
        for s in more:
            assert s.estimate_s is not None
            assert base.estimate_s is not None
            errors[s.row.id] = base.estimate_s / s.estimate_s / (base.row.measured_s / s.row.measured_s) - 1
    print({k: round(v, 3) for k, v in errors.items()})
    assert len(errors) >= 18
    assert all(abs(v) <= 0.15 for v in errors.values())
