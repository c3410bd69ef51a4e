"""How many parameters a vision transformer has, from the `vision_config` of a multimodal checkpoint.

A table says what each kind has whatever its config says (biases, gates, positions, norms); one count
serves them all: patches, positions, blocks, the norms around them. What joins the tower to the language
model is counted in `towers`. Left out: tables of rotary angles, which no checkpoint stores.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from sol.sources.config.section import Section

Names = tuple[str, ...]
HIDDEN: Names = ("hidden_size",)
NORMS = {"layer_norm": True, "rms_norm": False}  # whether it has a bias beside its weight


@dataclass(frozen=True)
class Vit:
    """What a kind of vision transformer has; a string is the key of its config that says so."""

    hidden: Names = HIDDEN
    layers: Names = ("num_hidden_layers",)
    heads: Names = ("num_attention_heads",)
    ffn: Names = ("intermediate_size",)  # mlp_ratio: that many times the hidden size
    channels: Names = ("num_channels",)
    frames: bool = False  # a patch is of temporal_patch_size images
    patch_bias: bool = True
    class_token: bool = False
    positions: tuple[Names, ...] = ()  # the keys that are multiplied to their number; GRID: one for each patch
    position_tables: int = 1  # one, or one an axis
    gated: bool = False
    qkv_bias: bool | str = True
    o_bias: bool = True
    ffn_bias: bool = True
    qk_norm: bool | str = False  # a weight for each element, of the whole width ...
    head_dim: bool = False  # ... or of one head, whose size is then given, and key-value heads too
    norms: int = 2  # in a block
    norm_bias: bool | str = True
    outer_norms: int = 0  # before and after the blocks
    scales: bool = False  # one for each element of what a sublayer adds to the stream
    pooling_head: str = ""  # attention with one query of its own, and a feed-forward block
    vectors: Mapping[str, int] = field(default_factory=dict)  # by the flag that asks for them: vectors of the hidden size
    only: Mapping[str, Any] = field(default_factory=dict)  # the one value that is understood
    defaults: Mapping[str, Any] = field(default_factory=dict)  # of the class named beside it, for keys that configs leave out


GRID: tuple[Names, ...] = (("image_size", "patch_size"),)
RGB = {"num_channels": 3}
QWEN = {"in_channels": 3, "temporal_patch_size": 2, "spatial_merge_size": 2}

CLIP = Vit(patch_bias=False, class_token=True, positions=GRID, outer_norms=2, defaults=RGB)  # CLIPVisionConfig
SIGLIP = Vit(positions=GRID, outer_norms=1, pooling_head="vision_use_head", defaults=RGB | {"vision_use_head": True})  # SiglipVisionConfig
PIXTRAL = Vit(
    patch_bias=False, gated=True, qkv_bias=False, o_bias=False, ffn_bias=False, norm_bias=False, outer_norms=1,
    defaults=RGB | {  # PixtralVisionConfig; the first Pixtral leaves nearly all of it out
        "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16, "patch_size": 16,
    },
)  # fmt: skip
INTERN = Vit(
    class_token=True, positions=GRID, qkv_bias="attention_bias", qk_norm="use_qk_norm", norm_bias="norm_type", scales=True,
    only={"use_mask_token": False, "use_absolute_position_embeddings": True, "use_mean_pooling": True},
    defaults=RGB | {"attention_bias": False, "use_qk_norm": False, "norm_type": "layer_norm"},  # InternVLVisionConfig
)  # fmt: skip
QWEN2 = Vit(
    hidden=("embed_dim",), layers=("depth",), heads=("num_heads",), ffn=("mlp_ratio",), channels=("in_channels", "in_chans"),
    frames=True, patch_bias=False, defaults=QWEN,  # Qwen2VLVisionConfig
)  # fmt: skip
QWEN25 = Vit(
    layers=("depth",), heads=("num_heads",), channels=("in_channels", "in_chans"), frames=True, patch_bias=False, gated=True,
    norm_bias=False, defaults=QWEN,  # Qwen2_5_VLVisionConfig
)  # fmt: skip
QWEN3 = Vit(
    layers=("depth",), heads=("num_heads",), channels=("in_channels",), frames=True, positions=(("num_position_embeddings",),),
    defaults=QWEN,  # Qwen3VLVisionConfig
)  # fmt: skip
KIMI = Vit(
    hidden=("vt_hidden_size", *HIDDEN), layers=("vt_num_hidden_layers", "num_hidden_layers"),
    heads=("vt_num_attention_heads", "num_attention_heads"), ffn=("vt_intermediate_size", "intermediate_size"),
    positions=(("init_pos_emb_height", "pos_emb_height"), ("init_pos_emb_width", "pos_emb_width")), outer_norms=1,
    only={"pos_emb_type": "divided_fixed", "merge_type": "sd2_tpool", "mm_projector_type": "patchmerger"},
    defaults=RGB | {"patch_size": 14, "merge_kernel_size": 2},  # Kimi_K25VisionConfig
)  # fmt: skip
STEP = Vit(
    hidden=("width", *HIDDEN), layers=("layers", "num_hidden_layers"), heads=("heads", "num_attention_heads"), ffn=("mlp_ratio",),
    patch_bias=False, positions=GRID, outer_norms=1, scales=True,
    only={"use_cls_token": False, "ues_cls_token": False, "use_ln_pre": True, "use_ln_post": False, "use_abs_posemb": True},
    defaults=RGB | {"mlp_ratio": 8960 / 1536},  # Step3p7VisionConfig
)  # fmt: skip
LLAMA4 = Vit(
    patch_bias=False, class_token=True, positions=GRID, outer_norms=2, only={"multi_modal_projector_bias": False},
    defaults=RGB,  # Llama4VisionConfig
)  # fmt: skip
MLLAMA = Vit(
    heads=("attention_heads", "num_attention_heads"), patch_bias=False, class_token=True, positions=GRID, qkv_bias=False, o_bias=False,
    outer_norms=2, defaults=RGB,  # MllamaVisionConfig
)  # fmt: skip
MINIMAX = Vit(
    frames=True, patch_bias=False, outer_norms=1, only={"position_embedding_type": "rope"}, defaults=RGB,  # MiniMaxM3VLVisionConfig
)  # fmt: skip
QWEN35 = replace(QWEN3, only={"deepstack_visual_indexes": []}, defaults=QWEN | {"deepstack_visual_indexes": []})  # Qwen3_5VisionConfig
GLM = Vit(  # the blocks are as wide inside as the tower's output; intermediate_size is the merger's
    layers=("depth",), heads=("num_heads",), ffn=("out_hidden_size",), channels=("in_channels",), frames=True, positions=GRID, gated=True,
    qkv_bias="attention_bias", o_bias=False, ffn_bias=False, norm_bias=False, outer_norms=2,
    defaults=QWEN | {"attention_bias": False},  # Glm4vVisionConfig
)  # fmt: skip
GEMMA4 = Vit(
    patch_bias=False, positions=(("position_embedding_size",),), position_tables=2, gated=True, qkv_bias=False, o_bias=False,
    ffn_bias=False, qk_norm=True, head_dim=True, norms=4, norm_bias=False, vectors={"standardize": 2}, only={"attention_bias": False},
    defaults=RGB | {"position_embedding_size": 10240, "standardize": False},  # Gemma4VisionConfig
)  # fmt: skip


def vit_parameters(vision: Section, vit: Vit) -> int:
    """All of the tower: patches → positions → blocks, and the norms around them."""
    vision.insist(vit.only)
    hidden = hidden_size(vision, vit)
    height, width = vision.sides("patch_size")
    patch = vision.size(*vit.channels) * height * width * (vision.size("temporal_patch_size") if vit.frames else 1)
    vectors = vit.patch_bias + vit.class_token + positions(vision, vit) + sum(n for flag, n in vit.vectors.items() if vision.flag(flag))
    around = vit.outer_norms * _norm(hidden, vision, vit)
    pooled = vit.pooling_head and vision.flag(vit.pooling_head)
    head = hidden + block_parameters(vision, vit) - _norm(hidden, vision, vit) if pooled else 0
    return hidden * (patch + vectors) + vision.size(*vit.layers) * block_parameters(vision, vit) + around + head


def hidden_size(vision: Section, vit: Vit) -> int:
    """The width of the stream, which the heads share out evenly unless they have a size of their own."""
    hidden = vision.size(*vit.hidden)
    given = [key for key in vit.heads if vision.has(key)]
    if given and not vit.head_dim and hidden % (heads := vision.size(*given)):
        raise vision.bad(given[0], heads, f"no divisor of the hidden size {hidden}")
    return hidden


def positions(vision: Section, vit: Vit) -> int:
    """How many positions have a vector of their own."""
    if not vit.positions:
        return 0
    if vit.positions == GRID:
        (high, wide), (height, width) = vision.sides("image_size"), vision.sides("patch_size")
        if high < height or wide < width:
            raise vision.bad("image_size", [high, wide], f"smaller than a patch of {height} x {width}")
        return (high // height) * (wide // width) + vit.class_token
    count = vit.position_tables
    for names in vit.positions:
        count *= vision.size(*names)
    return count


def block_parameters(vision: Section, vit: Vit) -> int:
    """One block: attention → feed-forward, each with its norms."""
    hidden = hidden_size(vision, vit)
    ffn = int(hidden * vision.ratio(*vit.ffn)) if vit.ffn == ("mlp_ratio",) else vision.size(*vit.ffn)
    heads, kv_heads, size = (
        (vision.size(*vit.heads), vision.size("num_key_value_heads"), vision.size("head_dim")) if vit.head_dim else (1, 1, hidden)
    )
    qkv = (heads + 2 * kv_heads) * size
    attention = hidden * (qkv + heads * size) + _flag(vision, vit.qkv_bias) * qkv + vit.o_bias * hidden
    normed = 2 * size * _flag(vision, vit.qk_norm)
    inner = 2 if vit.gated else 1
    mlp = (inner + 1) * hidden * ffn + vit.ffn_bias * (inner * ffn + hidden)
    return attention + normed + mlp + vit.norms * _norm(hidden, vision, vit) + 2 * hidden * vit.scales


def _flag(vision: Section, trait: bool | str) -> bool:
    return vision.flag(trait) if isinstance(trait, str) else trait


def _norm(width: int, vision: Section, vit: Vit) -> int:
    """A weight for each element, and a bias where the norm has one."""
    if isinstance(vit.norm_bias, bool):
        return width * (1 + vit.norm_bias)
    kind = vision.word(vit.norm_bias)
    if kind not in NORMS:
        raise vision.bad(vit.norm_bias, kind, f"not understood; understood: {', '.join(NORMS)}")
    return width * (1 + NORMS[kind])
