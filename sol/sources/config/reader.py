"""Typed look-ups in a `config.json`: every complaint names the file, the field and the value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sol.errors import BadFile, short
from sol.sources.config.keys import DTYPES, FOREIGN, HARMLESS, KEYS
from sol.sources.config.kinds import KINDS, SAME_AS, Kind, Switch, kind_of

MAX_COUNT = 2**40  # no field of any model comes near; larger is a typing error or an attack
MAX_LAYERS = 100_000
SHARED_KEYS = ("head_dim", "heads", "state_heads", "state_head_dim", "vocab", "max_ctx")
"""Meanings whose keys may stand side by side and differ: the first is what the model has."""


class Reader:
    """One config, looked up by meaning; `where` starts every complaint."""

    def __init__(self, config: Mapping[str, Any], where: str) -> None:
        self.config, self.where = config, where
        self.name, self.kind = self._kind()

    def fail(self, what: str) -> BadFile:
        """The error to raise."""
        return BadFile(f"{self.where}: {what}")

    def _kind(self) -> tuple[str, Kind]:
        name = self.config.get("model_type")
        if name is None:
            raise self.fail("model_type is missing, so the kind of model is unknown")
        base = SAME_AS.get(name, name) if isinstance(name, str) else name
        if not isinstance(base, str) or base not in KINDS:
            raise self.fail(f"model_type={short(name)} is not understood; sol understands {len(KINDS)} kinds, among them llama, "
                            "qwen3_moe and deepseek_v3 (docs: kinds)")  # fmt: skip
        kind = kind_of(base)
        for key in kind.needs:
            if key not in self.config:
                raise self.fail(f"{key} is missing, and no default is assumed for a {name} model")
        for key in kind.requires:
            if self.config.get(key) is not True:
                raise self.fail(f"{key}={short(self.config.get(key))} is not understood for a {name} model; only true is")
        understood = _understood(kind)
        for key, harmless in FOREIGN.items():
            value = self.config.get(key)
            if key in understood or value is None or _says_nothing(value) or value in harmless:
                continue
            raise self.fail(f"{key}={short(value)} is a mechanism a {name} model does not have; it is not understood")
        if kind.moe is None:
            for key in KEYS["experts"]:
                if self.config.get(key):
                    raise self.fail(f"{key}={short(self.config[key])} is a mechanism a {name} model does not have; it is not understood")
        return base, kind

    def has(self, meaning: str) -> bool:
        """Whether any key of this meaning is given."""
        return any(self.config.get(key) is not None for key in KEYS[meaning])

    def count(self, meaning: str) -> int:
        """A positive whole number. Raises `BadFile` where it is missing, none, absurd, or said twice differently."""
        value = self.whole_number(meaning)
        if value == 0:
            raise self.fail(f"{self._key(meaning)}=0 is not a size a model can have")
        return value

    def whole_number(self, meaning: str) -> int:
        """A whole number, zero included."""
        key = self._key(meaning)
        value = self.number(key, self.config[key])
        for other in KEYS[meaning]:
            again = self.config.get(other)
            if again is not None and again != value and meaning not in SHARED_KEYS:
                raise self.fail(f"{key}={short(value)} and {other}={short(again)} contradict each other")
        return value

    def _key(self, meaning: str) -> str:
        for key in KEYS[meaning]:
            if self.config.get(key) is not None:
                return key
        raise self.fail(f"{' or '.join(KEYS[meaning])} is missing, and no default is assumed")

    def number(self, key: str, value: Any, *, at_least: int = 0) -> int:
        """`value` of `key` as a whole number."""
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.fail(f"{key}={short(value)} is not a whole number")
        if not at_least <= value <= MAX_COUNT:
            raise self.fail(f"{key}={short(value)} is not a size a model can have")
        return value

    def named(self, key: str, default: int | None = None) -> int:
        """The whole number of one key, with a default where its class has one."""
        value = self.config.get(key)
        if value is None:
            if default is None:
                raise self.fail(f"{key} is missing, and no default is assumed")
            return default
        return self.number(key, value)

    def flag(self, key: str, default: bool = False) -> bool:
        """True or false."""
        value = self.config.get(key, default)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self.fail(f"{key}={short(value)} is neither true nor false")
        return value

    def said(self, trait: Switch) -> bool:
        """A trait that is fixed, or that a key of the config switches."""
        if isinstance(trait, bool):
            return trait
        key, _, default = trait.partition("=")
        return self.flag(key, default == "true")

    def listed(self, key: str, length: int) -> list[Any] | None:
        """A list of one entry per layer, or None where it is not given."""
        value = self.config.get(key)
        if value is None:
            return None
        if not isinstance(value, list) or len(value) != length:
            given = len(value) if isinstance(value, list) else short(value)
            raise self.fail(f"{key} has {given} entries for {length} layers")
        return value

    def layers_in(self, key: str, layers: int) -> set[int] | None:
        """A list of layer numbers, or None where it is not given."""
        value = self.config.get(key)
        if value is None:
            return None
        if not isinstance(value, list) or not all(isinstance(i, int) and not isinstance(i, bool) and 0 <= i < layers for i in value):
            raise self.fail(f"{key}={short(value)} does not list layers of this model")
        return set(value)

    def layers(self) -> int:
        """The number of layers."""
        layers = self.count("layers")
        if layers > MAX_LAYERS:
            raise self.fail(f"{self._key('layers')}={layers} is not a size a model can have")
        return layers

    def head_dim(self, heads: int) -> int:
        """The width of a head: said, or hidden / heads."""
        if self.has("head_dim"):
            return self.count("head_dim")
        hidden = self.count("hidden")
        if hidden % heads:
            raise self.fail(f"{self._key('hidden')}={hidden} is not a multiple of {self._key('heads')}={heads}, and head_dim is missing")
        return hidden // heads

    def dtype(self) -> str | None:
        """The format the config says its tensors are stored in."""
        said = self.config.get("dtype") or self.config.get("torch_dtype")
        return None if said is None else DTYPES.get(str(said), short(said).strip("'"))


def _says_nothing(value: Any) -> bool:
    return any(value is nothing or (type(value) is type(nothing) and value == nothing) for nothing in HARMLESS)


def _understood(kind: Kind) -> set[str]:
    """The keys of `FOREIGN` a kind reads."""
    keys = {*kind.reads, *kind.dense}
    for trait in (kind.tied, kind.head_bias, kind.qkv_bias, kind.o_bias, kind.mlp_bias, kind.shared_bias, kind.correction):
        if isinstance(trait, str):
            keys.add(trait.partition("=")[0])
    if kind.qk_norm_said:
        keys.add(kind.qk_norm_said.partition("=")[0])
    if kind.latent:
        keys |= {"kv_lora_rank", "q_lora_rank", "qk_rope_head_dim", "mlp_layer_types", "attention_bias"}
        keys |= {"index_topk", "index_n_heads"} if kind.indexer else set()
    if kind.moe:
        keys |= {"mlp_layer_types"}
    if kind.shared == "count":
        keys |= set(KEYS["shared_experts"])
    if kind.shared == "width":
        keys |= {*KEYS["shared_ffn"], "n_shared_experts"}
    if kind.mtp:
        keys |= set(KEYS["mtp_layers"])
    if kind.shapes:
        keys |= {"hidden_size_per_layer_input", "num_kv_shared_layers", "global_head_dim", "num_global_key_value_heads",
                 "attention_k_eq_v", "per_layer_config", "use_double_wide_mlp", "enable_moe_block"}  # fmt: skip
    keys |= STATE_KEYS.get(kind.state or "", set())
    if kind.layout == "one block":
        keys |= {"hybrid_override_pattern", "layers_block_type", "moe_latent_size"}
    return keys


STATE_KEYS: Mapping[str, set[str]] = {
    "mamba": {"mamba_d_state", "state_size", "attn_layer_period", "layers_block_type"},
    "mamba2": {"mamba_d_state", "ssm_state_size", "state_size", "attn_layer_indices", "layers_block_type"},
    "gated_delta": {"linear_num_value_heads", "full_attention_interval", "attn_output_gate", "mlp_only_layers"},
    "short_conv": {"conv_L_cache", "full_attn_idxs"},
    "gated_recurrence": {"lru_width", "block_types"},
}
