"""A model's files from the Hugging Face Hub, through Hugging Face's own client.

The client brings the cache and its environment (HF_HOME, HF_HUB_CACHE, HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE, HF_HUB_ETAG_TIMEOUT,
HF_HUB_DOWNLOAD_TIMEOUT); none of it is done again here. Added are the three things it lacks: an end in bounded time and size, silence,
and one `HubError` line a failure. Only JSON is read; nothing remote is ever executed.
"""

from __future__ import annotations

import json
import logging
import math
import re
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from sol.errors import HubError
from sol.sources.config.config_json import MAX_CONFIG_BYTES
from sol.specs.record import Source

T = TypeVar("T")

HUB_NAME = re.compile(r"(?!.*\.\.)(?![^@]*--)(?P<repo>\w[\w.-]*/\w[\w.-]*)(?:@(?P<revision>\w[\w./+-]*))?", re.ASCII)
"""`org/name` or `org/name@revision`, to be matched whole. `..` would lead out of the cache folder, so no revision may hold it."""

COMMIT = re.compile(r"[0-9a-f]{40}")
UNSAFE = re.compile(r"[/\\:]|\.\.")
THREAD = "sol-hub"
OR_A_PATH = "or give the path of a config.json"


def fetch_json(name: str, file: str = "config.json", *, optional: bool = False) -> tuple[dict[str, Any], Path] | None:
    """The JSON object in `file` of a Hub repository, and the path of its cached copy.

    `name` is `org/name` or `org/name@revision`. With `optional`, a file the repository is known not to have is None. As in the client,
    the cache answers where the Hub cannot; offline, what it knows nothing of is an error. Raises `HubError`, one line.
    """
    repo, revision = parts(name)
    hub = client()
    offline = hub.constants.HF_HUB_OFFLINE
    known, path = _cached(hub, repo, revision, file)
    if not known or not (offline or COMMIT.fullmatch(revision)):  # a commit never changes: no need to ask again
        try:
            path = in_time(hub, lambda stop: _download(hub, repo, revision, file, stop))
        except hub.errors.RemoteEntryNotFoundError:
            path = None
        except Exception as error:
            # What the Hub says of a revision stands. Whatever else went wrong, the client takes its cached copy, and so do we.
            if not known or isinstance(error, HubError | hub.errors.RevisionNotFoundError):
                raise explained(hub, error, name, file) from None
    if path:
        return _json_object(path, f"{file} of {name}"), path
    if optional:
        return None
    raise HubError(f"no {file} in {name}", action=f"{_page(hub, name)} shows its files: give a repository that has one, {OR_A_PATH}")


def hub_source(name: str, file: str) -> Source:
    """`file` of a Hub repository as the source of what was read from it."""
    return Source(title=f"{file} of {name} on the Hugging Face Hub", kind="documentation", url=_page(client(), name, file))


def parts(name: str) -> tuple[str, str]:
    """Repository and revision of a name. Raises `HubError` for what is none."""
    match = HUB_NAME.fullmatch(name)
    if not match:
        raise HubError(f"{name!r}", "is not a name on the Hub", "give org/name or org/name@revision")
    return match["repo"], match["revision"] or "main"


def _page(hub: Any, name: str, file: str | None = None) -> str:
    """Where a person looks at a file, or at the list of files."""
    repo, revision = parts(name)
    return f"{hub.constants.ENDPOINT}/{repo}/" + (f"blob/{revision}/{file}" if file else f"tree/{revision}")


def client() -> Any:
    """The huggingface_hub package, imported by the first call that needs it, with its log messages kept off stderr for our calls."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import huggingface_hub
            import huggingface_hub.constants
            import huggingface_hub.errors
            import huggingface_hub.utils.logging  # puts up the handler that is filtered below
    except ImportError:
        raise HubError("models on the Hub", "need the package huggingface_hub", "pip install huggingface_hub") from None
    except ValueError as error:  # it reads its environment when imported: HF_HUB_ETAG_TIMEOUT=soon
        raise HubError("huggingface_hub", f"does not start ({_line(error)})", "check the environment variables HF_*") from None
    for handler in logging.getLogger("huggingface_hub").handlers:
        handler.addFilter(_not_ours)  # once: a filter that is there is not added again
    hub: ModuleType = huggingface_hub
    return hub


def _not_ours(record: logging.LogRecord) -> bool:
    # By thread, not by level: the user's own calls of the client keep their messages, and a call given up stays silent to its end.
    return record.threadName != THREAD


def _cached(hub: Any, repo: str, revision: str, file: str) -> tuple[bool, Path | None]:
    """Whether the cache knows of the file, and its copy; known without a copy, the repository has no such file."""
    try:
        found = hub.try_to_load_from_cache(repo, file, revision=revision)  # reads the disk only, where hf_hub_download may ask around
    except Exception as error:
        raise explained(hub, error, f"{repo}@{revision}", file) from None
    return found is not None, Path(found) if isinstance(found, str) else None


def _download(hub: Any, repo: str, revision: str, file: str, stop: threading.Event) -> Path:
    """The file in the client's cache, fetched if the Hub has a newer one."""

    class Guard(hub.utils.tqdm):  # type: ignore[misc]  # the client's one hook into a running download
        received: float = 0

        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **{**options, "disable": True})
            self.update(0)

        def update(self, n: float | None = 1) -> bool | None:
            self.received += n or 0
            if stop.is_set():
                raise TimeoutError("given up")
            if self.received > MAX_CONFIG_BYTES:
                raise _too_large(f"{file} of {repo}", None)
            return None

    try:
        # Asked for first, and once: hf_hub_download itself repeats this request for minutes when it fails, and does not look at the size.
        seen = hub.get_hf_file_metadata(hub.hf_hub_url(repo, file, revision=revision), timeout=hub.constants.HF_HUB_ETAG_TIMEOUT)
        size_bytes, ids = seen.size, [seen.etag, seen.commit_hash]
    except hub.errors.RemoteEntryNotFoundError as error:  # asked again below, where the client writes down that there is no such file
        size_bytes, ids = None, [error.response.headers.get("X-Repo-Commit")]
    if any(i and UNSAFE.search(i) for i in ids):  # the client makes file names of them, unchecked
        raise HubError(f"{file} of {repo}:", f"{hub.constants.ENDPOINT} names a path outside the cache", f"check HF_ENDPOINT, {OR_A_PATH}")
    if size_bytes is not None and size_bytes > MAX_CONFIG_BYTES:
        raise _too_large(f"{file} of {repo}", size_bytes)
    return Path(hub.hf_hub_download(repo, file, revision=revision, tqdm_class=Guard))


def _too_large(what: str, size_bytes: int | None) -> HubError:
    said = "" if size_bytes is None else f" ({size_bytes} bytes)"
    return HubError(what, f"is larger than {MAX_CONFIG_BYTES // 2**20} MiB{said}", "not a model's configuration, so it is not read")


def in_time(hub: Any, work: Callable[[threading.Event], T]) -> T:
    """What `work` returns or raises, or TimeoutError after the client's two timeouts added up.

    In a thread, since the client's timeouts hold for one read: a server that drips, a name server that hangs and five retries are not
    bounded by them. A thread given up ends at its next chunk or retry, and never keeps the process alive.
    """
    stop = threading.Event()
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work(stop))
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, name=THREAD, daemon=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        thread.start()
        thread.join(hub.constants.HF_HUB_ETAG_TIMEOUT + hub.constants.HF_HUB_DOWNLOAD_TIMEOUT)
    if thread.is_alive():
        stop.set()
        raise TimeoutError
    if errors:
        raise errors[0]
    return results[0]


def explained(hub: Any, error: Exception, name: str, file: str) -> HubError:
    """The client's exception as one line: what was asked · what is true · what to do."""
    if isinstance(error, HubError):
        return error
    if isinstance(error, hub.errors.LocalEntryNotFoundError) and isinstance(error.__cause__, Exception):
        error = error.__cause__  # "an error happened": this one
    endpoint, why = hub.constants.ENDPOINT, _line(error)
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if "HfHubHTTPError" in kinds:
        return HubError(_refused(hub, error, kinds, name))
    reasons = (
        # By the names of classes: the HTTP library below the client has changed twice (requests, httpx, httpx2). First match wins.
        ({"HFValidationError"}, f"is not a name on the Hub ({why}); give org/name or org/name@revision"),
        ({"OfflineModeIsEnabled"}, f"{file} is not in the cache, and HF_HUB_OFFLINE is set; unset HF_HUB_OFFLINE"),
        (
            {"TimeoutError", "TimeoutException", "Timeout"},
            f"no whole {file} from {endpoint} in time; try again, raise HF_HUB_ETAG_TIMEOUT ({hub.constants.HF_HUB_ETAG_TIMEOUT} s) "
            f"and HF_HUB_DOWNLOAD_TIMEOUT ({hub.constants.HF_HUB_DOWNLOAD_TIMEOUT} s)",
        ),
        ({"ConnectError", "ConnectionError", "ProxyError"}, f"cannot reach {endpoint} ({why}); check the network and HF_ENDPOINT"),
        (
            {"ProtocolError", "NetworkError", "DecodingError", "ChunkedEncodingError"}
            | ({"OSError"} if "consistency check" in why else set()),
            f"the answer for {file} from {endpoint} is broken or incomplete; try again",
        ),
        (
            {"FileMetadataError", "InvalidURL", "UnsupportedProtocol", "TooManyRedirects", "JSONDecodeError", "KeyError", "TypeError"},
            f"{endpoint} does not answer as a Hugging Face Hub does ({why}); check HF_ENDPOINT",
        ),
        ({"OSError"}, f"{file} cannot be kept in {hub.constants.HF_HUB_CACHE} ({why}); set HF_HOME to a folder that can be written"),
        ({"Exception"}, f"asking {endpoint} for {file} failed ({type(error).__name__}: {why}); try again"),
    )
    return HubError(f"{name}:", f"{next((text for names, text in reasons if kinds & names))}, {OR_A_PATH}")


def _refused(hub: Any, error: Any, kinds: set[str], name: str) -> str:
    """An answer with a status that is no success."""
    repo, revision = parts(name)
    response, endpoint = error.response, hub.constants.ENDPOINT
    status, page, wait = response.status_code, f"{endpoint}/{repo}", response.headers.get("retry-after", "")
    token = "authorization" in response.request.headers
    wait = f"{wait} s" if wait.isdecimal() else "some minutes"
    missing = "RepositoryNotFoundError" in kinds or (status == 401 and not token)
    account = "with the account of your HF_TOKEN" if token else "and set HF_TOKEN"
    reasons = (
        ("GatedRepoError" in kinds, f"{name} is gated; accept its licence at {page} {account}, {OR_A_PATH}"),
        ("RevisionNotFoundError" in kinds, f"no revision '{revision}' of {repo}; {page}/tree/main lists its branches and tags"),
        (
            missing,
            f"no model '{repo}' on {endpoint}, or it is private; check the spelling or set HF_TOKEN"
            + (" to one of an account that may read it" if token else ""),
        ),
        (status == 401, f"{name}: {endpoint} does not accept your token; set HF_TOKEN to one from {endpoint}/settings/tokens, or unset it"),
        (status in (403, 451), f"{name}: access is refused ({status}); check on {page} that your HF_TOKEN may read it, {OR_A_PATH}"),
        (status == 429, f"{name}: too many requests to {endpoint} (429); wait {wait}" + ("" if token else ", or set HF_TOKEN")),
        (status >= 500, f"{name}: {endpoint} is failing ({status}); try again later, {OR_A_PATH}"),
        (True, f"{name}: {endpoint} answers {status} and does not say why; check HF_ENDPOINT, {OR_A_PATH}"),
    )
    return next(text for applies, text in reasons if applies)


def _line(error: BaseException) -> str:
    """The first line of a foreign message, safe to print: it may hold what a server sent."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    text = "".join(c for c in lines[0] if c.isprintable())
    return text[:1].lower() + text[1:160]


def _json_object(path: Path, what: str) -> dict[str, Any]:
    try:
        size_bytes = path.stat().st_size
        if size_bytes > MAX_CONFIG_BYTES:
            raise _too_large(what, size_bytes)
        value = json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_number, parse_float=_finite)
    except OSError as error:
        raise HubError(f"{what}:", f"{path} cannot be read ({_line(error)})") from None
    except UnicodeDecodeError:
        raise HubError(what, "is not UTF-8 text, so not JSON", OR_A_PATH[3:]) from None
    except (ValueError, RecursionError) as error:
        why = "nested too deeply" if isinstance(error, RecursionError) else _line(error)
        raise HubError(what, f"is not valid JSON ({why})", OR_A_PATH[3:]) from None
    if not isinstance(value, dict):
        raise HubError(what, f"holds a {type(value).__name__}, not the object a configuration is", OR_A_PATH[3:])
    return value


def _no_number(word: str) -> float:
    raise ValueError(f"it holds {word}, which is not a number JSON has")


def _finite(digits: str) -> float:
    value = float(digits)
    return value if math.isfinite(value) else _no_number(digits[:20])
