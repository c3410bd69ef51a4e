"""The tensors of a Hub repository, from the first bytes of its files: some hundred kilobytes of a checkpoint of gigabytes.

Requests go through the client's session, so that its token, endpoint and offline mode apply. Nothing is cached on disk:
headers are requested once per process, and only if the config does not give the formats.
"""

from __future__ import annotations

import re
import threading
from typing import Any, NamedTuple

from sol.errors import BadFile, HubError, short
from sol.sources.hub.huggingface import client, explained, in_time, parts
from sol.sources.tensors.safetensors_file import INDEX, header_bytes, header_tensors
from sol.sources.tensors.tensor_files import MAX_TENSORS, StoredTensor

MAX_SHARDS = 64  # each is one or two requests, one after the other
MAX_TOTAL_BYTES = 2**26
FIRST_BYTES = 2**18  # holds most headers whole, and costs no more than a shorter answer
SHARD = re.compile(r"model-[0-9]{5}-of-([0-9]{5})\.safetensors")
PART = re.compile(r"bytes ([0-9]{1,18})-[0-9]{1,18}/([0-9]{1,18})")


class Listing(NamedTuple):
    """Stored elements by dtype as the Hub read them ({} where it has not), the files that hold them, and their commit."""

    elements: dict[str, int]
    files: tuple[str, ...]
    commit: str


def fetch_listing(name: str) -> Listing | None:
    """Which safetensors a repository (`org/name` or `org/name@revision`) has, in one request; None where it has none.

    Packed formats count what is stored (eight 4-bit weights in one I32). Raises `HubError`, one line; offline too.
    """
    repo, revision = parts(name)
    hub = client()
    seconds = hub.constants.HF_HUB_DOWNLOAD_TIMEOUT
    wanted = ["safetensors", "siblings", "sha"]
    try:
        info = in_time(hub, lambda _: hub.HfApi().model_info(repo, revision=revision, timeout=seconds, expand=wanted))
    except Exception as error:
        raise explained(hub, error, name, "the list of its tensors") from None
    elements = {} if info.safetensors is None else info.safetensors.parameters
    names = [s.rfilename for s in info.siblings or ()]
    if (
        not isinstance(elements, dict)
        or not all(type(n) is int and n >= 0 for n in elements.values())
        or not all(isinstance(n, str) for n in (*names, info.sha))
    ):
        raise HubError(f"the list of tensors of {name}", "is not one", f"check HF_ENDPOINT ({hub.constants.ENDPOINT})")
    files = ["model.safetensors"] if "model.safetensors" in names and INDEX not in names else sorted(filter(SHARD.fullmatch, names))
    return Listing(dict(elements), tuple(files), info.sha) if files else None


def fetch_headers(name: str, listing: Listing) -> list[StoredTensor]:
    """Every tensor of the files listed, from their headers alone.

    Raises `HubError` where they cannot be had, `BadFile` where one is not what a safetensors file begins with.
    """
    repo, _ = parts(name)
    hub = client()
    said = {int(m[1]) for file in listing.files if (m := SHARD.fullmatch(file))} or {1}
    if said != {len(listing.files)}:
        raise HubError(name, f"has {len(listing.files)} shards of {' or '.join(map(str, sorted(said)))}", "it is not whole")
    if len(listing.files) > MAX_SHARDS:
        raise HubError(name, f"has {len(listing.files)} shards, more than the {MAX_SHARDS} whose headers are asked for")

    def read(stop: threading.Event) -> list[StoredTensor]:
        found: dict[str, StoredTensor] = {}
        left = MAX_TOTAL_BYTES
        for file in listing.files:
            where = f"{file} of {name}"
            url = hub.hf_hub_url(repo, file, revision=listing.commit)
            data, size = _part(hub, url, 0, FIRST_BYTES, stop, where)
            start = header_bytes(data[:8], size, where)
            left -= start
            if left < 0:
                raise HubError(f"the headers of {name}", f"are longer than {MAX_TOTAL_BYTES // 2**20} MiB", "they are not read")
            if start > len(data):
                data += _part(hub, url, len(data), start, stop, where)[0]
            for tensor in header_tensors(data[:start], size, where):
                if tensor.name in found:
                    raise BadFile(f"{where}:", f"tensor {short(tensor.name)} is also in another file of the checkpoint")
                found[tensor.name] = tensor
            if len(found) > MAX_TENSORS:
                raise BadFile(f"{where}:", f"more than {MAX_TENSORS} tensors so far", "not a model's checkpoint")
        return list(found.values())

    try:
        return in_time(hub, read)
    except BadFile:
        raise
    except Exception as error:
        raise explained(hub, error, name, "the headers of its tensors") from None


def _part(hub: Any, url: str, begin: int, end: int, stop: threading.Event, where: str) -> tuple[bytes, int]:
    """The bytes of a file from `begin` to `end` or its end, and its size [B]; never more, whatever is sent."""
    headers = {**hub.utils.build_hf_headers(), "Range": f"bytes={begin}-{end - 1}", "Accept-Encoding": "identity"}
    seconds = hub.constants.HF_HUB_DOWNLOAD_TIMEOUT
    with hub.utils.get_session().stream("GET", url, headers=headers, timeout=seconds, follow_redirects=True) as response:
        hub.utils.hf_raise_for_status(response)
        part = PART.fullmatch(response.headers.get("content-range", ""))
        if response.status_code != 206 or part is None or int(part[1]) != begin:
            raise HubError(f"{where}:", f"{hub.constants.ENDPOINT} does not answer with a part of the file", "check HF_ENDPOINT")
        size, data = int(part[2]), bytearray()
        for chunk in response.iter_raw():
            data += chunk
            if stop.is_set():
                raise TimeoutError("given up")
            if len(data) >= end - begin:
                break
    if len(data) < min(end, size) - begin:
        raise HubError(f"the answer for {where}", "is broken or incomplete", "try again")
    return bytes(data[: end - begin]), size
