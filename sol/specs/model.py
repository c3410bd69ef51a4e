"""A model: groups of equal layers between an embedding and a head, and their parameter counts.

Counts of elements are here; bytes and seconds are in physics. No total is stored: every count is computed from the
architecture. A mechanism (window, grouped heads, experts, a recurrent state) is a block of data, never a model's
name.
"""

from __future__ import annotations

from collections import Counter

from pydantic import Field, SerializeAsAny

from sol.frozen import FrozenMap
from sol.specs.blocks import Block, Size, SizeOrZero
from sol.specs.feedforward import MoE
from sol.specs.formats import NumberFormat, TensorClass
from sol.specs.parts import Parts
from sol.specs.record import Cites, HandMade

Elements = Counter[tuple[TensorClass, int]]
"""Elements by tensor class and length of a row."""


class LayerGroup(HandMade):
    """`count` equal layers: the blocks a token passes, and the layer's own norms.

    `norms` is how many norms of the hidden width a layer has, by default one before each block;
    `norm_vectors` how many vectors each stores: a weight (1), a weight and a bias (2), or nothing (0).
    `scalars` are further elements of a layer; `residuals` how many sums a layer adds to its input, by
    default one per block (parallel blocks share one).
    """

    count: Size
    blocks: tuple[SerializeAsAny[Block], ...] = Field(min_length=1)
    norms: SizeOrZero | None = None
    norm_vectors: SizeOrZero = 1
    scalars: SizeOrZero = 0
    residuals: SizeOrZero | None = None

    @property
    def moe(self) -> MoE | None:
        """The block of routed experts; None in a dense layer."""
        return next((b for b in self.blocks if isinstance(b, MoE)), None)

    @property
    def residual_adds(self) -> int:
        """Sums one layer adds to its input."""
        return len(self.blocks) if self.residuals is None else self.residuals

    @property
    def norm_count(self) -> int:
        """Norms of one layer, those inside its blocks apart."""
        return len(self.blocks) if self.norms is None else self.norms

    def norm_elements(self, hidden: int) -> int:
        """Norm elements of one layer, those inside its blocks included."""
        return self.norm_count * self.norm_vectors * hidden + sum(b.norm_elements for b in self.blocks)

    def elements(self, hidden: int) -> Elements:
        """Elements of one layer by tensor class, every expert included."""
        found: Elements = Counter()
        for block in self.blocks:
            routed = [(block.experts_held, m) for m in block.expert_matrices(hidden)]
            for times, m in [*((1, m) for m in block.matrices(hidden)), *routed]:
                found[m.tensor, m.columns] += times * m.weights
                found["bias", 1] += times * m.biases
            found["embedding", hidden] += block.table_elements
            found["bias", 1] += block.vector_elements
        found["norm", 1] += self.norm_elements(hidden)
        found["bias", 1] += self.scalars
        return found

    def parameters(self, hidden: int, *, active: bool = False) -> int:
        """Parameters of one layer; `active` counts only the experts one token uses."""
        own = self.norm_count * self.norm_vectors * hidden + self.scalars
        return own + sum(b.parameters(hidden, active=active) for b in self.blocks)


class Model(HandMade):
    """A decoder-only language model as data.

    `groups` are the layers from first to last, alike ones together. `positions` are the rows of a
    learned position table; `embedding_vectors` and `final_vectors` the vectors of hidden width in the
    norms after the embedding and before the head; `head_bias` a bias on the head; `scalars` further elements
    outside the layers. `mtp` are layers for
    multi-token prediction and `mtp_tables` the copies of embedding and head stored for them,
    `tower_parameters` those of a vision or audio tower: resident, but not read by a step.

    `dtype` is the 16-bit format the checkpoint says it is stored in; `quantization` the method of a
    quantised checkpoint, if its config names one, `weight_format` what that stores, if it is understood, and
    `cache_format` the id of the format of its KV cache. `storage_note` is a note on the weights: stored bytes left
    out, or headers that could not be read.
    """

    id: str
    hidden: Size
    vocab: Size
    groups: tuple[LayerGroup, ...] = Field(min_length=1)
    tied_embeddings: bool = False
    positions: SizeOrZero = 0
    embedding_vectors: SizeOrZero = 0
    final_vectors: SizeOrZero = 1
    head_bias: bool = False
    scalars: SizeOrZero = 0
    mtp: tuple[LayerGroup, ...] = ()
    mtp_tables: SizeOrZero = 0
    tower_parameters: SizeOrZero = 0
    dtype: str | None = None
    quantization: str | None = None
    weight_format: NumberFormat | None = None
    cache_format: str | None = None
    storage_note: str = ""
    max_ctx: Size | None = None
    hf_id: str | None = None
    aliases: tuple[str, ...] = ()
    cites: Cites = Field(default_factory=FrozenMap)

    @property
    def layers(self) -> int:
        """Number of layers."""
        return sum(g.count for g in self.groups)

    @property
    def embedding_elements(self) -> int:
        """Elements of the input embedding table."""
        return self.vocab * self.hidden

    @property
    def position_elements(self) -> int:
        """Elements of the position table."""
        return self.positions * self.hidden

    @property
    def lm_head_elements(self) -> int:
        """Elements of the output head, whether or not it shares the input table; its bias apart."""
        return self.vocab * self.hidden

    @property
    def outer_norm_elements(self) -> int:
        """Elements of the norms after the embedding and before the head."""
        return (self.embedding_vectors + self.final_vectors) * self.hidden

    def _blocks(self, *, active: bool = False) -> int:
        layers = sum(g.count * g.parameters(self.hidden, active=active) for g in self.groups)
        return layers + self.outer_norm_elements + self.scalars + (self.vocab if self.head_bias else 0)

    def _all(self, *, active: bool) -> int:
        tables = self.embedding_elements + self.position_elements + (0 if self.tied_embeddings else self.lm_head_elements)
        return self._blocks(active=active) + tables

    @property
    def elements(self) -> Elements:
        """Elements by tensor class: those of `parameters` less a tower's. A tied table is stored, and read, as the head is."""
        d, found = self.hidden, _together(self.groups, self.hidden)
        found["lm_head", d] += self.lm_head_elements
        found["embedding", d] += self.position_elements + (0 if self.tied_embeddings else self.embedding_elements)
        found["norm", 1] += self.outer_norm_elements + self.scalars
        found["bias", 1] += self.vocab if self.head_bias else 0
        return found

    @property
    def mtp_elements(self) -> Elements:
        """Elements of the layers for multi-token prediction by tensor class."""
        found = _together(self.mtp, self.hidden)
        found["embedding", self.hidden] += self.mtp_tables * self.embedding_elements
        return found

    @property
    def parameters(self) -> int:
        """All parameters, a tied table once, a tower included; layers for multi-token prediction apart.

        >>> from sol import load_model
        >>> load_model("qwen2.5-7b").parameters
        7615616512
        """
        return self._all(active=False) + self.tower_parameters

    @property
    def mtp_parameters(self) -> int:
        """Parameters of the layers for multi-token prediction, with the tables stored for them."""
        layers = sum(g.count * g.parameters(self.hidden) for g in self.mtp)
        return layers + self.mtp_tables * self.embedding_elements

    @property
    def active_parameters(self) -> int:
        """Parameters one token uses, embedding and head included: the experts it is routed to, no others."""
        return self._all(active=True)

    @property
    def streamed_parameters(self) -> int:
        """Parameters one decode step of one token reads: active ones without the input tables, with the head."""
        tables = sum(g.count * b.table_elements for g in self.groups for b in g.blocks)
        return self._blocks(active=True) - tables + self.lm_head_elements

    @property
    def is_moe(self) -> bool:
        """Whether any layer routes its tokens to experts."""
        return bool(self.routed)

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The blocks of the layers, once for each kind of layer."""
        return tuple(b for g in self.groups for b in g.blocks)

    @property
    def routed(self) -> tuple[MoE, ...]:
        """The blocks of routed experts, each kind of layer once."""
        return tuple(g.moe for g in self.groups if g.moe is not None)

    def as_mha(self) -> Model:
        """The same model with one KV head per query head: what grouped and latent attention save against."""
        groups = tuple(g.model_copy(update={"blocks": tuple(b.as_mha() for b in g.blocks)}) for g in self.groups)
        return self.model_copy(update={"groups": groups, "id": f"{self.id}-as-mha"})

    def __repr__(self) -> str:
        return f"<Model {self.id}: {self.parameters:,} parameters, {self.layers} layers>"


def _together(groups: tuple[LayerGroup, ...], hidden: int) -> Elements:
    found: Elements = Counter()
    for group in groups:
        for part, elements in group.elements(hidden).items():
            found[part] += group.count * elements
    return found


ModelPart = Model | Parts
"""A model, a device's part of it, or the parts of many splits."""
