"""The recurrent mixer of the layers that keep a state, read from a config: one reader per mechanism, found by name in `STATES`."""

from __future__ import annotations

from collections.abc import Callable

from sol.errors import short
from sol.sources.config.reader import Reader
from sol.specs.blocks import Block
from sol.specs.states import GatedDelta, GatedRecurrence, Mamba, Mamba2, ShortConv


def state(r: Reader) -> Block:
    """The recurrent mixer a kind of model has."""
    assert r.kind.state is not None
    return STATES[r.kind.state](r)


def _mamba(r: Reader) -> Block:
    # Falcon-Mamba publishes an expansion of 16 beside its width; where there are dense blocks the same key is theirs.
    hidden, bits = r.count("hidden"), _state_bits(r)
    width = r.count("ffn") if r.kind.layout == "mixer only" and r.has("ffn") else r.count("expand") * hidden
    rank = r.config.get("mamba_dt_rank", r.config.get("time_step_rank"))
    return Mamba(
        width=width, state=r.count("state"), conv=r.count("conv"), dt_rank=-(-hidden // 16) if rank == "auto" else r.count("dt_rank"),
        bias=r.said(r.kind.state_bias), conv_bias=r.said(r.kind.conv_bias), inner_norms=r.kind.inner_norms, state_bits=bits,
    )  # fmt: skip


def _mamba2(r: Reader) -> Block:
    hidden, bits = r.count("hidden"), _state_bits(r)
    heads, head_dim = r.count("state_heads"), _state_head_dim(r, hidden)
    said = r.config.get("mamba_d_ssm")
    if said is None and r.has("expand") and r.kind.layout != "one block":
        said = r.count("expand") * hidden
    if said is not None and said != heads * head_dim:
        raise r.fail(f"the state's width {short(said)} is not {heads} heads of {head_dim}")
    return Mamba2(
        heads=heads, head_dim=head_dim, state=r.count("state"), groups=r.count("state_groups"), conv=r.count("conv"),
        bias=r.said(r.kind.state_bias), conv_bias=r.said(r.kind.conv_bias), gated_norm=r.said(r.kind.gated_norm), state_bits=bits,
    )  # fmt: skip


def _state_head_dim(r: Reader, hidden: int) -> int:
    if r.config.get("mamba_d_head") == "auto":
        return r.count("expand") * hidden // r.count("state_heads")
    return r.count("state_head_dim")


def _gated_delta(r: Reader) -> Block:
    bits = _state_bits(r)
    keys, values = r.count("key_heads"), r.count("value_heads")
    if values % keys:
        raise r.fail(f"linear_num_value_heads={values} is not a multiple of linear_num_key_heads={keys}")
    return GatedDelta(
        key_heads=keys, value_heads=values, key_dim=r.count("key_dim"), value_dim=r.count("value_dim"), conv=r.count("conv"),
        state_bits=bits,
    )  # fmt: skip


def _short_conv(r: Reader) -> Block:
    _state_bits(r)  # it keeps no recurrent state, but what a config says of one must be understood
    return ShortConv(width=r.count("hidden"), conv=r.count("conv"), bias=r.flag("conv_bias"))


def _gated_recurrence(r: Reader) -> Block:
    bits = _state_bits(r)
    heads, width = r.count("heads"), r.count("lru_width") if r.has("lru_width") else r.count("hidden")
    if width % heads:
        raise r.fail(f"lru_width={width} is not a multiple of num_attention_heads={heads}")
    return GatedRecurrence(width=width, heads=heads, conv=r.count("conv"), state_bits=bits)


def _state_bits(r: Reader) -> int:
    """Width of the recurrent state: what the config says of it, else 32 bits as engines keep it."""
    said = r.config.get("mamba_ssm_dtype", r.config.get("mamba_ssm_cache_dtype"))
    bits = {None: 32, "float32": 32, "bfloat16": 16, "float16": 16}.get(said) if isinstance(said, str | None) else None
    if bits is None:
        raise r.fail(f"mamba_ssm_dtype={short(said)} is not understood")
    return bits


STATES: dict[str, Callable[[Reader], Block]] = {
    "mamba": _mamba, "mamba2": _mamba2, "gated_delta": _gated_delta, "short_conv": _short_conv, "gated_recurrence": _gated_recurrence,
}  # fmt: skip
"""The reader of each mechanism a kind's `state` may name (`sol.sources.config.kinds`)."""
