"""What a Hugging Face `config.json` says of an architecture, as a `Model`.

One table says which keys mean what; a small reader per mechanism (window patterns, experts) turns
them into layer groups. What is not understood is an error that names the file, the field and the
value: nothing is guessed, nothing falls back to a default model.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sol.errors import BadFile, SolError
from sol.sources.quantization import weight_format
from sol.specs.model import MLP, Attention, LayerGroup, Model, MoE
from sol.specs.record import Cite, Source

MAX_CONFIG_BYTES = 4 * 2**20
MAX_COUNT = 2**40  # no field of any model comes near; larger is a typing error or an attack

KINDS: Mapping[str, Mapping[str, Any]] = {
    # What a kind of model always has, where its config does not say so.
    "llama": {"moe": False, "mha_unless_said": True},  # an absent num_key_value_heads means one per query head
    "mistral": {"moe": False, "windowed": True, "needs": ("sliding_window",)},  # absent, the class would assume 4,096; null is none
    "mixtral": {"moe": True, "windowed": True},
    "qwen2": {"moe": False, "qkv_bias": True},
    "qwen3": {"moe": False, "qk_norm": True, "needs": ("head_dim",)},  # absent, the class would assume 128
    "qwen3_moe": {"moe": True, "qk_norm": True},  # absent, head_dim is hidden / heads, as its class has it
    "phi3": {"moe": False, "windowed": True, "mha_unless_said": True},  # stored fused: the same matrices
    "gemma": {"moe": False, "tied_unless_said": True, "needs": ("head_dim",)},  # absent, the class would assume 256
    "granite": {"moe": False, "mha_unless_said": True},
    "granitemoe": {"moe": True, "mha_unless_said": True},
    "smollm3": {"moe": False, "tied_unless_said": True},
}
KEYS: Mapping[str, tuple[str, ...]] = {
    # Meaning: the keys that carry it, first found wins.
    "hidden": ("hidden_size",),
    "layers": ("num_hidden_layers",),
    "heads": ("num_attention_heads",),
    "kv_heads": ("num_key_value_heads",),
    "head_dim": ("head_dim",),
    "ffn": ("intermediate_size",),
    "vocab": ("vocab_size",),
    "experts": ("num_local_experts", "num_experts"),
    "experts_per_token": ("num_experts_per_tok",),
    "expert_ffn": ("moe_intermediate_size",),
    "max_ctx": ("max_position_embeddings",),
}
FOREIGN = (
    # Keys of mechanisms that none of these kinds has: their presence means the kind is not what it says.
    "kv_lora_rank", "q_lora_rank", "qk_rope_head_dim", "linear_num_value_heads", "full_attention_interval", "mamba_d_state",
    "ssm_state_size", "hybrid_override_pattern", "attention_chunk_size", "n_shared_experts", "num_shared_experts",
    "shared_expert_intermediate_size", "num_nextn_predict_layers", "index_topk", "block_configs", "vision_config", "cross_attention_layers",
)  # fmt: skip
DTYPES = {"bfloat16": "bf16", "float16": "fp16", "half": "fp16"}


def load_config(path: Path) -> Model:
    """The model a `config.json` describes; a folder means the `config.json` in it.

    Raises `BadFile` naming the file, the field and the value that is missing or not understood.
    """
    file = path / "config.json" if path.is_dir() else path
    try:
        if file.stat().st_size > MAX_CONFIG_BYTES:
            raise BadFile(f"{file}: larger than {MAX_CONFIG_BYTES // 2**20} MiB; not a model's config.json")
        config = json.loads(file.read_text(encoding="utf-8"), parse_constant=_no_constant)
    except FileNotFoundError:
        raise BadFile(f"no file '{file}'; give the path of a model's config.json or the folder it is in") from None
    except OSError as error:
        raise BadFile(f"{file}: cannot be read ({error.strerror or error})") from None
    except UnicodeDecodeError:
        raise BadFile(f"{file}: is not UTF-8 text, so not a config.json") from None
    except (ValueError, RecursionError) as error:
        raise BadFile(f"{file}: is not valid JSON ({_first_line(error)})") from None
    if not isinstance(config, dict):
        raise BadFile(f"{file}: holds a {type(config).__name__}, not the object a config.json is")
    name = file.parent.name if file.name == "config.json" and file.parent.name else file.stem
    source = Source(title=f"{file.name} of {name}", kind="user", document=str(file))
    return read_config(config, str(file), model_id=name, source=source)


def _no_constant(word: str) -> float:
    raise ValueError(f"{word} is not a number JSON has")


def _first_line(error: BaseException) -> str:
    return "nested too deeply" if isinstance(error, RecursionError) else str(error).splitlines()[0].lower()


def read_config(
    config: Mapping[str, Any], where: str, *, model_id: str, source: Source, hf_id: str | None = None, aliases: tuple[str, ...] = ()
) -> Model:
    """A config's facts as a `Model`; `where` starts every complaint."""
    reader = _Reader(config, where)
    kind = reader.kind()
    attention = reader.attention(KINDS[kind])
    alike: dict[tuple[int | None, int], tuple[int, MLP | MoE]] = {}
    for window, ffn in zip(reader.windows(kind), reader.feed_forward(KINDS[kind]["moe"]), strict=True):
        count, _ = alike.get((window, id(ffn)), (0, ffn))
        alike[window, id(ffn)] = (count + 1, ffn)
    groups = tuple(
        LayerGroup(count=count, attention=attention.model_copy(update={"window": window}), ffn=ffn)
        for (window, _), (count, ffn) in alike.items()
    )
    try:
        return Model(
            id=model_id, hidden=reader.count("hidden"), vocab=reader.count("vocab"), groups=groups,
            tied_embeddings=reader.flag("tie_word_embeddings", KINDS[kind].get("tied_unless_said", False)),
            dtype=reader.dtype(), quantization=reader.quantization(),
            weight_format=weight_format(config.get("quantization_config"), sum(g.count for g in groups if isinstance(g.ffn, MoE)), source),
            max_ctx=reader.count("max_ctx") if reader.has("max_ctx") else None, hf_id=hf_id, aliases=aliases,
            cites={"architecture": Cite(value=kind, source=source)},
        )  # fmt: skip
    except SolError as error:
        raise BadFile(f"{where}: {error}") from None


class _Reader:
    """Looks keys up with their meaning; every complaint names file, field and value."""

    def __init__(self, config: Mapping[str, Any], where: str) -> None:
        self.config, self.where = config, where

    def fail(self, what: str) -> BadFile:
        return BadFile(f"{self.where}: {what}")

    def has(self, meaning: str) -> bool:
        return any(self.config.get(key) is not None for key in KEYS[meaning])

    def count(self, meaning: str) -> int:
        """A positive whole number."""
        for key in KEYS[meaning]:
            value = self.config.get(key)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int):
                raise self.fail(f"{key}={_short(value)} is not a whole number")
            if not 0 < value <= MAX_COUNT:
                raise self.fail(f"{key}={_short(value)} is not a size a model can have")
            return value
        raise self.fail(f"{' or '.join(KEYS[meaning])} is missing, and no default is assumed")

    def flag(self, key: str, default: bool) -> bool:
        value = self.config.get(key, default)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self.fail(f"{key}={_short(value)} is neither true nor false")
        return value

    def kind(self) -> str:
        kind = self.config.get("model_type")
        if kind is None:
            raise self.fail("model_type is missing, so the kind of model is unknown")
        if not isinstance(kind, str) or kind not in KINDS:
            raise self.fail(f"model_type={_short(kind)} is not understood; understood: {', '.join(KINDS)}")
        for key in KINDS[kind].get("needs", ()):
            if key not in self.config:
                raise self.fail(f"{key} is missing, and no default is assumed for a {kind} model")
        for key in (*FOREIGN, *(() if KINDS[kind]["moe"] else KEYS["experts"])):
            if self.config.get(key):
                raise self.fail(f"{key}={_short(self.config[key])} is a mechanism a {kind} model does not have; it is not understood")
        return str(kind)

    def attention(self, traits: Mapping[str, Any]) -> Attention:
        heads, hidden = self.count("heads"), self.count("hidden")
        kv_heads = heads if traits.get("mha_unless_said") and not self.has("kv_heads") else self.count("kv_heads")
        if heads % kv_heads:
            raise self.fail(f"num_attention_heads={heads} is not a multiple of num_key_value_heads={kv_heads}")
        if not self.has("head_dim") and hidden % heads:
            raise self.fail(f"hidden_size={hidden} is not a multiple of num_attention_heads={heads}, and head_dim is missing")
        bias = self.flag("attention_bias", False)
        return Attention(
            heads=heads, kv_heads=kv_heads, head_dim=self.count("head_dim") if self.has("head_dim") else hidden // heads,
            qkv_bias=bias or traits.get("qkv_bias", False), o_bias=bias, qk_norm=traits.get("qk_norm", False),
        )  # fmt: skip

    def windows(self, kind: str) -> list[int | None]:
        """The sliding window of each layer, None for full attention."""
        layers = self.count("layers")
        if layers > 100_000:
            raise self.fail(f"num_hidden_layers={layers} is not a size a model can have")
        window = self.config.get("sliding_window")
        if window is not None and (isinstance(window, bool) or not isinstance(window, int) or not 0 < window <= MAX_COUNT):
            raise self.fail(f"sliding_window={_short(window)} is not a number of tokens")
        types = self.config.get("layer_types")
        if types is not None:
            if not isinstance(types, list) or len(types) != layers:
                given = len(types) if isinstance(types, list) else _short(types)
                raise self.fail(f"layer_types has {given} entries for num_hidden_layers={layers}")
            return [self._typed_window(t, window) for t in types]
        if KINDS[kind].get("windowed"):  # in every layer
            return [window] * layers
        if not self.flag("use_sliding_window", False) or window is None:
            return [None] * layers
        if kind == "smollm3":
            raise self.fail("use_sliding_window=True needs layer_types to say which layers have the window")
        full = self.config.get("max_window_layers")  # this many layers at the front attend to everything
        if isinstance(full, bool) or not isinstance(full, int) or full < 0:
            raise self.fail(f"max_window_layers={_short(full)} is not a number of layers")
        return [window if i >= full else None for i in range(layers)]

    def _typed_window(self, layer_type: Any, window: int | None) -> int | None:
        if layer_type == "full_attention":
            return None
        if layer_type == "sliding_attention" and window is not None:
            return window
        raise self.fail(f"layer_types names {_short(layer_type)}, which is not understood (sliding_window={window})")

    def feed_forward(self, moe: bool) -> list[MLP | MoE]:
        """The feed-forward block of each layer."""
        layers = self.count("layers")
        mlp_bias = self.flag("mlp_bias", False)
        if not moe:
            return [MLP(ffn=self.count("ffn"), bias=mlp_bias)] * layers
        experts, top_k = self.count("experts"), self.count("experts_per_token")
        if top_k > experts:
            raise self.fail(f"num_experts_per_tok={top_k} exceeds the {experts} experts there are")
        width = self.count("expert_ffn") if self.has("expert_ffn") else self.count("ffn")
        sparse = MoE(experts=experts, experts_per_token=top_k, expert_ffn=width)
        step = self.config.get("decoder_sparse_step") or 1
        only = self.config.get("mlp_only_layers") or []
        if isinstance(step, bool) or not isinstance(step, int) or step < 1:
            raise self.fail(f"decoder_sparse_step={_short(step)} is not a number of layers")
        if not isinstance(only, list) or not all(isinstance(i, int) and 0 <= i < layers for i in only):
            raise self.fail(f"mlp_only_layers={_short(only)} does not list layers of this model")
        dense_at = {i for i in range(layers) if i in set(only) or (i + 1) % step}
        dense = MLP(ffn=self.count("ffn")) if dense_at else None
        return [dense if i in dense_at and dense else sparse for i in range(layers)]

    def dtype(self) -> str | None:
        said = self.config.get("dtype") or self.config.get("torch_dtype")
        return None if said is None else DTYPES.get(str(said), _short(said).strip("'"))

    def quantization(self) -> str | None:
        quant = self.config.get("quantization_config")
        if not quant:
            return None
        return str(quant.get("quant_method", "an unnamed method")) if isinstance(quant, dict) else str(quant)


def _short(value: Any) -> str:
    if isinstance(value, int) and abs(value) > 10**30:
        return "a number beyond 1e30"  # Python refuses to print the largest
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "…"
