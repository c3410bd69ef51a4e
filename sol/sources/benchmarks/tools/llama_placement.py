"""Checks that a llama.cpp run used only the device, because work on the CPU is not the device's time."""

from __future__ import annotations

from sol.errors import short
from sol.sources.benchmarks.importer import Given, RawRecord, Unreadable, flag, optional_number, text
from sol.sources.database.database import built_in_model

ALL_LAYERS = 99
"""What llama.cpp's tools write for "all" (their default, until −1 came to mean it)."""


def check_placement(record: RawRecord, given: Given) -> tuple[dict[str, int | None], tuple[str, ...]]:
    """The split, if recorded, and the assumptions. Raises `Unreadable` if part of the model or cache is not on the device."""
    for key in ("no_kv_offload", "embeddings"):
        if flag(record, key):
            raise Unreadable(f"{key} is set: " + ("the cache is in host memory" if key == "no_kv_offload" else "no logits are computed"))
    if optional_number(record, "n_cpu_moe"):
        raise Unreadable(f"n_cpu_moe={short(record['n_cpu_moe'])}: experts of these layers are in host memory")
    overrides = text(record, "tensor_buft_overrides")
    if overrides not in (None, "none"):
        raise Unreadable(f"tensor_buft_overrides={short(overrides)}: tensors are placed by hand")
    backends = text(record, "backends")
    if backends is not None and "RPC" in backends:
        raise Unreadable(f"backends {short(backends)}: devices of other machines take part")
    assumes = _layers(record, given)
    devices = devices_used(record)
    if devices == 1:
        return {"tp": 1, "pp": 1}, assumes
    if devices is None or {"tp", "pp"} & given.keys():
        return {}, assumes
    raise Unreadable(f"{devices} devices, and how the model was split is not certain; pass pp= (layers) or tp= (rows)", ("pp",))


def devices_used(record: RawRecord) -> int | None:
    """Devices that took part; None where the record does not list them."""
    listed = text(record, "gpu_info")
    if "gpu_info" not in record:
        return None
    if listed is None or text(record, "split_mode") == "none":
        return 1
    chosen = text(record, "devices")
    if chosen not in (None, "auto", "none"):
        return len([d for d in chosen.split("/") if d])
    return len([n for n in listed.split(", ") if n.strip()])


def _layers(record: RawRecord, given: Given) -> tuple[str, ...]:
    """All layers and the output on the device: as many as the model has and one, or the tools' word for all."""
    layers = optional_number(record, "n_gpu_layers")
    if layers is None or text(record, "backends") in ("CPU", "BLAS") or ("gpu_info" in record and text(record, "gpu_info") is None):
        return ()
    if layers < 0:
        return ("n_gpu_layers −1 is all layers",)
    model = built_in_model(given["model"]) if "model" in given else None
    if model is not None and layers <= model.layers:
        raise Unreadable(f"n_gpu_layers={layers:g} of the {model.layers} layers of {model.id} and its output: the rest runs on the CPU")
    if not layers:
        raise Unreadable("n_gpu_layers=0: no layer is on the device")
    return () if model is not None or layers >= ALL_LAYERS else (f"n_gpu_layers {layers:g} is all layers of the model",)


def check_size(parameters: float, tolerance: float, given: Given) -> None:
    """Raise `Unreadable` where the model given by option has another number of parameters than the file's."""
    model = built_in_model(given["model"]) if "model" in given else None
    if model is None:
        return
    text_only = model.parameters - model.tower_parameters
    if all(abs(parameters - n) > tolerance * n for n in (text_only, text_only + model.mtp_parameters)):
        raise Unreadable(f"the file's model has {parameters / 1e9:.4g} billion parameters, and {model.id} {text_only / 1e9:.4g}")
