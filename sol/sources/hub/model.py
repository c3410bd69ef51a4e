"""A model of the Hugging Face Hub: its config.json, and the headers of its tensors where the config does not say how they are stored."""

from __future__ import annotations

from typing import Any

from sol.errors import HubError
from sol.sources.config.config_json import SIDE_FILE, read_config
from sol.sources.hub.huggingface import fetch_json, hub_source
from sol.specs.model import Model


def load_hub(name: str) -> Model:
    """The model of a repository: `org/name`, or `org/name@revision`.

    A config with a 16-bit dtype and no quantisation is enough. Otherwise the headers of its safetensors decide. If they
    cannot be read, the config decides, and the model's `storage_note` says why.
    Raises `HubError` and `BadFile`, one line each.
    """
    found = fetch_json(name)
    assert found is not None  # only an optional file may be absent
    source = hub_source(name, "config.json")
    side = None if found[0].get("quantization_config") else _beside(name)
    model = read_config(found[0], f"config.json of {name}", model_id=name, hf_id=name, source=source, side=side)
    if model.quantization is None and model.dtype in ("bf16", "fp16"):
        return model
    from sol.sources.checkpoints.exact_storage import SIXTEEN, as_stored
    from sol.sources.hub.headers import fetch_headers, fetch_listing  # here: most models need neither

    try:
        listing = fetch_listing(name)
        if listing is None:
            raise HubError("there are no safetensors")
        if listing.elements and set(listing.elements) <= set(SIXTEEN):
            plain = SIXTEEN[max(listing.elements, key=lambda d: listing.elements[d])]
            return model.model_copy(update={"dtype": plain, "quantization": None, "weight_format": None})
        tensors = fetch_headers(name, listing)
    except HubError as error:
        return model.model_copy(update={"storage_note": f"weight formats from the config, not from the headers of the tensors: {error}"})
    return as_stored(model, tensors, f"the tensors of {name}", hub_source(name, listing.files[0]))


def _beside(name: str) -> dict[str, Any] | None:
    """What ModelOpt says it quantised, where only a file of its own says so; None where there is none, or it cannot be had."""
    try:
        found = fetch_json(name, SIDE_FILE, optional=True)
    except HubError:
        return None
    return None if found is None else found[0]
