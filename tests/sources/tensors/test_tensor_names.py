"""Names of tensors: the class of each, and what a checkpoint holds of each class."""

from __future__ import annotations

import time

import pytest
from sources.tensors.headers import SOON_S

from sol.sources.checkpoints.tensor_counts import holdings
from sol.sources.tensors.tensor_files import StoredTensor
from sol.sources.tensors.tensor_names import tensor_class

NAMES = {
    "embedding": "model.embed_tokens.weight transformer.wte.weight transformer.wpe.weight gpt_neox.embed_in.weight"
    " word_embeddings.weight transformer.word_embeddings.weight transformer.embedding.word_embeddings.weight"
    " backbone.embeddings.weight tok_embeddings.weight language_model.model.embed_tokens.weight"
    " model.language_model.embed_tokens.weight token_embd.weight model.decoder.embed_positions.weight",
    "lm_head": "lm_head.weight embed_out.weight output.weight transformer.output_layer.weight language_model.lm_head.weight"
    " head.weight model.transformer.ff_out.weight language_model.output.weight",
    "norm": "model.norm.weight model.layers.0.input_layernorm.weight model.layers.0.post_feedforward_layernorm.weight"
    " transformer.ln_f.bias transformer.h.0.ln_attn.weight h.0.ln_1.bias gpt_neox.final_layer_norm.bias"
    " model.layers.0.self_attn.q_norm.weight model.layers.0.self_attn.kv_a_layernorm.weight backbone.norm_f.weight"
    " backbone.layers.0.mixer.norm.weight blk.0.attn_norm.weight output_norm.weight blk.0.attn_q_a_norm.weight"
    " blk.0.post_ffw_norm.weight layers.0.attention_norm.weight model.layers.0.self_attn.indexer.k_norm.bias"
    " transformer.blocks.0.norm_attn_norm.norm_1.weight word_embeddings_layernorm.weight",
    "bias": "model.layers.0.self_attn.q_proj.bias h.0.attn.c_attn.bias gpt_neox.layers.0.attention.dense.bias lm_head.bias"
    " blk.0.attn_q.bias model.layers.0.mlp.experts.gate_up_proj_bias model.layers.0.mlp.router.bias"
    " model.layers.3.mlp.gate.e_score_correction_bias blk.3.exp_probs_b.bias model.layers.0.self_attn.sinks"
    " blk.0.attn_sinks.weight backbone.layers.0.mixer.A_log blk.0.ssm_a backbone.layers.0.mixer.D"
    " backbone.layers.0.mixer.dt_bias backbone.layers.0.mixer.conv1d.weight blk.0.ssm_conv1d.weight"
    " model.layers.0.linear_attn.A_log model.layers.0.conv.conv.weight",
    "q_proj": "model.layers.0.self_attn.q_proj.weight model.layers.0.self_attn.qkv_proj.weight"
    " gpt_neox.layers.0.attention.query_key_value.weight transformer.h.0.self_attention.query_key_value.weight"
    " transformer.h.0.attn.c_attn.weight model.layers.0.self_attn.W_pack.weight model.layers.0.attention.wqkv.weight"
    " layers.0.attention.wq.weight model.layers.0.self_attn.q_a_proj.weight blk.0.attn_qkv.weight"
    " model.layers.0.self_attn.q_b_proj.weight blk.0.attn_q.weight blk.0.attn_q_b.weight"
    " model.layers.0.self_attn.indexer.wq_b.weight backbone.layers.0.mixer.in_proj.weight"
    " model.layers.0.mamba.in_proj.weight model.layers.0.linear_attn.in_proj_qkvz.weight blk.0.ssm_in.weight"
    " model.layers.0.self_attn.q_proj.qweight model.layers.0.self_attn.q_proj.weight_packed"
    " model.language_model.layers.0.self_attn.q_proj.weight backbone.layers.0.mixer.x_proj.weight",
    "k_proj": "model.layers.0.self_attn.k_proj.weight model.layers.0.self_attn.kv_a_proj_with_mqa.weight blk.0.attn_k.weight"
    " model.layers.0.self_attn.kv_b_proj.weight blk.0.attn_kv_a_mqa.weight blk.0.attn_k_b.weight"
    " layers.0.attention.wk.weight",
    "v_proj": "model.layers.0.self_attn.v_proj.weight blk.0.attn_v.weight blk.0.attn_v_b.weight layers.0.attention.wv.weight",
    "o_proj": "model.layers.0.self_attn.o_proj.weight transformer.h.0.self_attention.dense.weight"
    " gpt_neox.layers.0.attention.dense.weight model.layers.0.self_attn.dense.weight transformer.h.0.attn.c_proj.weight"
    " blk.0.attn_output.weight layers.0.attention.wo.weight model.decoder.layers.0.self_attn.out_proj.weight"
    " backbone.layers.0.mixer.out_proj.weight blk.0.ssm_out.weight",
    "up_proj": "model.layers.0.mlp.gate_proj.weight model.layers.0.mlp.up_proj.weight model.layers.0.mlp.gate_up_proj.weight"
    " gpt_neox.layers.0.mlp.dense_h_to_4h.weight transformer.h.0.mlp.c_fc.weight transformer.h.0.mlp.w1.weight"
    " transformer.h.0.mlp.w2.weight model.layers.0.mlp.fc1.weight model.decoder.layers.0.fc1.weight"
    " layers.0.feed_forward.w1.weight layers.0.feed_forward.w3.weight model.layers.0.mlp.shared_experts.gate_proj.weight"
    " model.layers.0.mlp.shared_expert.up_proj.weight blk.0.ffn_up_shexp.weight blk.0.ffn_gate.weight"
    " backbone.layers.1.mixer.up_proj.weight model.layers.0.feed_forward.shared_expert.up_proj.weight",
    "down_proj": "model.layers.0.mlp.down_proj.weight gpt_neox.layers.0.mlp.dense_4h_to_h.weight transformer.h.0.mlp.c_proj.weight"
    " model.decoder.layers.0.fc2.weight layers.0.feed_forward.w2.weight model.layers.0.mlp.shared_experts.down_proj.weight"
    " blk.0.ffn_down.weight blk.0.ffn_down_shexp.weight transformer.blocks.0.ff_out.weight",
    "experts_up": "model.layers.0.block_sparse_moe.experts.7.w1.weight model.layers.0.block_sparse_moe.experts.7.w3.weight"
    " model.layers.0.mlp.experts.127.gate_proj.weight model.layers.0.mlp.experts.gate_up_proj_blocks"
    " model.layers.0.mlp.experts.gate_up_proj model.layers.0.feed_forward.experts.gate_up_proj blk.0.ffn_gate_exps.weight"
    " blk.0.ffn_up_exps.weight blk.0.ffn_gate.3.weight transformer.blocks.0.ffn.experts.mlp.v1"
    " backbone.layers.1.mixer.experts.0.up_proj.weight layers.1.ffn.experts.0.w3.weight",
    "experts_down": "model.layers.0.block_sparse_moe.experts.7.w2.weight model.layers.0.mlp.experts.3.down_proj.weight"
    " blk.0.ffn_down_exps.weight model.layers.0.mlp.experts.down_proj_blocks transformer.blocks.0.ffn.experts.mlp.w2"
    " blk.0.ffn_down.3.weight",
    "router": "model.layers.0.mlp.gate.weight model.layers.0.block_sparse_moe.gate.weight model.layers.0.mlp.router.weight"
    " model.layers.0.mlp.shared_expert_gate.weight blk.0.ffn_gate_inp.weight blk.0.ffn_gate_inp_shexp.weight"
    " transformer.blocks.0.ffn.router.layer.weight backbone.layers.1.mixer.gate.weight layers.1.ffn.gate.weight",
    "tower": "model.visual.blocks.0.attn.qkv.weight visual.patch_embed.proj.weight"
    " vision_tower.vision_model.encoder.layers.0.mlp.fc1.bias"
    " model.vision_tower.vision_model.embeddings.position_embedding.weight multi_modal_projector.linear_1.weight"
    " mlp1.0.weight model.mm_projector.0.weight vision_model.encoder.layers.0.self_attn.q_proj.weight"
    " model.audio_tower.conv1.weight v.blk.0.attn_q.weight mm.0.weight thinker.visual.merger.mlp.0.weight"
    " model.vision_embed_tokens.img_processor.x.weight vision_encoder.ln_pre.weight",
    "mtp": "mtp.layers.0.self_attn.q_proj.weight model.layers.61.eh_proj.weight model.layers.61.enorm.weight"
    " blk.92.nextn.eh_proj.weight model.layers.61.embed_tokens.weight model.layers.61.shared_head.head.weight"
    " mtp.norm.weight model.mtp_layers.0.hnorm.weight",
    "scale": "model.layers.0.mlp.up_proj.scales model.layers.0.mlp.up_proj.qzeros model.layers.0.mlp.up_proj.g_idx"
    " model.layers.0.mlp.experts.gate_up_proj_scales model.layers.0.mlp.up_proj.weight_scale_inv"
    " model.layers.0.mlp.up_proj.weight_scale model.layers.0.mlp.up_proj.weight_scale_2"
    " model.layers.0.mlp.up_proj.input_scale model.layers.0.self_attn.k_scale model.layers.0.mlp.up_proj.weight.absmax"
    " model.layers.0.mlp.up_proj.weight.nested_quant_map model.layers.0.mlp.up_proj.SCB"
    " model.layers.0.mlp.up_proj.weight.quant_state.bitsandbytes__nf4 model.layers.0.mlp.up_proj.weight_zero_point"
    " blk.0.ffn_up.scale model.layers.0.mlp.up_proj.weight_global_scale model.layers.0.mlp.up_proj.weight_shape"
    " model.layers.0.mlp.up_proj.biases",
    "buffer": "model.layers.0.self_attn.rotary_emb.inv_freq gpt_neox.layers.0.attention.bias gpt_neox.layers.0.attention.masked_bias"
    " h.0.attn.bias rope_freqs.weight rope_factors_long.weight transformer.rotary_pos_emb.inv_freq rope.freqs",
    None: "model.layers.0.self_attn.q_proj.lora_A.weight blocks.0.att.time_decay nonsense"
    " model.layers.0.altup.router_unknown.weight",
}  # fmt: skip


@pytest.mark.truth
@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in NAMES.items() for name in names.split()])
def test_a_name_has_its_class(kind: str | None, name: str) -> None:
    assert tensor_class(name) == kind


@pytest.mark.law
def test_a_hostile_name_is_classed_soon() -> None:
    for name in ("_" * 256, "scale_" * 42 + "-", "a." * 128, "layers.0." * 28 + "-", "q_scales" * 32 + "!", "." * 256):
        started = time.process_time()
        tensor_class(name)
        holdings([StoredTensor(name, "F32", (1,), 4)])
        assert time.process_time() - started < SOON_S


def test_holdings_add_up_by_class() -> None:
    tensors = [
        StoredTensor("model.layers.0.self_attn.q_proj.qweight", "I32", (8, 64), 2048),  # 8 weights in each: the containers count
        StoredTensor("model.layers.0.self_attn.q_proj.scales", "F16", (1, 64), 128),
        StoredTensor("model.layers.1.self_attn.q_proj.weight", "BF16", (64, 64), 8192),
        StoredTensor("model.layers.2.self_attn.q_proj.weight", "BF16", (64, 64), 8192),
        StoredTensor("model.layers.2.eh_proj.weight", "BF16", (64, 128), 16384),  # so layer 2 is a draft layer
        StoredTensor("model.layers.20.input_layernorm.weight", "F32", (64,), 256),
        StoredTensor("what.is.this", "F32", (2,), 8),
    ]
    held = holdings(iter(tensors))
    assert {kind: (h.bytes, h.elements) for kind, h in held.by_class.items()} == {
        "q_proj": (2048 + 8192, 512 + 4096), "scale": (128, 64), "mtp": (8192 + 16384, 4096 + 8192), "norm": (256, 64), "unknown": (8, 2),
    }  # fmt: skip
    assert held.by_class["q_proj"].dtypes == {"I32": 2048, "BF16": 8192}
    assert held.unknown == ("what.is.this",)
    assert held.bytes == sum(t.bytes for t in tensors)
    assert held.elements == sum(t.elements for t in tensors)
