"""How many parameters a multimodal checkpoint holds beside its language model, from its `config.json`.

That is the vision tower, what joins it to the language model (projector, merger, adapter, downsampler)
and an audio tower. Cross-attention layers belong to the language model. Vectors that a checkpoint stores
and its class calls buffers are counted, as the Hub's totals do; single numbers (clipping bounds) are not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sol.errors import BadFile, short
from sol.sources.config import vision_transformer as vits
from sol.sources.config.section import Section
from sol.sources.config.vision_transformer import Vit

MAX_TOWER = 2**50  # a thousand times the largest language model; sizes that make more are typing errors or an attack


@dataclass(frozen=True)
class Tower:
    """What stands beside the language model of a kind of checkpoint."""

    vits: Mapping[str, Vit]  # by the model_type that vision_config gives; the first where it gives none
    joint: Callable[[Section, Section, int, int], int]  # of the config, its vision_config, the tower's width, the language model's
    optional: bool = False  # a checkpoint may have no vision tower
    only: Mapping[str, Any] = field(default_factory=dict)  # of the whole config: the one value that is understood
    defaults: Mapping[str, Any] = field(default_factory=dict)  # of the class named beside it, for keys that configs leave out
    beside: str = ""  # an object with more keys of the vision tower


def tower_parameters(config: Mapping[str, Any], where: str) -> int:
    """Parameters of everything that is not the language model; `where` starts every complaint.

    Raises `BadFile` naming the field and the value that is missing or not understood. Mistral-Small-3.2 has 24,011,361,280
    parameters, and Mistral-Small-24B, which is text alone, 23,572,403,200:

    >>> pixtral = {"model_type": "pixtral", "patch_size": 14}
    >>> tower_parameters({"model_type": "mistral3", "text_config": {"hidden_size": 5120}, "vision_config": pixtral}, "config.json")
    438958080
    """
    kind = Section(config, where).word("model_type")
    if kind not in TOWERS:
        raise BadFile(f"{where}: model_type={short(kind)} has no tower that is understood; understood: {', '.join(TOWERS)}")
    tower = TOWERS[kind]
    top = Section(config, where, defaults=tower.defaults)
    top.insist(tower.only)
    text = (top.inside("text_config") if top.has("text_config") else top).size("hidden_size")
    count = 0
    if top.has("vision_config") or not tower.optional:
        vision, vit = _vision(top, kind)
        count += vits.vit_parameters(vision, vit) + tower.joint(top, vision, vits.hidden_size(vision, vit), text)
    if top.has("audio_config"):
        if kind != "gemma4":
            raise top.bad("audio_config", config["audio_config"], f"a mechanism a {kind} model does not have; it is not understood")
        count += _audio(top.inside("audio_config"), text)
    if count > MAX_TOWER:
        raise top.fail(f"its sizes make a tower of {short(count)} parameters, which no model has")
    return count


def _vision(top: Section, kind: str) -> tuple[Section, Vit]:
    """The vision_config, and what a tower of its name has."""
    tower, given = TOWERS[kind], top.inside("vision_config")
    name = given.word("model_type") or next(iter(tower.vits))
    if name not in tower.vits:
        raise given.bad("model_type", name, f"no tower understood in a {kind} model; understood: {', '.join(tower.vits)}")
    keys = given.config
    for section in (given, top):
        if tower.beside and section.has(tower.beside):
            keys = {**section.inside(tower.beside).config, **keys}
    return Section(keys, top.where, "vision_config", tower.vits[name].defaults), tower.vits[name]


def _linear(inputs: int, outputs: int, bias: bool = True) -> int:
    return inputs * outputs + bias * outputs


def _gemma3(top: Section, vision: Section, hidden: int, text: int) -> int:
    return hidden + _linear(hidden, text, False)  # a norm, a matrix


def _gemma4(top: Section, vision: Section, hidden: int, text: int) -> int:
    return _linear(hidden, text, False)


def _llava(top: Section, vision: Section, hidden: int, text: int) -> int:
    """The output of the tower, or of several of its layers side by side → the language model's width → itself."""
    layers, bias = _feature_layers(top), top.flag("multimodal_projector_bias")
    return _linear(layers * hidden, text, bias) + _linear(text, text, bias)


def _feature_layers(top: Section) -> int:
    layers = top.config.get("vision_feature_layer")
    listed = layers if isinstance(layers, list) else [-1 if layers is None else layers]
    if not listed or any(isinstance(n, bool) or not isinstance(n, int) for n in listed):
        raise top.bad("vision_feature_layer", layers, "neither a layer nor a list of layers")
    return len(listed)


def _mistral3(top: Section, vision: Section, hidden: int, text: int) -> int:
    """A norm, a matrix that merges patches, and LLaVA's two layers."""
    return hidden + _linear(hidden * top.size("spatial_merge_size") ** 2, hidden, False) + _llava(top, vision, hidden, text)


def _internvl(top: Section, vision: Section, hidden: int, text: int) -> int:
    side = int(1 / top.ratio("downsample_ratio"))
    if side < 1:
        raise top.bad("downsample_ratio", top.config.get("downsample_ratio"), "not a share of a side")
    merged = hidden * side**2
    return 2 * merged + _linear(merged, text) + _linear(text, text)


def _merger(norm: int, merged: int, outputs: int) -> int:
    """A norm, and two layers of which the first is as wide as the patches merged."""
    return norm + _linear(merged, merged) + _linear(merged, outputs)


def _qwen2(top: Section, vision: Section, hidden: int, text: int) -> int:
    return _merger(2 * hidden, hidden * vision.size("spatial_merge_size") ** 2, vision.size("hidden_size"))


def _qwen25(top: Section, vision: Section, hidden: int, text: int) -> int:
    return _merger(hidden, hidden * vision.size("spatial_merge_size") ** 2, vision.size("out_hidden_size"))


def _qwen3(top: Section, vision: Section, hidden: int, text: int) -> int:
    """A merger, and one more for each layer whose output is taken as well: those norm what is merged already."""
    merged, outputs = hidden * vision.size("spatial_merge_size") ** 2, vision.size("out_hidden_size")
    deep = len(vision.entries("deepstack_visual_indexes"))
    return _merger(2 * hidden, merged, outputs) + deep * _merger(2 * merged, merged, outputs)


def _kimi(top: Section, vision: Section, hidden: int, text: int) -> int:
    vision.insist({"mm_hidden_size": hidden, "text_hidden_size": text})
    top.insist({"projection_hidden_size": hidden})
    high, wide = vision.sides("merge_kernel_size")
    return _merger(2 * hidden, hidden * high * wide, text)


def _step(top: Section, vision: Section, hidden: int, text: int) -> int:
    """Two convolutions of 3 x 3, each with twice the channels of what it takes, and a layer."""
    convolutions = _linear(9 * hidden, 2 * hidden) + _linear(9 * 2 * hidden, 4 * hidden)
    return convolutions + _linear(4 * hidden, text, top.flag("projector_bias"))


def _llama4(top: Section, vision: Section, hidden: int, text: int) -> int:
    """An adapter, which takes intermediate_size for the width of the patches it merges, and a matrix."""
    inner, outputs = vision.size("projector_input_dim"), vision.size("projector_output_dim")
    adapter = _linear(vision.size("intermediate_size"), inner, False) + _linear(outputs, outputs, False)
    return adapter + _linear(vision.size("vision_output_dim"), text, False)


def _mllama(top: Section, vision: Section, hidden: int, text: int) -> int:
    """Gated tables for every way to lay out tiles and for none, gated blocks over all tiles, a layer."""
    layouts = len(vision.entries("supported_aspect_ratios")) + 1
    tables = layouts * vision.size("max_num_tiles") * hidden * (vits.positions(vision, vits.MLLAMA) + 2) + 3
    over_tiles = vision.size("num_global_layers") * (vits.block_parameters(vision, vits.MLLAMA) + 2)
    return tables + over_tiles + _linear(vision.size("vision_output_dim"), text)


def _minimax(top: Section, vision: Section, hidden: int, text: int) -> int:
    """Two layers for each patch, and two for the patches merged."""
    inner, merged = top.size("projector_hidden_size"), text * vision.size("spatial_merge_size") ** 2
    return _linear(hidden, inner) + _linear(inner, text) + _linear(merged, inner) + _linear(inner, text)


def _glm(top: Section, vision: Section, hidden: int, text: int) -> int:
    """A convolution that merges patches, a matrix and its norm, and a gated feed-forward block."""
    outputs = vision.size("out_hidden_size")
    convolution = _linear(hidden * vision.size("spatial_merge_size") ** 2, outputs)
    return convolution + outputs * outputs + 2 * outputs + 3 * outputs * vision.size("intermediate_size")


def _audio(audio: Section, text: int) -> int:
    """Gemma 4's conformer: two convolutions → blocks (feed-forward, attention, convolution, feed-forward) → two layers."""
    audio.insist({"model_type": "gemma4_audio"})
    hidden, heads = audio.size("hidden_size"), audio.size("num_attention_heads")
    if hidden % heads:
        raise audio.bad("num_attention_heads", heads, f"no divisor of the hidden size {hidden}")
    first, second = audio.sides("subsampling_conv_channels")
    convolutions = 9 * first + first + 9 * first * second + second + first // 4 * second * hidden  # 3 x 3, norms; a quarter of the bins
    feed_forward = 8 * hidden**2 + 2 * hidden  # four times as wide inside; a norm on either side
    attention = 5 * hidden**2 + hidden // heads  # q, k, v, output, relative positions; a scale for each element of a head
    convolution = 3 * hidden**2 + audio.size("conv_kernel_size") * hidden + 2 * hidden  # 1 x 1 to twice the width, by channel, 1 x 1
    blocks = audio.size("num_hidden_layers") * (2 * feed_forward + attention + convolution + 3 * hidden)
    outputs = audio.size("output_proj_dims")
    return convolutions + blocks + _linear(hidden, outputs) + _linear(outputs, text, False)


def _own(kind: str, vit: Vit, *others: str) -> Mapping[str, Vit]:
    """A kind's own tower, under the names its configs have for it."""
    return dict.fromkeys((f"{kind}_vision", kind, *others), vit)


TOWERS: Mapping[str, Tower] = {
    "gemma3": Tower({"siglip_vision_model": vits.SIGLIP}, _gemma3),
    "gemma4": Tower({"gemma4_vision": vits.GEMMA4}, _gemma4, optional=True),
    "llama4": Tower({"llama4_vision_model": vits.LLAMA4}, _llama4),
    "mllama": Tower({"mllama_vision_model": vits.MLLAMA}, _mllama),
    "qwen2_vl": Tower(_own("qwen2_vl", vits.QWEN2), _qwen2),
    "qwen2_5_vl": Tower(_own("qwen2_5_vl", vits.QWEN25), _qwen25),
    "qwen3_vl": Tower(_own("qwen3_vl", vits.QWEN3), _qwen3),
    "qwen3_vl_moe": Tower(_own("qwen3_vl_moe", vits.QWEN3), _qwen3),
    "qwen3_5": Tower(_own("qwen3_5", vits.QWEN35), _qwen3, only={"language_model_only": False}),
    "qwen3_5_moe": Tower(_own("qwen3_5_moe", vits.QWEN35), _qwen3, only={"language_model_only": False}),
    "llava": Tower(
        {"clip_vision_model": vits.CLIP, "siglip_vision_model": vits.SIGLIP, "pixtral": vits.PIXTRAL}, _llava,
        defaults={"multimodal_projector_bias": True},  # LlavaConfig
    ),
    "mistral3": Tower(
        {"pixtral": vits.PIXTRAL}, _mistral3, defaults={"multimodal_projector_bias": False, "spatial_merge_size": 2},  # Mistral3Config
    ),
    "internvl": Tower({"internvl_vision": vits.INTERN}, _internvl, defaults={"downsample_ratio": 0.5}),  # InternVLConfig
    "kimi_k25": Tower(_own("kimi_k25", vits.KIMI), _kimi),
    "step3p7": Tower(
        dict.fromkeys(("perception_encoder", "step3p5_vision"), vits.STEP), _step, defaults={"projector_bias": False},  # Step3p7Config
    ),
    "minimax_m3_vl": Tower(
        _own("minimax_m3_vl", vits.MINIMAX, "clip_vision_model"), _minimax, only={"multimodal_projector_bias": True},
        beside="img_token_compression_config",
    ),
    "glm4v": Tower(_own("glm4v", vits.GLM), _glm),
    "glm4v_moe": Tower(_own("glm4v_moe", vits.GLM), _glm),
}  # fmt: skip
