"""A GGUF file as a model: its keys are translated to those of a config.json, and its tensors give the stored weights.

Facts without a key (biases, a tied head, which layers have experts or keep a state) come from the tensors. The elements
of every part must match the model.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from sol.errors import BadFile, short
from sol.sources.checkpoints.exact_storage import as_stored
from sol.sources.checkpoints.gguf_keys import ARCHS, KEYS, PRESENT, STATES
from sol.sources.config.config_json import read_config
from sol.sources.config.kinds import Kind, kind_of
from sol.sources.tensors.gguf_file import SPLIT, read_gguf
from sol.sources.tensors.gguf_types import FILE_TYPES
from sol.sources.tensors.tensor_files import StoredTensor, shown
from sol.specs.model import Model
from sol.specs.record import Source

BLOCK = re.compile(r"blk\.([0-9]{1,6})\.(.+)")
UNUSED = {(shared, key) for key, use in (("n_shared_experts", "count"), ("shared_expert_intermediate_size", "width"))
          for shared in (None, "count", "width", "expert width", "dense") if shared != use}  # fmt: skip
PLAIN, NARROW = {"F64", "F32", "F16", "BF16"}, {"MXFP4", "NVFP4"}


def load_gguf(path: Path) -> Model:
    """The model of a GGUF file, or of all files of a split. Raises `BadFile` naming the file and what is not understood."""
    metadata, tensors = read_gguf(path)
    split = SPLIT.fullmatch(path.name)
    name, where = split[1] if split else path.stem, shown(path)
    file = _File(metadata, tensors, where)
    source = Source(title=f"header of {name}.gguf", kind="user", document=str(path))
    model = read_config(file.config(), where, model_id=name, source=source)
    if file.name == "apertus":  # its activations' scalars are keys of the file, not tensors
        model = model.model_copy(update={"groups": tuple(g.model_copy(update={"scalars": 0}) for g in model.groups)})
    return as_stored(model, file.tensors, where, source, _format(metadata, tensors))


def _format(metadata: Mapping[str, Any], tensors: list[StoredTensor]) -> dict[str, Any]:
    """Name and compute of the format: blocks of integers are multiplied in 8 bits, as the database's own GGUF formats are."""
    types = {t.dtype for t in tensors if len(t.shape) > 1} - PLAIN
    said = FILE_TYPES.get(metadata.get("general.file_type", -1))
    name = said or next(iter(sorted(types)), "16-bit").lower()
    compute = "fp4" if types & NARROW else "int8" if types else "16-bit"
    return {"id": f"gguf-{name}", "name": f"GGUF {name.upper()}, as the file stores it", "compute": compute,
            "otherwise": "16-bit" if types else None}  # fmt: skip


class _File:
    """The keys and tensors of one file, looked up for a config.json."""

    def __init__(self, metadata: Mapping[str, Any], tensors: list[StoredTensor], where: str) -> None:
        self.metadata, self.where = metadata, where
        name = metadata.get("general.architecture")
        if not isinstance(name, str) or name not in ARCHS:
            raise self.fail("general.architecture is missing" if name is None else
                            f"architecture {short(name)} is not understood; understood: {', '.join(ARCHS)}")  # fmt: skip
        self.name, self.arch = name, ARCHS[name]
        self.tensors = [_gemma4(t) for t in tensors] if name == "gemma4" else tensors
        self.shapes = {t.name: t.shape for t in tensors}
        found = [(int(m[1]), m[2]) for t in tensors if (m := BLOCK.fullmatch(t.name))]
        self.within = {part for _, part in found}
        self.layers = self.whole_number("block_count") - (
            self.whole_number("nextn_predict_layers") if self.says("nextn_predict_layers") else 0
        )
        if not 0 < self.layers <= len(self.shapes):
            raise self.fail(f"{name}.block_count says {short(self.layers)} layers, its {len(self.shapes)} tensors cannot be of so many")
        self.parts: list[set[str]] = [set() for _ in range(self.layers)]
        for layer, part in found:
            if layer < self.layers:
                self.parts[layer].add(part)

    def fail(self, what: str) -> BadFile:
        """The error to raise."""
        return BadFile(f"{self.where}: {what}")

    def get(self, key: str) -> Any:
        """The value of a key of the architecture."""
        return self.metadata.get(f"{self.name}.{key}")

    def says(self, mark: str) -> bool:
        """Whether a key has a value that is not nothing, or a layer a tensor whose name begins so."""
        return bool(self.get(mark)) or any(part.startswith(mark) for part in self.within)

    def whole_number(self, key: str) -> int:
        """A whole number that must be there."""
        value = self.get(key)
        if type(value) is not int or value < 0:
            raise self.fail(f"{self.name}.{key} is missing" if value is None else f"{self.name}.{key}={short(value)} is not a whole number")
        return value

    def ratio(self, key: str) -> int:
        """A whole number, or the quotient of two."""
        over, _, under = key.partition("/")
        if not under:
            return self.whole_number(key)
        top, bottom = self.whole_number(over), self.whole_number(under)
        if not bottom or top % bottom:
            raise self.fail(f"{self.name}.{over}={top} is not a multiple of {self.name}.{under}={bottom}")
        return top // bottom

    def rows(self, tensor: str) -> int:
        """Rows of a table that must be there."""
        shape = self.shapes.get(tensor, ())
        if len(shape) != 2:
            raise self.fail(f"{tensor} is missing, or is not a table")
        return shape[0]

    def config(self) -> dict[str, Any]:
        """The keys of a config.json."""
        name = next((kind for mark, kind in self.arch.instead if self.says(mark)), self.arch.kind)
        kind = kind_of(name)
        config: dict[str, Any] = {"model_type": name, **self.arch.said, "vocab_size": self.rows("token_embd.weight")}
        for key, theirs in {**KEYS, **self.arch.keys}.items():
            value = self.ratio(theirs) if "/" in theirs else self._same(theirs)
            if (value or (value is not None and key == "hidden_size_per_layer_input")) and (kind.shared, key) not in UNUSED:
                config[key] = value
        config["num_hidden_layers"] = self.layers
        if kind.positions is not None:
            config["max_position_embeddings"] = self.rows("position_embd.weight") - kind.positions
        self._traits(kind, config)
        config |= {key: self.ratio(theirs) for key, theirs in STATES.get(kind.state or "", {}).items()}
        if kind.state is None or self.says("attn_"):
            self._attention(kind, config)
        if kind.moe and self.says("ffn_gate_inp"):
            config["mlp_layer_types"] = ["sparse" if "ffn_gate_inp.weight" in parts else "dense" for parts in self.parts]
        return {**config, **self._layer_types(kind, config), **OWN.get(self.name, _nothing)(self, config)}

    def _same(self, key: str) -> Any:
        """The value of a key that may be a list of one per layer, 0 or False for layers without the part; the others must agree."""
        value = self.get(key)
        if not isinstance(value, list):
            return value
        values = {v for v in value if v}
        if len(values) > 1:
            raise self.fail(f"{self.name}.{key} differs from layer to layer ({short(sorted(values, key=str))}), which is not understood")
        return next(iter(values), None)

    def _traits(self, kind: Kind, config: dict[str, Any]) -> None:
        """The switches of a kind, by the tensors that exist only if they are on."""
        for trait, parts in PRESENT.items():
            said = getattr(kind, trait)
            if isinstance(said, str):
                there = any(part in self.within or part in self.shapes for part in parts)
                key = said.partition("=")[0]
                config[key] = there or bool(config.get(key) is True)
        if isinstance(kind.tied, str):
            config[kind.tied.partition("=")[0]] = "output.weight" not in self.shapes
        if kind.state:
            config |= {"use_conv_bias": "ssm_conv1d.bias" in self.within, "mamba_conv_bias": "ssm_conv1d.bias" in self.within}
            config |= dict.fromkeys(("use_bias", "mamba_proj_bias"), "ssm_in.bias" in self.within)
            config["mamba_rms_norm"] = "ssm_norm.weight" in self.within

    def _attention(self, kind: Kind, config: dict[str, Any]) -> None:
        """Widths of heads: of a latent's parts, or of keys that are as wide as values."""
        heads = config.get("num_attention_heads")
        if kind.latent:
            rope, keys = self.whole_number("rope.dimension_count"), "attention.key_length_mla"
            keys = keys if self.get(keys) is not None else "attention.key_length"
            values = keys.replace("key", "value")
            out = self.shapes.get("blk.0.attn_output.weight", (0, 0))[-1]
            wide = self.whole_number(values) if self.get(values) is not None else out // heads if isinstance(heads, int) and heads else 0
            config |= {"qk_rope_head_dim": rope, "qk_nope_head_dim": self.whole_number(keys) - rope, "v_head_dim": wide}
            config.pop("head_dim", None)
            if kind.indexer:
                config["indexer_types"] = ["full" if "indexer.attn_k.weight" in parts else "shared" for parts in self.parts]
            return
        hidden, values = config.get("hidden_size"), self.get("attention.value_length")
        if "head_dim" not in config and isinstance(heads, int) and isinstance(hidden, int) and heads and not hidden % heads:
            config["head_dim"] = hidden // heads
        if values is not None and values != self.get("attention.key_length"):
            raise self.fail(f"{self.name}.attention.value_length={short(values)} is not the key_length, a mechanism that is not understood")

    def _layer_types(self, kind: Kind, config: dict[str, Any]) -> dict[str, Any]:
        """What mixes the tokens of each layer, where the tensors or a pattern say it."""
        if config["model_type"] == "nemotron_h":
            return {"hybrid_override_pattern": "".join(_letter(parts) for parts in self.parts)}
        if kind.state and not kind.parallel_state:
            return {"layer_types": ["full_attention" if "attn_output.weight" in parts else "mamba" for parts in self.parts]}
        pattern = self.get("attention.sliding_window_pattern")
        if isinstance(pattern, list) and config.get("sliding_window"):
            return {"layer_types": ["sliding_attention" if windowed else "full_attention" for windowed in pattern[: self.layers]]}
        return {}


def _letter(parts: set[str]) -> str:
    """A layer of one block, as config.json writes it."""
    return "*" if "attn_output.weight" in parts else "M" if "ssm_out.weight" in parts else "E" if "ffn_gate_inp.weight" in parts else "-"


def _nothing(file: _File, config: dict[str, Any]) -> dict[str, Any]:
    return {}


def _falcon(file: _File, config: dict[str, Any]) -> dict[str, Any]:
    """One key and value head, one per head, or groups: the third is the newer decoder."""
    kv, heads = config.get("num_key_value_heads"), config.get("num_attention_heads")
    return {"multi_query": kv == 1, "new_decoder_architecture": kv not in (1, heads) or "attn_norm_2.weight" in file.within,
            "num_ln_in_parallel_attn": 2 if "attn_norm_2.weight" in file.within else 1}  # fmt: skip


def _gemma4_layers(file: _File, config: dict[str, Any]) -> dict[str, Any]:
    """Layers of two shapes: those that attend to everything may have key and value heads of their own, and no values."""
    types, kv, ffn = file.get("attention.sliding_window_pattern"), file.get("attention.head_count_kv"), file.get("feed_forward_length")
    if not isinstance(types, list) or len(types) < file.layers or all(types):
        raise file.fail("gemma4.attention.sliding_window_pattern does not say which layers have the window")
    first, windowed = types.index(False), types.index(True) if any(types) else 0
    widths = ffn if isinstance(ffn, list) else [ffn]
    each = isinstance(kv, list) and len(kv) >= file.layers
    said = {"attention_k_eq_v": "attn_v.weight" not in file.parts[first] and "attn_k.weight" in file.parts[first],
            "num_key_value_heads": kv[windowed] if each else kv, "intermediate_size": widths[0],
            "use_double_wide_mlp": len(set(widths)) > 1, "enable_moe_block": "ffn_gate_inp.weight" in file.within}  # fmt: skip
    if each and kv[first] != kv[windowed]:
        said["num_global_key_value_heads"] = kv[first]
    if "per_layer_token_embd.weight" in file.shapes:
        said["vocab_size_per_layer_input"] = file.rows("per_layer_token_embd.weight")
    return said


def _gemma4(tensor: StoredTensor) -> StoredTensor:
    """Of Gemma 4 two parameters are called scales; by their names in config.json's world they are not taken for scales of other tensors."""
    name = tensor.name.replace("ffn_gate_inp.scale", "router.scale").replace("ffn_down_exps.scale", "router.per_expert_scale")
    return replace(tensor, name=name)


def _starcoder(file: _File, config: dict[str, Any]) -> dict[str, Any]:
    return {"multi_query": config.get("num_key_value_heads") == 1}


OWN: Mapping[str, Callable[[_File, dict[str, Any]], dict[str, Any]]] = {
    "falcon": _falcon, "gemma4": _gemma4_layers, "starcoder": _starcoder,
}  # fmt: skip
