"""Attention as data: its heads, its cache, its window.

MHA (kv_heads = heads), GQA and MQA (kv_heads = 1) are one formula; a latent cache (MLA) is another.
A window, a chunk, an indexer or shared keys and values are fields, never a model's name.
"""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from sol.specs.assumption import Assumption, assumed
from sol.specs.blocks import Block, CacheSpan, Matrix, Size, SizeOrZero
from sol.specs.record import HandMade


class Attention(Block):
    """Softmax attention over cached keys and values.

    `window` is the sliding window [tokens, self included], `chunk` the length of chunks that see only
    themselves; neither: everything before. `value_dim` is the value heads' width where it is not
    `head_dim`. `qk_norm`: norms of queries and keys per head ("head", weights shared by the heads) or
    over the whole width ("width"). `output_gate`: a gate as wide as the output.
    `owns_kv`: False where the layer reads another's cache. `values_are_keys`: no value projection.
    `sinks`: one learned logit a head. `extra_norms`: further norm elements inside. `copies`: of a part, the devices that hold
    the same keys and values.
    """

    heads: Size
    kv_heads: Size
    head_dim: Size
    value_dim: Size | None = None
    window: Size | None = None
    chunk: Size | None = None
    qkv_bias: bool = False
    o_bias: bool = False
    qk_norm: Literal["head", "width"] | None = None
    output_gate: bool = False
    owns_kv: bool = True
    values_are_keys: bool = False
    sinks: bool = False
    extra_norms: SizeOrZero = 0
    copies: float = 1.0

    @model_validator(mode="after")
    def _hangs_together(self) -> Attention:
        if self.heads % self.kv_heads:
            raise ValueError(f"heads={self.heads} is not a multiple of kv_heads={self.kv_heads}")
        if self.window is not None and self.chunk is not None:
            raise ValueError(f"attention has a window ({self.window}) or chunks ({self.chunk}), not both")
        return self

    @property
    def v_dim(self) -> int:
        """Width of one value head."""
        return self.head_dim if self.value_dim is None else self.value_dim

    @property
    def q_width(self) -> int:
        """Elements of one token's queries."""
        return self.heads * self.head_dim

    @property
    def out_width(self) -> int:
        """Elements of one token's attention output, over all heads."""
        return self.heads * self.v_dim

    @property
    def kv_width(self) -> int:
        """Elements of one token's key and value together, over all KV heads."""
        return self.kv_heads * (self.head_dim + self.v_dim)

    @property
    def span(self) -> int | None:
        """The most tokens of a sequence it ever keeps; None for all."""
        return self.window if self.chunk is None else self.chunk

    @property
    def cache_spans(self) -> tuple[CacheSpan, ...]:
        """Keys and values of the tokens in the window or the chunk, or of all; none where another layer keeps them."""
        return (CacheSpan(self.span, self.kv_width),) if self.owns_kv else ()

    @property
    def normed_width(self) -> int | None:
        """Queries and keys, where they have norms."""
        return self.q_width + self.kv_heads * self.head_dim if self.qk_norm else None

    def activation_width(self, hidden: int) -> int:
        """Queries, keys and values."""
        del hidden
        return self.q_width + self.kv_width

    @property
    def norm_elements(self) -> int:
        """Elements of the query and key norms."""
        q, k = (self.q_width, self.kv_heads * self.head_dim) if self.qk_norm == "width" else (self.head_dim, self.head_dim)
        own = 0 if self.qk_norm is None else q + (k if self.owns_kv else 0)
        return own + self.extra_norms

    @property
    def vector_elements(self) -> int:
        """Elements of the sinks."""
        return self.heads if self.sinks else 0

    def matrices(self, hidden: int) -> tuple[Matrix, ...]:
        """Query, key, value, an output gate, and the output projection."""
        k, v = self.kv_heads * self.head_dim, self.kv_heads * self.v_dim
        bias = 1 if self.qkv_bias else 0
        rows = [Matrix("qkv_proj", "q_proj", self.q_width, hidden, bias * self.q_width)]
        if self.owns_kv:
            rows.append(Matrix("qkv_proj", "k_proj", k, hidden, bias * k))
            if not self.values_are_keys:
                rows.append(Matrix("qkv_proj", "v_proj", v, hidden, bias * v))
        if self.output_gate:
            rows.append(Matrix("qkv_proj", "q_proj", self.out_width, hidden, bias * self.out_width))
        return (*rows, Matrix("o_proj", "o_proj", hidden, self.out_width, hidden if self.o_bias else 0))

    @property
    def indivisible(self) -> int:
        """Query heads."""
        return self.heads

    @property
    def cache_heads(self) -> int:
        """KV heads."""
        return self.kv_heads

    @property
    def cache_copies(self) -> float:
        """What its part says."""
        return self.copies

    @property
    def query_widths(self) -> tuple[int, int]:
        """Queries, and the output of all heads."""
        return self.q_width, self.out_width

    def shard(self, ways: int) -> Attention:
        """heads / ways; KV heads the same way, one at least: more ways than KV heads hold copies."""
        kv_heads = -(-self.kv_heads // ways)
        return self._with(heads=self.heads // ways, kv_heads=kv_heads, copies=self.copies * (kv_heads * ways / self.kv_heads))

    def as_mha(self) -> Attention:
        """The same attention with one KV head per query head."""
        return self.model_copy(update={"kv_heads": self.heads})


class Indexer(HandMade):
    """Chooses the `top_k` cached tokens a query attends to, by the scores of `heads` small heads over separate index keys."""

    heads: Size
    head_dim: Size
    top_k: Size

    @property
    def cache_bytes(self) -> float:
        """Bytes of one token's index key as engines keep it [B]: 8 bits an element and a 32-bit scale for every 128."""
        return self.head_dim + 4 * self.head_dim / 128


class LatentAttention(Block):
    """Multi-head latent attention (arXiv:2405.04434): only one latent of `kv_rank` + `rope_dim` elements per token is cached.

    `q_rank` None: queries come from one plain projection. `indexed` is False where a layer reuses the
    choice of another layer's indexer. `copies`: of a part, the devices that hold the same latents.
    """

    heads: Size
    q_rank: Size | None = None
    kv_rank: Size
    nope_dim: Size
    rope_dim: Size
    v_dim: Size
    bias: bool = False
    indexer: Indexer | None = None
    indexed: bool = True
    copies: float = 1.0

    @property
    def kv_width(self) -> int:
        """Elements cached for one token."""
        return self.kv_rank + self.rope_dim

    @property
    def q_width(self) -> int:
        """Elements of one token's queries."""
        return self.heads * (self.nope_dim + self.rope_dim)

    @property
    def out_width(self) -> int:
        """Elements of one token's attention output, over all heads."""
        return self.heads * self.v_dim

    @property
    def kv_b_rows(self) -> int:
        """Outputs of the matrix that expands a latent into keys and values of every head."""
        return self.heads * (self.nope_dim + self.v_dim)

    @property
    def cache_spans(self) -> tuple[CacheSpan, ...]:
        """The latent of every token, with an index key where the layer has an indexer of its own."""
        return (CacheSpan(None, self.kv_width, self.indexer.cache_bytes if self.indexer is not None and self.indexed else 0.0),)

    @property
    def assumptions(self) -> tuple[Assumption, ...]:
        """The format of the index keys."""
        return () if self.indexer is None else assumed("index_keys", ["index keys in 8 bits with a scale, whatever the cache's format"])

    def activation_width(self, hidden: int) -> int:
        """Queries, and the latent."""
        del hidden
        return self.q_width + self.kv_width

    @property
    def norm_elements(self) -> int:
        """Norms of the two latents and, a weight and a bias, of the index keys."""
        own_index = 2 * self.indexer.head_dim if self.indexer is not None and self.indexed else 0
        return (self.q_rank or 0) + self.kv_rank + own_index

    def matrices(self, hidden: int) -> tuple[Matrix, ...]:
        """Down and up projections of queries and of keys and values, the indexer's, and the output projection."""
        q_a, kv_a = self.q_rank or 0, self.kv_width
        rows = [Matrix("q_a_proj", "q_proj", q_a, hidden, q_a if self.bias else 0)] if q_a else []
        rows.append(Matrix("q_b_proj" if q_a else "q_proj", "q_proj", self.q_width, q_a or hidden))
        rows.append(Matrix("kv_a_proj", "k_proj", kv_a, hidden, kv_a if self.bias else 0))
        rows.append(Matrix("kv_b_proj", "k_proj", self.kv_b_rows, self.kv_rank))
        if self.indexer is not None and self.indexed:
            i = self.indexer
            rows.append(Matrix("indexer", "q_proj", i.heads * i.head_dim, q_a or hidden))
            rows.append(Matrix("indexer", "k_proj", i.head_dim, hidden))
            rows.append(Matrix("indexer", "q_proj", i.heads, hidden))
        return (*rows, Matrix("o_proj", "o_proj", hidden, self.out_width, hidden if self.bias else 0))

    @property
    def indivisible(self) -> int:
        """Query heads."""
        return self.heads

    @property
    def cache_heads(self) -> int:
        """The one latent."""
        return 1

    @property
    def cache_copies(self) -> float:
        """What its part says."""
        return self.copies

    @property
    def query_widths(self) -> tuple[int, int]:
        """Of every head the narrower: expanded, or in the latent."""
        return (
            self.heads * (min(self.nope_dim, self.kv_rank) + self.rope_dim),
            self.heads * min(self.v_dim, self.kv_rank),
        )

    def shard(self, ways: int) -> LatentAttention:
        """heads / ways; the latents and the way into them are held whole, and so is the indexer."""
        return self._with(heads=self.heads // ways, copies=self.copies * ways)

    def as_mha(self) -> Attention:
        """The same heads with keys and values of their own in the cache."""
        return Attention(heads=self.heads, kv_heads=self.heads, head_dim=self.nope_dim + self.rope_dim, value_dim=self.v_dim)
