"""A Hugging Face `config.json` as a `Model`.

One table gives the meaning of keys (`keys`), another the traits of each kind of model (`kinds`). A small reader per
mechanism turns them into layer groups. What is not understood is an error that names the file, the field and the
value. Nothing is guessed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sol.errors import BadFile, SolError, short
from sol.sources.config.keys import KEYS, NESTED
from sol.sources.config.kinds import SAME_AS
from sol.sources.config.layers import feed_forward, layer_blocks, layer_groups
from sol.sources.config.mixers import attention
from sol.sources.config.reader import Reader
from sol.sources.quantization.quantization import cache_format, weight_format
from sol.specs.blocks import Projection
from sol.specs.model import LayerGroup, Model
from sol.specs.record import Cite, Source

if TYPE_CHECKING:
    from sol.sources.quantization.linear_modules import Checkpoint

MAX_CONFIG_BYTES = 4 * 2**20
SIDE_FILE = "hf_quant_config.json"  # where ModelOpt says what it quantised


def load_config(path: Path) -> Model:
    """The model a `config.json` describes, with the `hf_quant_config.json` beside it; a folder means the `config.json` in it.

    Raises `BadFile` naming the file, the field and the value that is missing or not understood.
    """
    file = path / "config.json" if path.is_dir() else path
    config = _read(file)
    beside = file.parent / SIDE_FILE
    name = file.parent.name if file.name == "config.json" and file.parent.name else file.stem
    source = Source(title=f"{file.name} of {name}", kind="user", document=str(file))
    return read_config(config, str(file), model_id=name, source=source, side=_read(beside) if beside.is_file() else None)


def _read(file: Path) -> dict[str, Any]:
    """A JSON object on disk."""
    try:
        if file.stat().st_size > MAX_CONFIG_BYTES:
            raise BadFile(f"{file}: larger than {MAX_CONFIG_BYTES // 2**20} MiB; not a model's {file.name}")
        config = json.loads(file.read_text(encoding="utf-8"), parse_constant=_no_constant)
    except FileNotFoundError:
        raise BadFile(f"no file '{file}'; give the path of a model's config.json or the folder it is in") from None
    except OSError as error:
        raise BadFile(f"{file}: cannot be read ({error.strerror or error})") from None
    except UnicodeDecodeError:
        raise BadFile(f"{file}: is not UTF-8 text, so not a {file.name}") from None
    except (ValueError, RecursionError) as error:
        raise BadFile(f"{file}: is not valid JSON ({_first_line(error)})") from None
    if not isinstance(config, dict):
        raise BadFile(f"{file}: holds a {type(config).__name__}, not the object a {file.name} is")
    return config


def _no_constant(word: str) -> float:
    if word == "Infinity":  # real configs have it where a limit is none; no field read here may be infinite
        return float("inf")
    raise ValueError(f"{word} is not a number JSON has")


def _first_line(error: BaseException) -> str:
    return "nested too deeply" if isinstance(error, RecursionError) else str(error).splitlines()[0].lower()


def read_config(
    config: Mapping[str, Any], where: str, *, model_id: str, source: Source, hf_id: str | None = None, aliases: tuple[str, ...] = (),
    side: Any = None,
) -> Model:  # fmt: skip
    """A config's facts as a `Model`; `where` starts every complaint, `side` is a hf_quant_config.json beside it."""
    text = _language_model(config, where)
    reader, quant = Reader(text, where), config.get("quantization_config") or text.get("quantization_config")
    try:
        groups = layer_groups(reader)
        kind = reader.kind
        mtp = _prediction_layers(reader, groups)
        return Model(
            id=model_id, hidden=reader.count("hidden"), vocab=reader.count("vocab"), groups=groups, tied_embeddings=reader.said(kind.tied),
            positions=_positions(reader), embedding_vectors=kind.embedding_vectors, final_vectors=_final_vectors(reader),
            head_bias=reader.said(kind.head_bias), scalars=_scalars(reader), mtp=mtp,
            mtp_tables=kind.mtp_tables * sum(g.count for g in mtp),
            tower_parameters=_tower(config, text, where), dtype=reader.dtype(),
            quantization=_quantization(quant) or (None if side is None else "modelopt"),
            weight_format=weight_format(quant, _routers(groups), source, side, _checkpoint(reader, quant, side)),
            cache_format=cache_format(quant, side),
            max_ctx=reader.count("max_ctx") if reader.has("max_ctx") else None, hf_id=hf_id, aliases=aliases,
            cites={"architecture": Cite(value=reader.name, source=source)},
        )  # fmt: skip
    except BadFile:
        raise
    except SolError as error:
        raise BadFile(f"{where}: {error}") from None


def _language_model(config: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    """The language model's own config: nested in a multimodal one, or the config itself."""
    for key in NESTED:
        inner = config.get(key)
        if inner is None:
            continue
        if not isinstance(inner, Mapping):
            raise BadFile(f"{where}: {key}={short(inner)} is not the object it should be")
        inner = dict(_language_model(inner, where))
        outer = config.get("model_type")
        if "model_type" not in inner and isinstance(outer, str) and outer in SAME_AS:
            inner["model_type"] = outer
        for shared in ("tie_word_embeddings", "dtype", "torch_dtype"):
            if config.get(shared) is not None and (shared == "tie_word_embeddings" or inner.get(shared) is None):
                inner[shared] = config[shared]
        return inner
    return config


def _tower(config: Mapping[str, Any], text: Mapping[str, Any], where: str) -> int:
    """Parameters of everything in a multimodal checkpoint that is not the language model."""
    if text is config and not any(isinstance(config.get(key), Mapping) for key in ("vision_config", "audio_config")):
        return 0
    from sol.sources.config.towers import tower_parameters  # here: most models have none

    return tower_parameters(config, where)


def _positions(r: Reader) -> int:
    """Rows of a learned position table."""
    if r.kind.positions is None:
        return 0
    return r.count("max_ctx") + r.kind.positions


def _final_vectors(r: Reader) -> int:
    projected = r.config.get("word_embed_proj_dim")
    if projected is not None and projected != r.count("hidden"):
        raise r.fail(f"word_embed_proj_dim={short(projected)} differs from hidden_size, a mechanism that is not understood")
    if not r.said(r.kind.pre_norm) or r.flag("_remove_final_layer_norm"):  # norms after the blocks: none is left for the end
        return 0
    return r.kind.norm_vectors if r.said(r.kind.affine) else 0


def _prediction_layers(r: Reader, groups: tuple[LayerGroup, ...]) -> tuple[LayerGroup, ...]:
    """Layers for multi-token prediction: like the last layer, with a joint of twice the width and three norms more."""
    if not r.kind.mtp or not any(r.config.get(key) for key in KEYS["mtp_layers"]):
        return ()
    last = r.layers() - 1
    feed = feed_forward(r)[last]
    joint = Projection(inputs=2, tensor="embedding")  # checkpoints leave it in 16 bits, as they do tables
    blocks = (attention(r, "full", last), *(() if feed is None else (feed,)), joint)
    return (LayerGroup(count=r.count("mtp_layers"), blocks=blocks, norms=r.kind.norms + 3, norm_vectors=r.kind.norm_vectors),)


def _scalars(r: Reader) -> int:
    """The norm all layers' own inputs share."""
    key = "hidden_size_per_layer_input"
    return r.named(key) if r.kind.shapes and r.config.get(key) else 0


def _routers(groups: tuple[LayerGroup, ...]) -> int:
    return sum(g.count for g in groups if g.moe is not None)


def _checkpoint(r: Reader, quant: Any, side: Any) -> Checkpoint | None:
    """The modules a quantisation config names, where there is one."""
    if (not quant and side is None) or r.kind.layout == "listed":
        return None
    from sol.sources.quantization.linear_modules import linear_modules  # here: most models are not quantised

    return linear_modules(r.name, layer_blocks(r), r.count("hidden"), r.count("vocab"), tied=r.said(r.kind.tied))


def _quantization(quant: Any) -> str | None:
    if not quant:
        return None
    return str(quant.get("quant_method", "an unnamed method")) if isinstance(quant, Mapping) else str(quant)
