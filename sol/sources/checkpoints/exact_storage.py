"""A model as its checkpoint stores it: the architecture a config describes, the bytes its tensors take.

The two must agree on the elements of every part; otherwise an error says so. Tensors that no step needs are left out,
with a note: buffers, a second copy of a tied table, the zero biases that early GPTQ writers add to layers without
biases, layers for multi-token prediction that no config describes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sol.errors import BadFile, short
from sol.sources.checkpoints.tensor_counts import classed
from sol.sources.tensors.tensor_files import StoredTensor
from sol.sources.tensors.tensor_names import is_token_table, scaled, tensor_class
from sol.specs.formats import FAMILY, NumberFormat
from sol.specs.model import Model
from sol.specs.record import Cite, Source

QKV = ("q_proj", "k_proj", "v_proj")
SIXTEEN = {"BF16": "bf16", "F16": "fp16"}
PACKED = {"U8", "I8", "U16", "I16", "U32", "I32", "U64", "I64"}  # containers of several weights, or of one of 8 bits
WIDEST = 8  # bits of a weight in a container


@dataclass
class StoredPart:
    """What is stored of a part: bytes, scales included, elements, bits of packed weights, and the bytes of weights and scales by dtype."""

    bytes: int = 0
    elements: int = 0
    packed_bits: int = 0
    weights: Counter[str] = field(default_factory=Counter)
    scales: Counter[str] = field(default_factory=Counter)

    def add(self, tensor: StoredTensor, is_scale: bool) -> None:
        """Count one more tensor."""
        self.bytes += tensor.bytes
        (self.scales if is_scale else self.weights)[tensor.dtype] += tensor.bytes
        if tensor.dtype in PACKED:
            self.packed_bits += 0 if is_scale else 8 * tensor.bytes
        else:
            self.elements += 0 if is_scale else tensor.elements

    @property
    def least_elements(self) -> int:
        """Elements if every packed one has the most bits a packed one can have."""
        return self.elements + self.packed_bits // WIDEST


def as_stored(model: Model, tensors: Iterable[StoredTensor], where: str, source: Source, made: Mapping[str, Any] | None = None) -> Model:
    """`model` with the weight format its tensors have, exact to the byte; with none where all are in 16 bits, which is the plain format.

    `made`: what no header says of the format (id, name, compute, otherwise); by default as the config describes
    it, or as the dtypes suggest. Raises `BadFile` naming the part, both counts and the file.
    """
    parts, left_out = _parts(model, list(tensors), where)
    model = _with_what_is_there(model, parts, left_out)
    counts = _counts(model)
    one = dict.fromkeys(QKV, "q_proj") if _fused(parts, counts) else {}
    together: dict[str, list[str]] = {}
    for part in sorted({*parts, *(p for p in counts if counts[p])}):
        together.setdefault(one.get(part, part), []).append(part)
    bits: dict[str, float] = {}
    for names in together.values():
        bits |= dict.fromkeys((p for p in names if counts[p]), _agreed(names, parts, counts, model, where))
    dtypes = sum((h.weights + h.scales for h in parts.values()), Counter[str]())
    note = "left out: " + ", ".join(f"{n:,} B of {what}" for what, n in left_out.items()) if left_out else ""
    cites = {**model.cites, "tensors": Cite(value=f"{sum(h.bytes for h in parts.values()):,} B", source=source, note=note or None)}
    update: dict[str, Any] = {"storage_note": note, "cites": cites}
    if set(dtypes) <= set(SIXTEEN):
        plain = SIXTEEN[max(dtypes, key=lambda d: dtypes[d])]
        return model.model_copy(update={**update, "dtype": plain, "quantization": None, "weight_format": None})
    main = [p for p in bits if p not in ("mtp", "tower")]
    fields = _described(model, parts) if made is None else made
    average = sum(bits[p] * counts[p] for p in main) / sum(counts[p] for p in main)
    fmt = NumberFormat(**fields, bits=average, covers=tuple(bits), class_bits=bits, source=source)
    return model.model_copy(update={**update, "weight_format": fmt})


def _parts(model: Model, tensors: list[StoredTensor], where: str) -> tuple[dict[str, StoredPart], Counter[str]]:
    """What is stored of each part, and the bytes of tensors without a part [B]."""
    parts: dict[str, StoredPart] = {}
    left_out: Counter[str] = Counter()
    zeros = _zero_biases(model, tensors)
    for tensor, kind in classed(tensors):
        part = scaled(tensor.name) if kind == "scale" else kind
        if part == "unknown":
            raise BadFile(f"{where}: tensor {short(tensor.name)} belongs to no known part of a model (sol show lists the parts)")
        if part == "embedding" and model.tied_embeddings and is_token_table(tensor.name):
            part = "lm_head"  # stored once, and read as the head
        elif part == "lm_head" and model.tied_embeddings:
            part = "copy"
        if part is None or part == "buffer" or tensor.name in zeros:
            what = "scales of no weight" if part is None else "buffers" if part == "buffer" else "biases of layers that have none"
            left_out[what] += tensor.bytes
            continue
        parts.setdefault(part, StoredPart()).add(tensor, kind == "scale")
    return parts, left_out


def _zero_biases(model: Model, tensors: list[StoredTensor]) -> set[str]:
    """Biases beside packed weights of classes that have none; engines skip them too."""
    packed = {t.name.removesuffix(".qweight") for t in tensors if t.name.endswith(".qweight")}
    biased = {m.tensor for g in model.groups for b in g.blocks for m in b.matrices(model.hidden) if m.biases}
    return {f"{name}.bias" for name in packed if tensor_class(f"{name}.weight") not in biased}


def _with_what_is_there(model: Model, parts: dict[str, StoredPart], left_out: Counter[str]) -> Model:
    """The model with the tower and the prediction layers that are stored; of a tied table stored twice, one."""
    copy, tower, ahead = parts.pop("copy", None), parts.get("tower"), parts.get("mtp")
    if copy is not None and "lm_head" in parts and copy.elements == parts["lm_head"].elements:
        left_out["a second copy of the tied table"] += copy.bytes
    elif copy is not None:
        parts["lm_head"] = copy
    update: dict[str, Any] = {"tower_parameters": tower.least_elements if tower else 0}
    if ahead is None:
        update |= {"mtp": (), "mtp_tables": 0}
    elif not model.mtp:
        left_out["layers for multi-token prediction that its config does not describe"] += parts.pop("mtp").bytes
    else:  # with as many tables of their own as are stored
        tables, rest = divmod(ahead.elements - model.mtp_parameters, model.embedding_elements)
        update |= {"mtp_tables": max(0, model.mtp_tables + tables)} if not rest and not ahead.packed_bits else {}
    return model.model_copy(update=update)


def _counts(model: Model) -> Counter[str]:
    """The model's own elements, part by part."""
    counts: Counter[str] = Counter({"mtp": model.mtp_parameters, "tower": model.tower_parameters})
    for (tensor, _), elements in model.elements.items():
        counts[tensor] += elements
    return counts


def _fused(parts: Mapping[str, StoredPart], counts: Counter[str]) -> bool:
    """Whether queries, keys and values are stored in one tensor, and so have one average."""
    held = {p: parts.get(p, StoredPart()) for p in QKV}
    return any((h.elements != counts[p] and not h.packed_bits) or (counts[p] and not h.bytes) for p, h in held.items())


def _agreed(names: list[str], parts: Mapping[str, StoredPart], counts: Counter[str], model: Model, where: str) -> float:
    """Bits per element of parts taken together. Raises `BadFile` where their tensors are not the model's, as far as packed ones tell."""
    held, count, known = [parts[p] for p in names if p in parts], sum(counts[p] for p in names), model.weight_format
    elements, packed_bits = sum(h.elements for h in held), sum(h.packed_bits for h in held)
    width = packed_bits / (count - elements) if count > elements else 0.0
    only = known.bits if known is not None and not (elements or known.mix) and all(map(known.covering, names)) else None
    if count and ((width == only if only else 1 <= width <= WIDEST) if packed_bits else count == elements):
        return 8 * sum(h.bytes for h in held) / count
    packed = f" and {packed_bits // 8:,} B of packed ones" if packed_bits else ""
    raise BadFile(f"{where}: its tensors hold {elements:,} elements{packed} of {' + '.join(names)}, its architecture has {count:,}; "
                  "they are of two models, or of a mechanism that sol does not understand")  # fmt: skip


def _described(model: Model, parts: Mapping[str, StoredPart]) -> dict[str, Any]:
    """Name and compute of the format: as the config describes it, else as the dtypes of matrices and their scales suggest."""
    known = model.weight_format
    if known is not None:
        return {"id": known.id, "name": known.name, "compute": known.compute, "otherwise": known.otherwise}
    matrices = [h for p, h in parts.items() if p in FAMILY]
    weights, scales = (sum((getattr(h, kind) for h in matrices), Counter[str]()) for kind in ("weights", "scales"))
    every = sum((h.weights for h in parts.values()), Counter[str]())
    most = max(weights, key=lambda d: weights[d])
    otherwise: str | None = "16-bit"
    if most == "F4" or (most == "U8" and {"U8", "F8_E8M0", "F8_E4M3"} & set(scales) and model.quantization != "bitsandbytes"):
        compute = "fp4"
    elif most.startswith("F8"):
        compute, otherwise = "fp8", None if scales else "16-bit"
    else:
        compute, otherwise = ("int8", "16-bit") if most == "I8" else ("16-bit", None)
    dtypes = [d for d, _ in every.most_common()]
    name = model.quantization or "-".join(dtypes[:2])
    return {"id": name.lower().replace("_", "-"), "name": f"as stored: {', '.join(dtypes)}", "compute": compute, "otherwise": otherwise}
