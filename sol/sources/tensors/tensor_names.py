"""Which part of a model a stored tensor is, by its name in a Hugging Face or a GGUF checkpoint."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

TOWER = re.compile(  # whole components of names; vision, audio and speech parts and their projectors
    r"vision\w*|visual|audio\w*|speech\w*|sound\w*|ima?ge?_\w+|m(?:ulti_)?m(?:odal)?_\w+|embed_(?:vision|audio)|embed_tokens_extend"
    r"|connector|projector|aligner|resampler|patch_merger|sam_model|vqmodel|talker|token2wav|code2wav"
)
FIRST = {"v", "a", "mm", "mlp1", "vpm", "apm", "tts", "vit"}  # towers only as the first component
MTP = re.compile(r"(?:^|\.)(?:mtp\w*|nextn\w*|eh_proj|enorm|hnorm|shared_head|layers\.\d+\.embed_tokens)(?:\.|$)")
BUFFER = re.compile(
    r"(?:^|\.)(?:inv_freq|rotary_emb\.\w+|freqs_cis|rope\.freqs|position_ids|masked_bias|causal_mask|(?:attn|attention)\.bias"
    r"|rope_(?:freqs|factors_long|factors_short)(?:\.weight)?)$"
)
SCALE = re.compile(  # a whole last component: scales, zeros and group indices of quantised tensors
    r"^(?:(?:\w*_)?scales?(?:_\w+)?|q?zeros|biases|(?:\w+_)?zero_points?|(?:\w+_)?g_idx(?:_\w+)?|weight_shape|weight_format|SCB"
    r"|bitsandbytes__\w+|(?:\w+_)?(?:absmax|quant_map)|codebooks|q_(?:groups|group_map|perm|invperm)|suh|svh|mcg|mul1)$"
)
NUMBER = re.compile(r"(?<=\.)\d+(?=\.)")
LEAF = re.compile(r"(?:\.(?:weight|qweight|weight_packed|q_weight|trellis|codes)|_blocks)$")
BIAS = re.compile(r"[._]bias$")
NORM, NORMS = re.compile(r"norm|^ln(?:_|\d|$)|_ln$"), re.compile(r"norms\.\d+$")
ROUTERS, CORRECTS = re.compile(r"router\.scale$"), re.compile(r"router\.per_expert_scale$")  # Gemma 4: parameters, not scales of others
WORDS: Mapping[str, str] = {
    # The last component of a name, without its leaf: the class.
    "q_proj": "q_proj q_a_proj q_b_proj wq wq_a wq_b attn_q attn_q_a attn_q_b query qkv_proj query_key_value c_attn W_pack wqkv Wqkv"
    " att_proj attn_qkv fused_qkv_a_proj_with_mqa weights_proj in_proj in_proj_qkvz in_proj_qkv in_proj_ba in_proj_z in_proj_a"
    " in_proj_b x_proj dt_proj linear_x linear_y attn_gate g_proj output_gate ssm_in ssm_x ssm_dt ssm_ba ssm_alpha ssm_beta"
    " input_gate_weight recurrent_gate_weight",
    "k_proj": "k_proj wk key attn_k kv_proj kv_a_proj kv_a_proj_with_mqa kv_b_proj wkv wkv_a wkv_b attn_kv attn_kv_a_mqa attn_kv_b"
    " attn_k_b",
    "v_proj": "v_proj wv value attn_v attn_v_b",
    "o_proj": "o_proj out_proj wo attn_output attn_out linear_out ssm_out linear_attn linear_mlp",
    "up_proj": "gate_proj up_proj gate_up_proj w1 w3 v1 fc1 fc_in c_fc c_fc_0 c_fc_1 dense_h_to_4h ff_proj input_linear ffn_up"
    " ffn_gate ffn_gate_up fc1_latent_proj per_layer_input_gate per_layer_model_projection inp_gate per_layer_model_proj ffn_latent_down",
    "down_proj": "down_proj w2 fc2 fc_out dense_4h_to_h ff_out output_linear ffn_down fc2_latent_proj per_layer_projection ffn_latent_up",
    "router": "gate router layer wg ffn_gate_inp ffn_gate_inp_shexp shared_expert_gate classifier",
    "embedding": "embed_tokens wte wpe word_embeddings embed_in tok_embeddings token_embd per_layer_token_embd embed embeddings"
    " embed_positions position_embd embed_tokens_per_layer",
    "lm_head": "lm_head embed_out output_layer",
    "bias": "A_log D conv conv1d conv_1d q_conv1d k_conv1d v_conv1d sinks attn_sinks ssm_a ssm_d ssm_conv1d recurrent_param"
    " layer_scalar layer_output_scale exp_probs_b",
}
CLASS = {word: kind for kind, words in WORDS.items() for word in words.split()}
SPECIAL = (
    # Words whose class depends on where they stand.
    (re.compile(r"att\w*\.(?:dense|c_proj)$"), "o_proj"),
    (re.compile(r"mlp\.c_proj$"), "down_proj"),
    (re.compile(r"att\w*\.gate$|indexer\.proj$"), "q_proj"),
    (re.compile(r"router\.proj$"), "router"),
    (re.compile(r"sparse_moe\.input_linear$"), "experts_up"),  # Granite: all experts in one tensor
    (re.compile(r"sparse_moe\.output_linear$"), "experts_down"),
    (re.compile(r"^blk\.\d+\.proj$"), "down_proj"),  # Gemma 4: the way back of a layer's own input
    (re.compile(r"act_fn\.(?:alpha_[np]|beta|eps)$"), "bias"),
    (re.compile(r"h\.\d+\.mlp\.w2$"), "up_proj"),  # Qwen v1: w1 and w2 go up, c_proj down
    (re.compile(r"ffn_(?:up|gate)\.\d+$"), "experts_up"),  # GGUF files of 2023: a tensor per expert
    (re.compile(r"ffn_down\.\d+$"), "experts_down"),
    (re.compile(r"^(?!.*\.\d+\.)(?:\w+\.)*(?:output|head|ff_out)$"), "lm_head"),  # of no layer
)


def tensor_class(name: str) -> str | None:
    """The class of a tensor by its Hugging Face or GGUF name; None where it is not understood.

    Classes: those of `sol.specs.formats` (q_proj … lm_head) and tower, mtp, scale (with zeros and group
    indices of quantised tensors) and buffer. A class is about where a tensor is read, so what has none of
    its own takes the nearest: a fused matrix that of its first part (query_key_value and MLA's q_a, q_b
    q_proj; kv_a and kv_b k_proj; gate_up up_proj); a shared expert, read by every token, up_proj and
    down_proj; the projections into and out of a recurrent mixer q_proj and o_proj; its convolution and
    state vectors, attention sinks and a router's correction bias "bias"; a norm's bias "norm".
    """
    return _class(NUMBER.sub("0", name))


@lru_cache(maxsize=4096)
def _class(name: str) -> str | None:
    """The class of a name whose layer and expert are 0: of a hundred thousand names few of these are left."""
    if name.partition(".")[0] in FIRST or any(TOWER.fullmatch(part) for part in name.split(".")):
        return "tower"
    path = (BIAS if BIAS.search(name) else LEAF).sub("", name)
    word = path.rpartition(".")[2]
    last = name.rpartition(".")[2]
    first = (
        (MTP, name, "mtp"), (BUFFER, name, "buffer"), (ROUTERS, name, "norm"), (CORRECTS, name, "bias"), (SCALE, last, "scale"),
        (NORM, word, "norm"), (NORMS, path, "norm"), (BIAS, name, "bias"),
    )  # fmt: skip
    kind = next((kind for pattern, text, kind in first if pattern.search(text)), None)
    kind = kind or next((kind for pattern, kind in SPECIAL if pattern.search(path)), None)
    if kind is not None:
        return kind
    kind = CLASS.get(re.sub(r"_(?:sh|ch)?exps?$", "", word))
    if kind in ("up_proj", "down_proj") and (".experts." in path or word.endswith("_exps")):
        return "experts_up" if kind == "up_proj" else "experts_down"
    return kind


def scaled(name: str) -> str | None:
    """The class of the matrix a scale, a zero point or a group index stands beside; None where its name says none.

    >>> scaled("model.layers.0.mlp.experts.gate_up_proj_scales"), scaled("model.layers.0.self_attn.q_proj.weight.absmax")
    ('experts_up', 'q_proj')
    """
    parent, _, last = name.rpartition(".")
    beside = re.sub(r"_?(?:scales?|biases|absmax|g_idx|zero_point)(?:_\w+)?$", "", last)
    for owner in (f"{parent}.{beside}", parent, parent.rpartition(".")[0]):
        kind = tensor_class(owner) or tensor_class(f"{owner}.weight")
        if kind not in (None, "scale"):
            return kind
    return None


def is_token_table(name: str) -> bool:
    """Whether an embedding is that of tokens: not of positions, nor of a layer's own."""
    return re.search(r"wpe|position|per_layer", name) is None
