"""A model: groups of alike layers between an embedding and a head, and how many parameters each has.

Counts of elements live here; bytes and seconds live in physics. No total is ever stored: every
count is computed from the architecture. A mechanism (window, grouped heads, experts) is data, never
a model's name.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Annotated

from pydantic import Field, model_validator

from sol.specs.formats import NumberFormat
from sol.specs.record import Cites, HandMade

Size = Annotated[int, Field(gt=0, le=2**40, strict=True)]
"""A width or a count; no model comes near the limit."""


class Attention(HandMade):
    """Softmax attention: MHA (kv_heads = heads), GQA and MQA (kv_heads = 1) are one formula.

    `window` is the sliding window [tokens, self included]; None attends to everything before.
    """

    heads: Size
    kv_heads: Size
    head_dim: Size
    window: Size | None = None
    qkv_bias: bool = False
    o_bias: bool = False
    qk_norm: bool = False

    @model_validator(mode="after")
    def _divides(self) -> Attention:
        if self.heads % self.kv_heads:
            raise ValueError(f"heads={self.heads} is not a multiple of kv_heads={self.kv_heads}")
        return self

    @property
    def q_width(self) -> int:
        """Elements of one token's queries (and of the attention output)."""
        return self.heads * self.head_dim

    @property
    def kv_width(self) -> int:
        """Elements of one token's key and value together, over all KV heads."""
        return self.kv_heads * 2 * self.head_dim

    @property
    def norm_elements(self) -> int:
        """Elements of the per-head query and key norms."""
        return 2 * self.head_dim if self.qk_norm else 0

    def k_weights(self, hidden: int) -> int:
        """Elements of the key projection; the value projection has as many."""
        return hidden * self.kv_heads * self.head_dim

    def qkv_weights(self, hidden: int) -> int:
        """Elements of the query, key and value projections, without biases."""
        return hidden * (self.q_width + self.kv_width)

    def o_weights(self, hidden: int) -> int:
        """Elements of the output projection, without bias."""
        return self.q_width * hidden

    def bias_elements(self, hidden: int) -> tuple[int, int]:
        """Bias elements of (query, key, value) and of the output projection."""
        return (self.q_width + self.kv_width if self.qkv_bias else 0, hidden if self.o_bias else 0)


class MLP(HandMade):
    """A dense feed-forward block; gated (SwiGLU) ones have three matrices, plain ones two."""

    ffn: Size
    gated: bool = True
    bias: bool = False

    def up_weights(self, hidden: int) -> int:
        """Elements of the matrices from hidden to ffn: gate and up, or up alone."""
        return (2 if self.gated else 1) * hidden * self.ffn

    def down_weights(self, hidden: int) -> int:
        """Elements of the matrix from ffn back to hidden."""
        return self.ffn * hidden

    def bias_elements(self, hidden: int) -> tuple[int, int]:
        """Bias elements of the up side and of the down side."""
        return ((2 if self.gated else 1) * self.ffn, hidden) if self.bias else (0, 0)


class MoE(HandMade):
    """Routed experts, each a gated feed-forward block of width `expert_ffn`."""

    experts: Size
    experts_per_token: Size
    expert_ffn: Size

    @model_validator(mode="after")
    def _enough(self) -> MoE:
        if self.experts_per_token > self.experts:
            raise ValueError(f"experts_per_token={self.experts_per_token} exceeds experts={self.experts}")
        return self

    def router_weights(self, hidden: int) -> int:
        """Elements of the router."""
        return hidden * self.experts

    def expert_up_weights(self, hidden: int) -> int:
        """Elements of one expert's gate and up."""
        return 2 * hidden * self.expert_ffn

    def expert_weights(self, hidden: int) -> int:
        """Elements of one expert: gate, up and down."""
        return 3 * hidden * self.expert_ffn


class LayerGroup(HandMade):
    """`count` layers alike: a mixer, a feed-forward block and two norms of `hidden` elements each."""

    count: Size
    attention: Attention
    ffn: MLP | MoE

    def norm_elements(self, hidden: int) -> int:
        """Norm elements of one layer, q/k norms included."""
        return 2 * hidden + self.attention.norm_elements

    def parameters(self, hidden: int, *, active: bool = False) -> int:
        """Parameters of one layer; `active` counts only the experts one token uses."""
        total = self.attention.qkv_weights(hidden) + self.attention.o_weights(hidden)
        total += sum(self.attention.bias_elements(hidden)) + self.norm_elements(hidden)
        if isinstance(self.ffn, MoE):
            used = self.ffn.experts_per_token if active else self.ffn.experts
            return total + self.ffn.router_weights(hidden) + used * self.ffn.expert_weights(hidden)
        return total + self.ffn.up_weights(hidden) + self.ffn.down_weights(hidden) + sum(self.ffn.bias_elements(hidden))


class Model(HandMade):
    """A decoder-only language model as data.

    `groups` are the layers from first to last, alike ones together. `dtype` is the 16-bit format the
    checkpoint says it is stored in, `dtype_source` where that stands; `quantization` the method of a
    quantised checkpoint, if its config names one, and `weight_format` what that stores, if it is understood.
    """

    id: str
    hidden: Size
    vocab: Size
    groups: tuple[LayerGroup, ...] = Field(min_length=1)
    tied_embeddings: bool = False
    dtype: str | None = None
    quantization: str | None = None
    weight_format: NumberFormat | None = None
    max_ctx: Size | None = None
    hf_id: str | None = None
    aliases: tuple[str, ...] = ()
    cites: Cites = Field(default_factory=lambda: MappingProxyType({}))

    @property
    def layers(self) -> int:
        """Number of layers."""
        return sum(g.count for g in self.groups)

    @property
    def embedding_elements(self) -> int:
        """Elements of the input embedding table."""
        return self.vocab * self.hidden

    @property
    def lm_head_elements(self) -> int:
        """Elements of the output head, whether or not it shares the input table."""
        return self.vocab * self.hidden

    @property
    def final_norm_elements(self) -> int:
        """Elements of the norm before the head."""
        return self.hidden

    def _blocks(self, *, active: bool = False) -> int:
        return self.final_norm_elements + sum(g.count * g.parameters(self.hidden, active=active) for g in self.groups)

    @property
    def parameters(self) -> int:
        """All parameters; a tied table counts once.

        >>> from sol import load_model
        >>> load_model("qwen2.5-7b").parameters
        7615616512
        """
        tables = self.embedding_elements + (0 if self.tied_embeddings else self.lm_head_elements)
        return self._blocks() + tables

    @property
    def active_parameters(self) -> int:
        """Parameters one token uses, embedding and head included: the experts it is routed to, no others."""
        tables = self.embedding_elements + (0 if self.tied_embeddings else self.lm_head_elements)
        return self._blocks(active=True) + tables

    @property
    def streamed_parameters(self) -> int:
        """Parameters one decode step of one token reads: active ones without the input table, with the head."""
        return self._blocks(active=True) + self.lm_head_elements

    @property
    def is_moe(self) -> bool:
        """Whether any layer routes its tokens to experts."""
        return any(isinstance(g.ffn, MoE) for g in self.groups)

    def as_mha(self) -> Model:
        """The same model with one KV head per query head: what grouped attention saves against."""
        groups = tuple(
            g.model_copy(update={"attention": g.attention.model_copy(update={"kv_heads": g.attention.heads})}) for g in self.groups
        )
        return self.model_copy(update={"groups": groups, "id": f"{self.id}-as-mha"})

    def __repr__(self) -> str:
        return f"<Model {self.id}: {self.parameters:,} parameters, {self.layers} layers>"
