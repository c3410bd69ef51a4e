"""The names a checkpoint's linear layers have, matrix by matrix.

A quantised checkpoint says by module names what it stores how; a `Model` knows matrices. One table
joins the two: each matrix's operator and tensor class, and the name its module has in the kind's
Hugging Face class. A matrix the table does not name makes the whole kind unnamed: nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sol.specs.blocks import Block, Matrix
from sol.specs.formats import TensorClass

MAX_MODULES = 2**17  # several times the largest model's; more is a typing error or an attack

Parts = Mapping[tuple[str, str], tuple[str, ...]]
"""(operator, tensor class) → the module of its first matrix in a block, of its second, …

Two names in one entry: one matrix here that is stored as two modules. One name in two entries: two
matrices that are stored as one.
"""


class Module(NamedTuple):
    """A matrix of `rows` x `columns` elements and the names of the modules that store it, from "layers" on.

    `copies` of it are alike: the experts of a layer, their number a "{}" in the name.
    """

    names: tuple[str, ...]
    tensor: TensorClass
    rows: int
    columns: int
    copies: int = 1

    @property
    def elements(self) -> int:
        """Elements of all copies."""
        return self.rows * self.columns * self.copies


@dataclass(frozen=True)
class Checkpoint:
    """The linear layers of a model of some kind. `router_is_linear`: whether its routers are such modules too."""

    kind: str
    layers: int
    modules: tuple[Module, ...]
    tied: bool
    router_is_linear: bool


def linear_modules(kind: str, layers: Sequence[Sequence[Block]], hidden: int, vocab: int, *, tied: bool) -> Checkpoint | None:
    """The modules of a model whose layers, first to last, are these blocks; None where the kind's names are not known."""
    parts = NAMES.get(kind)
    if parts is None:
        return None
    modules = [Module(("lm_head",), "lm_head", vocab, hidden)]
    for i, blocks in enumerate(layers):
        for block in blocks:
            found = _of_block(parts, block, hidden)
            if found is None or len(modules) > MAX_MODULES:
                return None
            modules += [m._replace(names=tuple(f"layers.{i}.{name}" for name in m.names)) for m in found]
    return Checkpoint(kind, len(layers), tuple(modules), tied, kind not in OWN_ROUTER)


def _of_block(parts: Parts, block: Block, hidden: int) -> list[Module] | None:
    named, experts = _named(parts, block.matrices(hidden)), _named(parts, block.expert_matrices(hidden))
    return None if named is None or experts is None else named + [m._replace(copies=block.experts_held) for m in experts]


def _named(parts: Parts, matrices: tuple[Matrix, ...]) -> list[Module] | None:
    seen: dict[tuple[str, str], int] = {}
    modules = []
    for matrix in matrices:
        part = (matrix.operator, matrix.tensor)
        names = parts.get(part, ())
        at = seen[part] = seen.get(part, -1) + 1
        if at >= len(names):
            return None
        modules.append(Module(tuple(names[at].split()), matrix.tensor, matrix.rows, matrix.columns))
    return modules


def _attention(prefix: str) -> Parts:
    q, k, v, o = (f"{prefix}.{leaf}_proj" for leaf in "qkvo")
    return {("qkv_proj", "q_proj"): (q, q), ("qkv_proj", "k_proj"): (k,), ("qkv_proj", "v_proj"): (v,), ("o_proj", "o_proj"): (o,)}


def _dense(prefix: str) -> Parts:
    gate, up, down = (f"{prefix}.{leaf}_proj" for leaf in ("gate", "up", "down"))
    return {("gate_up_proj", "up_proj"): (gate, up), ("up_proj", "up_proj"): (up,), ("down_proj", "down_proj"): (down,)}


def _shared(prefix: str) -> Parts:
    return {(f"shared_{operator}", tensor): names for (operator, tensor), names in _dense(prefix).items()}


def _experts(prefix: str, leaves: tuple[str, ...] = ("gate_proj", "up_proj", "down_proj")) -> Parts:
    *up, down = (f"{prefix}.{leaf}" for leaf in leaves)
    return {("experts", "experts_up"): tuple(up), ("experts", "experts_down"): (down,)}


def _router(*names: str) -> Parts:
    return {("router", "router"): names}


LLAMA: Parts = {**_attention("self_attn"), **_dense("mlp")}
FUSED_MLP: Parts = {("gate_up_proj", "up_proj"): ("mlp.gate_up_proj", "mlp.gate_up_proj")}
GLM: Parts = {**LLAMA, **FUSED_MLP}
MOE: Parts = {**LLAMA, **_router("mlp.gate"), **_experts("mlp.experts.{}")}
BLOCK_MOE: Parts = {**LLAMA, **_router("block_sparse_moe.gate"), **_experts("block_sparse_moe.experts.{}", ("w1", "w3", "w2"))}
SHARED_MOE: Parts = {**MOE, **_shared("mlp.shared_experts")}
GATED_MOE: Parts = {**MOE, **_router("mlp.gate", "mlp.shared_expert_gate"), **_shared("mlp.shared_expert")}
LATENT: Parts = {
    **SHARED_MOE,
    ("q_a_proj", "q_proj"): ("self_attn.q_a_proj",),
    ("q_b_proj", "q_proj"): ("self_attn.q_b_proj",),
    ("q_proj", "q_proj"): ("self_attn.q_proj",),
    ("kv_a_proj", "k_proj"): ("self_attn.kv_a_proj_with_mqa",),
    ("kv_b_proj", "k_proj"): ("self_attn.kv_b_proj",),
    ("indexer", "q_proj"): ("self_attn.indexer.wq_b", "self_attn.indexer.weights_proj"),
    ("indexer", "k_proj"): ("self_attn.indexer.wk",),
}
DELTA: Parts = {("out_proj", "o_proj"): ("linear_attn.out_proj",)}
QWEN3_NEXT: Parts = {**GATED_MOE, **DELTA, ("in_proj", "q_proj"): ("linear_attn.in_proj_qkvz", "linear_attn.in_proj_ba")}
QWEN3_5: Parts = {
    **GATED_MOE, **DELTA,
    ("in_proj", "q_proj"): (
        "linear_attn.in_proj_qkv linear_attn.in_proj_z", "linear_attn.in_proj_b linear_attn.in_proj_a",
    ),
}  # fmt: skip

NAMES: Mapping[str, Parts] = {
    # Kind of `config_kinds`: its parts.
    **dict.fromkeys((
        "llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "granite", "smollm3", "seed_oss", "olmo", "olmo2", "olmo3",
        "cohere", "cohere2", "exaone4", "hunyuan_v1_dense", "stablelm", "nemotron", "arcee", "ministral", "ministral3", "helium",
        "vaultgemma", "apertus",
    ), LLAMA),
    "phi3": {**GLM, **{("qkv_proj", f"{c}_proj"): ("self_attn.qkv_proj",) for c in "qkv"}},
    **dict.fromkeys(("glm", "glm4"), GLM),
    **dict.fromkeys(("qwen3_moe", "olmoe"), MOE),
    "qwen2_moe": GATED_MOE,
    **dict.fromkeys(("mixtral", "minimax_m2"), BLOCK_MOE),
    **dict.fromkeys(("glm4_moe", "dots1"), SHARED_MOE),
    "gpt_oss": {**LLAMA, **_router("mlp.router"), **_experts("mlp.experts", ("gate_up_proj", "gate_up_proj", "down_proj"))},
    "llama4_text": {
        **_attention("self_attn"), **_dense("feed_forward"), **_router("feed_forward.router"), **_shared("feed_forward.shared_expert"),
        **_experts("feed_forward.experts.{}"),
    },
    "gemma4_text": {**LLAMA, **_shared("mlp"), **_router("router.proj"), **_experts("experts.{}")},
    **dict.fromkeys(("deepseek_v2", "deepseek_v3", "kimi_k2", "deepseek_v32", "glm_moe_dsa", "glm4_moe_lite"), LATENT),
    "qwen3_next": QWEN3_NEXT,
    **dict.fromkeys(("qwen3_5_text", "qwen3_5_moe_text"), QWEN3_5),
    "nemotron_h": {
        **_attention("mixer"), **_dense("mixer"), **_router("mixer.gate"), **_shared("mixer.shared_experts"),
        **_experts("mixer.experts.{}", ("up_proj", "down_proj")),
        ("in_proj", "q_proj"): ("mixer.in_proj",), ("out_proj", "o_proj"): ("mixer.out_proj",),
        ("latent_proj", "up_proj"): ("mixer.fc1_latent_proj",), ("latent_proj", "down_proj"): ("mixer.fc2_latent_proj",),
    },
}  # fmt: skip

OWN_ROUTER = {
    # Kinds whose router is a class of its own in every version, no linear layer a quantiser would take.
    "deepseek_v2", "deepseek_v3", "kimi_k2", "deepseek_v32", "glm_moe_dsa", "glm4_moe", "glm4_moe_lite", "dots1", "gpt_oss",
    "nemotron_h", "qwen3_5_moe_text",
}  # fmt: skip
