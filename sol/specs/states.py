"""Recurrent mixers as data: a state of fixed size per sequence instead of a cache that grows.

Each states its matrices, the elements of its recurrent state and of its convolution's memory, and the least FLOPs
of one token's update. Physics prices all of them in the same way.
"""

from __future__ import annotations

from pydantic import model_validator

from sol.specs.blocks import Matrix, Size, StateMixer


class Mamba(StateMixer):
    """Selective state space, first version (arXiv:2312.00752): `width` channels of `state` elements each."""

    width: Size
    state: Size
    conv: Size
    dt_rank: Size
    bias: bool = False
    conv_bias: bool = True
    inner_norms: bool = False

    @property
    def state_elements(self) -> int:
        """width·state."""
        return self.width * self.state

    @property
    def conv_elements(self) -> int:
        """(conv − 1)·width."""
        return (self.conv - 1) * self.width

    @property
    def scan_flops(self) -> int:
        """4·width·state (decayed state plus input, read-out), and 2·conv·width."""
        return 4 * self.width * self.state + 2 * self.conv * self.width

    @property
    def norm_elements(self) -> int:
        """Norms of the step size and of B and C, where there are any."""
        return self.dt_rank + 2 * self.state if self.inner_norms else 0

    @property
    def vector_elements(self) -> int:
        """Convolution, decays and skip."""
        return self.width * (self.conv + (1 if self.conv_bias else 0) + self.state + 1)

    @property
    def indivisible(self) -> int:
        """Channels."""
        return self.width

    def shard(self, ways: int) -> Mamba:
        """width / ways."""
        return self._with(width=self.width // ways)

    def matrices(self, hidden: int) -> tuple[Matrix, ...]:
        """In (twice the width), step size with B and C, step size up, out."""
        w = self.width
        return (
            Matrix("in_proj", "q_proj", 2 * w, hidden, 2 * w if self.bias else 0),
            Matrix("x_proj", "q_proj", self.dt_rank + 2 * self.state, w),
            Matrix("dt_proj", "q_proj", w, self.dt_rank, w),
            Matrix("out_proj", "o_proj", hidden, w, hidden if self.bias else 0),
        )


class Mamba2(StateMixer):
    """State space duality (arXiv:2405.21060): `heads` of `head_dim` channels, `groups` of B and C with `state` elements."""

    heads: Size
    head_dim: Size
    state: Size
    groups: Size
    conv: Size
    bias: bool = False
    conv_bias: bool = True
    gated_norm: bool = True

    @property
    def width(self) -> int:
        """Channels over all heads."""
        return self.heads * self.head_dim

    @property
    def channels(self) -> int:
        """Channels of the convolution: values, B and C."""
        return self.width + 2 * self.groups * self.state

    @property
    def state_elements(self) -> int:
        """heads·head_dim·state."""
        return self.width * self.state

    @property
    def conv_elements(self) -> int:
        """(conv − 1)·channels."""
        return (self.conv - 1) * self.channels

    @property
    def scan_flops(self) -> int:
        """4·heads·head_dim·state, and 2·conv·channels."""
        return 4 * self.width * self.state + 2 * self.conv * self.channels

    @property
    def norm_elements(self) -> int:
        """The gated norm before the output projection."""
        return self.width if self.gated_norm else 0

    @property
    def vector_elements(self) -> int:
        """Convolution; step bias, decay and skip of every head."""
        return self.channels * (self.conv + (1 if self.conv_bias else 0)) + 3 * self.heads

    @property
    def indivisible(self) -> int:
        """Heads."""
        return self.heads

    def shard(self, ways: int) -> Mamba2:
        """heads / ways, and groups the same way, one at least."""
        return self._with(heads=self.heads // ways, groups=-(-self.groups // ways))

    def matrices(self, hidden: int) -> tuple[Matrix, ...]:
        """In (gate, values, B, C, step sizes) and out."""
        rows = self.width + self.channels + self.heads
        return (
            Matrix("in_proj", "q_proj", rows, hidden, rows if self.bias else 0),
            Matrix("out_proj", "o_proj", hidden, self.width, hidden if self.bias else 0),
        )


class GatedDelta(StateMixer):
    """Gated delta rule (arXiv:2412.06464): `key_heads` of `key_dim`, `value_heads` of `value_dim`, a matrix-valued state."""

    key_heads: Size
    value_heads: Size
    key_dim: Size
    value_dim: Size
    conv: Size

    @model_validator(mode="after")
    def _divides(self) -> GatedDelta:
        if self.value_heads % self.key_heads:
            raise ValueError(f"value_heads={self.value_heads} is not a multiple of key_heads={self.key_heads}")
        return self

    @property
    def out_width(self) -> int:
        """Elements of the output over all value heads."""
        return self.value_heads * self.value_dim

    @property
    def channels(self) -> int:
        """Channels of the convolution: queries, keys and values."""
        return 2 * self.key_heads * self.key_dim + self.out_width

    @property
    def state_elements(self) -> int:
        """value_heads·key_dim·value_dim."""
        return self.value_heads * self.key_dim * self.value_dim

    @property
    def conv_elements(self) -> int:
        """(conv − 1)·channels."""
        return (self.conv - 1) * self.channels

    @property
    def scan_flops(self) -> int:
        """6·value_heads·key_dim·value_dim (recall, correct, read out), and 2·conv·channels."""
        return 6 * self.state_elements + 2 * self.conv * self.channels

    @property
    def norm_elements(self) -> int:
        """The gated norm, its weights shared by the heads."""
        return self.value_dim

    @property
    def vector_elements(self) -> int:
        """Convolution; step bias and decay of every value head."""
        return self.conv * self.channels + 2 * self.value_heads

    @property
    def indivisible(self) -> int:
        """Key heads."""
        return self.key_heads

    def shard(self, ways: int) -> GatedDelta:
        """key and value heads / ways."""
        return self._with(key_heads=self.key_heads // ways, value_heads=self.value_heads // ways)

    def matrices(self, hidden: int) -> tuple[Matrix, ...]:
        """In (queries, keys, values, gate; two gates a value head) and out."""
        return (
            Matrix("in_proj", "q_proj", self.channels + self.out_width, hidden),
            Matrix("in_proj", "q_proj", 2 * self.value_heads, hidden),
            Matrix("out_proj", "o_proj", hidden, self.out_width),
        )


class GatedRecurrence(StateMixer):
    """Real-gated linear recurrent unit (arXiv:2402.19427): `width` channels, gates of `heads` diagonal blocks."""

    width: Size
    heads: Size
    conv: Size

    @model_validator(mode="after")
    def _divides(self) -> GatedRecurrence:
        if self.width % self.heads:
            raise ValueError(f"width={self.width} is not a multiple of heads={self.heads}")
        return self

    @property
    def state_elements(self) -> int:
        """One element a channel."""
        return self.width

    @property
    def conv_elements(self) -> int:
        """(conv − 1)·width."""
        return (self.conv - 1) * self.width

    @property
    def scan_flops(self) -> int:
        """3·width of the recurrence, and 2·conv·width."""
        return (3 + 2 * self.conv) * self.width

    @property
    def vector_elements(self) -> int:
        """Convolution with bias, decays."""
        return self.width * (self.conv + 2)

    @property
    def indivisible(self) -> int:
        """Diagonal blocks."""
        return self.heads

    def shard(self, ways: int) -> GatedRecurrence:
        """heads / ways, with their width."""
        return self._with(heads=self.heads // ways, width=self.width // ways)

    def matrices(self, hidden: int) -> tuple[Matrix, ...]:
        """Two branches in, the block-diagonal input and recurrence gates, and out; all with biases."""
        w, block = self.width, self.width // self.heads
        return (
            Matrix("in_proj", "q_proj", w, hidden, w),
            Matrix("in_proj", "q_proj", w, hidden, w),
            Matrix("gates", "q_proj", w, block, w),
            Matrix("gates", "q_proj", w, block, w),
            Matrix("out_proj", "o_proj", hidden, w, hidden),
        )


class ShortConv(StateMixer):
    """A gated short convolution (LFM2): three projections of `width`, a depthwise convolution over `conv` tokens."""

    width: Size
    conv: Size
    bias: bool = False

    @property
    def conv_elements(self) -> int:
        """(conv − 1)·width."""
        return (self.conv - 1) * self.width

    @property
    def scan_flops(self) -> int:
        """2·conv·width and the two gates."""
        return (2 * self.conv + 2) * self.width

    @property
    def vector_elements(self) -> int:
        """The convolution."""
        return self.width * (self.conv + (1 if self.bias else 0))

    @property
    def indivisible(self) -> int:
        """Channels."""
        return self.width

    def shard(self, ways: int) -> ShortConv:
        """width / ways."""
        return self._with(width=self.width // ways)

    def matrices(self, hidden: int) -> tuple[Matrix, ...]:
        """In (two gates and the value) and out."""
        return (
            Matrix("in_proj", "q_proj", 3 * self.width, hidden, 3 * self.width if self.bias else 0),
            Matrix("out_proj", "o_proj", hidden, self.width, hidden if self.bias else 0),
        )
