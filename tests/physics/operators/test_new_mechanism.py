"""A mechanism defined outside the package gets its bytes, its memory and its floor right, and a config.json that names it is read.

Every expected number is worked out by hand in the comments beside it.
"""

from __future__ import annotations

import numpy as np
import pytest

import sol
from sol.errors import BadFile, InvalidInput
from sol.physics.memory.cache import kv_bytes, max_ctx, state_bytes
from sol.physics.memory.capacity import activation_bytes_per_token
from sol.physics.operators.forward_pass import ROWS, Pass, step_operators
from sol.physics.operators.mixers import attention_rows
from sol.physics.operators.operator import row
from sol.sources.config import kinds, reader, states
from sol.sources.config.config_json import read_config
from sol.specs.blocks import Block, CacheSpan, Matrix, Size, State, StateMixer
from sol.specs.record import Source
from sol.specs.step import Step, Storage

BF16, FP8 = sol.load_format("bf16"), sol.load_format("fp8")
FEED = sol.MLP(ffn=2048)


class LinearAttention(StateMixer):
    """Linear attention without a gate (arXiv:2006.16236): a matrix of head_dim × head_dim per head."""

    heads: Size
    head_dim: Size

    @property
    def state_elements(self) -> int:
        return self.heads * self.head_dim * self.head_dim

    @property
    def scan_flops(self) -> int:
        return 4 * self.state_elements

    @property
    def indivisible(self) -> int:
        return self.heads

    def shard(self, ways: int) -> LinearAttention:
        return self._with(heads=self.heads // ways)

    def matrices(self, hidden: int) -> tuple[Matrix, ...]:
        width = self.heads * self.head_dim
        return (Matrix("in_proj", "q_proj", 3 * width, hidden), Matrix("out_proj", "o_proj", hidden, width))


class Notebook(Block):
    """No mechanism of any model: every kind of statement at once, in numbers that are easy to follow."""

    slots: Size

    @property
    def cache_spans(self) -> tuple[CacheSpan, ...]:
        return CacheSpan(None, 10, own_bytes=3.0), CacheSpan(self.slots, 6)

    @property
    def states(self) -> tuple[State, ...]:
        return State(8, bits=4), State(5)

    @property
    def assumptions(self) -> tuple[str, ...]:
        return ("a notebook is kept in ink",)

    def activation_width(self, hidden: int) -> int:
        return 9 * hidden

    def matrices(self, hidden: int) -> tuple[Matrix, ...]:
        return (Matrix("write_proj", "q_proj", hidden, hidden),)


def model(mixer: Block, layers: int = 10) -> sol.Model:
    return sol.Model(id="new", hidden=1024, vocab=1000, groups=(sol.LayerGroup(count=layers, blocks=(mixer, FEED)),), dtype="bf16")


def stored(of: sol.Model, cache: sol.NumberFormat = BF16) -> Storage:
    return Storage(BF16, BF16, cache, of.layers, 0)


@pytest.mark.truth
def test_a_state_defined_outside() -> None:
    linear = model(LinearAttention(heads=8, head_dim=128))
    layers = 10 * (4 * 1024**2 + 3 * 1024 * 2048 + 2 * 1024)  # in (three matrices' worth) and out; dense block; two norms
    assert linear.parameters == layers + 2 * 1000 * 1024 + 1024 == 106_927_104
    state = 10 * 8 * 128 * 128 * 4  # fp32
    assert state_bytes(linear, stored(linear)) == state == 5_242_880
    assert kv_bytes(linear, np.array([4096.0]), BF16).item() == 0.0

    f = sol.floor(linear, "h100", ctx=4096, batch=3)
    read = 2 * (layers + 1000 * 1024 + 1024 + 3 * 1024)  # the head and its norm, and a row of the input table a token
    assert f.moved_weight_bytes == read == 211_812_352
    assert f.moved_kv_bytes == 3 * state
    assert f.flops == 3 * (2 * 10 * (4 * 1024**2 + 3 * 1024 * 2048) + 2 * 1000 * 1024 + 10 * 4 * 8 * 128 * 128) == 3 * 217_006_080
    assert f.latency_s == pytest.approx((211_812_352 + 15_728_640) / 3.35e12, rel=1e-12)  # memory-bound
    assert sol.floor(linear, "h100", ctx=4096, batch=3, tp=2).moved_kv_bytes == 3 * state / 2

    m = sol.memory(linear, "h100", ctx=4096, batch=3)
    assert (m.weight_bytes, m.kv_bytes, m.state_bytes) == (2 * 106_927_104, 0.0, 3 * state)
    # two rows of the hidden width and the widest block (gate and up, 4,096) in 16 bits; a row of fp32 logits per sequence
    assert f.resident_bytes == 2 * 106_927_104 + 3 * state + 3 * 2 * (2 * 1024 + 4096) + 3 * 4 * 1000


@pytest.mark.truth
def test_every_statement_counts() -> None:
    """A token keeps 10 elements and 3 bytes of all, 6 elements of the last 100; a sequence 8 half-bytes and 5 elements in 16 bits."""
    noted = model(Notebook(slots=100))
    short, long = (kv_bytes(noted, np.array([n]), BF16).item() for n in (50.0, 1000.0))
    assert short == 10 * (50 * (10 * 2 + 3) + 50 * 6 * 2)
    assert long == 10 * (1000 * (10 * 2 + 3) + 100 * 6 * 2)
    assert kv_bytes(noted, np.array([1000.0]), FP8).item() == 10 * (1000 * (10 + 3) + 100 * 6)
    assert max_ctx(noted, np.array([long]), BF16).item() == 1000.0
    assert state_bytes(noted, stored(noted)) == 10 * (8 * 4 / 8 + 5 * 2)
    assert activation_bytes_per_token(noted) == 2 * (2 * 1024 + 9 * 1024)


@pytest.mark.contract
def test_a_cache_without_rows_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidInput, match="Notebook keeps a cache or a state and no function makes its rows; register one in sol"):
        sol.floor(model(Notebook(slots=100)), "h100", ctx=10)

    def rows(block: Notebook, layers: int, p: Pass) -> list:
        return [row("notes", layers, "rest", kv_bytes=layers * 7.0)]

    monkeypatch.setitem(ROWS, Notebook, rows)
    f = sol.floor(model(Notebook(slots=100)), "h100", ctx=10)
    assert f.moved_kv_bytes == 70.0
    assert "a notebook is kept in ink" in f.assumptions


@pytest.mark.truth
def test_rows_go_to_the_nearest_class(monkeypatch: pytest.MonkeyPatch) -> None:
    """4 first and the last 1,020 tokens (arXiv:2309.17453): the base's rows read 1,019 cached ones, its own 1,023; each writes one."""

    class Streaming(sol.Attention):
        @property
        def span(self) -> int:
            assert self.window is not None
            return 4 + self.window

    streaming = model(Streaming(heads=16, kv_heads=2, head_dim=64, window=1020))
    token = 10 * 2 * (64 + 64) * 2
    assert sol.memory(streaming, "h100", ctx=32768).kv_bytes == 1024 * token
    step = Step(np.array([1.0]), np.array([1.0]), np.array([32768.0]), "last")

    def read() -> float:
        rows = step_operators(streaming, step, stored(streaming), "expected", "ideal")
        return next(op.kv_bytes.item() for op in rows if op.name == "attention")

    assert read() == 1020 * token
    monkeypatch.setitem(ROWS, Streaming, lambda block, layers, p: attention_rows(block._with(window=1024), layers, p))
    assert read() == 1024 * token


CONFIG = {
    "model_type": "linear", "hidden_size": 1024, "vocab_size": 1000, "num_hidden_layers": 10, "num_attention_heads": 8,
    "intermediate_size": 2048, "full_attention_interval": 5, "linear_num_key_heads": 8, "linear_key_head_dim": 128,
    "num_key_value_heads": 2, "layer_types": ["linear_attention"] * 4 + ["full_attention"] + ["linear_attention"] * 5,
}  # fmt: skip


@pytest.mark.contract
def test_a_row_of_the_table_and_a_reader_are_enough_for_a_config(monkeypatch: pytest.MonkeyPatch) -> None:
    source = Source(title="a config", kind="user")
    with pytest.raises(BadFile, match="linear"):
        read_config(CONFIG, "config.json", model_id="new", source=source)
    monkeypatch.setitem(kinds.KINDS, "linear", {"state": "linear_attention", "reads": ("full_attention_interval",)})
    monkeypatch.setitem(
        states.STATES, "linear_attention", lambda r: LinearAttention(heads=r.count("key_heads"), head_dim=r.count("key_dim"))
    )
    found = read_config(CONFIG, "config.json", model_id="new", source=source)
    assert [(g.count, type(g.blocks[0])) for g in found.groups] == [(9, LinearAttention), (1, sol.Attention)]
    assert state_bytes(found, stored(found)) == 9 * 8 * 128 * 128 * 4
    assert kv_bytes(found, np.array([1.0]), BF16).item() == 2 * 2 * 128 * 2
    assert reader.Reader(CONFIG, "config.json").kind.state == "linear_attention"
