"""A Hugging Face Hub on loopback: the routes and headers its client uses, and every way they can go wrong.

`/{repo}/resolve/{revision}/{file}` redirects to a path of the same server for small files, or to another server's (a CDN) for large ones;
`/api/models/{repo}/revision/{revision}` describes a repository. What each repository does is a `Repo`.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
AN_HOUR_S = 3600.0


@dataclass
class Repo:
    """What one repository holds, and how the server misbehaves when asked for it."""

    files: dict[str, bytes] = field(default_factory=dict)
    revisions: dict[str, str] = field(default_factory=lambda: {"main": COMMIT, COMMIT: COMMIT})
    safetensors: Any = None
    siblings: Any = None  # in place of the names of the files
    api: bytes | None = None  # in place of the API's JSON
    status: int = 200  # anything else is answered at once, to every request
    code: str | None = None  # X-Error-Code
    message: str | None = None  # X-Error-Message
    headers: dict[str, str] = field(default_factory=dict)
    slow: str | None = None  # the method (HEAD or GET) that is never answered
    drip: bool = False  # the body comes one byte a tenth of a second
    cut: bool = False  # the connection closes in the middle of the body
    endless: bool = False  # the body has no declared length and no end
    declared: int | None = None  # the length HEAD declares, whatever it is
    etag: str | None = None  # in place of the hash of the body
    anonymous: bool = False  # neither commit nor ETag: not a Hub
    cut_parts: bool = False  # the connection closes in the middle of a range, of bodies asked for whole never
    deaf: bool = False  # a range is not answered: the whole body is
    sparse_bytes: int = 0  # zeros after the body of every .safetensors, which are declared and never kept


class HubServer(ThreadingHTTPServer):
    """The server; `with HubServer(repos) as hub:` runs it, `hub.log` holds (method, path, Authorization) of every request."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, repos: dict[str, Repo], cdn: HubServer | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repos, self.cdn = repos, cdn
        self.log: list[tuple[str, str, str | None]] = []
        self.sent_bytes = 0
        self.closing = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    def __enter__(self) -> HubServer:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self.shutdown()
        self.server_close()
        self.thread.join()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients hang up on purpose here."""

    def paths(self, method: str = "HEAD") -> list[str]:
        return [path for asked, path, _ in self.log if asked == method]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: HubServer

    def do_HEAD(self) -> None:
        self.route()

    def do_GET(self) -> None:
        self.route()

    def log_message(self, *_: Any) -> None:
        pass

    def route(self) -> None:
        path = urlsplit(self.path).path
        self.server.log.append((self.command, path, self.headers.get("Authorization")))
        parts = path.strip("/").split("/")
        if path == "/api/agent-harnesses":  # the client asks this before anything else, to fill its User-Agent
            self.answer(200, b'{"standardEnvVars": [], "harnesses": {}}')
        elif parts[:2] == ["api", "models"] and len(parts) >= 4:
            self.guarded("/".join(parts[2:4]), unquote(parts[5]) if parts[4:5] == ["revision"] else "main", None)
        elif parts[:3] == ["api", "resolve-cache", "models"] or parts[:1] == ["cdn"]:
            self.guarded("/".join(parts[-4:-2]), parts[-2], parts[-1], final=True)
        elif parts[2:3] == ["resolve"] and len(parts) == 5:
            self.guarded("/".join(parts[:2]), unquote(parts[3]), parts[4])
        else:
            self.refuse(404, None, None)

    def guarded(self, name: str, revision: str, file: str | None, *, final: bool = False) -> None:
        """What is refused before the file is looked at, then the file or the API's JSON."""
        repo = self.server.repos.get(name)
        if repo is None:  # as the real Hub: 401 to a stranger, who may only lack the right
            known = self.headers.get("Authorization") is not None
            self.refuse(404 if known else 401, "RepoNotFound", "Repository not found")
        elif repo.slow == self.command:
            self.server.closing.wait(AN_HOUR_S)
            self.close_connection = True
        elif repo.status != 200:
            self.refuse(repo.status, repo.code, repo.message, repo.headers)
        elif (commit := repo.revisions.get(revision)) is None:
            self.refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        elif file is None:
            listed = [{"rfilename": file} for file in repo.files] if repo.siblings is None else repo.siblings
            info = {"_id": "1", "id": name, "sha": commit, "siblings": listed}
            info |= {"safetensors": repo.safetensors} if repo.safetensors is not None else {}
            self.answer(200, json.dumps(info).encode() if repo.api is None else repo.api)
        elif file not in repo.files:
            self.refuse(404, "EntryNotFound", "Entry not found", {"X-Repo-Commit": commit})
        else:
            self.deliver(repo, name, commit, file, final)

    def deliver(self, repo: Repo, name: str, commit: str, file: str, final: bool) -> None:
        body = repo.files[file]
        etag = f'"{repo.etag or hashlib.sha1(body).hexdigest()}"'
        headers = {} if repo.anonymous else {"X-Repo-Commit": commit, "ETag": etag}
        sized = {**headers, "Content-Length": str(len(body))}
        if not final:
            cdn = self.server.cdn
            where = f"{cdn.url}/cdn" if cdn else "/api/resolve-cache/models"
            linked = {"X-Linked-ETag": etag, "X-Linked-Size": str(len(body))} if cdn else {}
            self.answer(302 if cdn else 307, b"", {**headers, **linked, "Location": f"{where}/{name}/{commit}/{file}"})
        elif self.command == "HEAD":
            length = len(body) if repo.declared is None else repo.declared
            self.answer(200, b"", headers, length=None if repo.endless and repo.declared is None else length)
        elif repo.endless:
            self.pour(headers)
        elif (asked := re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))) and not repo.deaf:
            self.part(repo, body, int(asked[1]), int(asked[2]) + 1, headers)
        elif repo.drip:
            self.start(200, sized)
            for i in range(len(body)):
                if not self.server.closing.wait(0.1):
                    self.wfile.write(body[i : i + 1])
        elif repo.cut:
            self.start(200, sized)
            self.wfile.write(body[: len(body) // 2])
            self.close_connection = True
        else:
            self.answer(200, body, headers)

    def part(self, repo: Repo, body: bytes, begin: int, end: int, headers: dict[str, str]) -> None:
        size = len(body) + repo.sparse_bytes
        end = min(end, size)
        data = body[begin:end] + bytes(end - max(begin, min(end, len(body))))
        said = {"Connection": "close"} if repo.cut_parts else {"Content-Length": str(len(data))}  # a length would give it away
        self.start(206, {**headers, "Content-Range": f"bytes {begin}-{end - 1}/{size}", **said})
        sent = data[: len(data) // 2] if repo.cut_parts else data
        for i in range(0, len(sent), 1 if repo.drip else len(sent)):
            if not (repo.drip and self.server.closing.wait(0.1)):
                self.wfile.write(sent[i : i + 1] if repo.drip else sent)
        self.server.sent_bytes += len(sent)
        self.close_connection = repo.cut_parts

    def pour(self, headers: dict[str, str]) -> None:
        self.start(200, {**headers, "Connection": "close"})
        block = b" " * 65536
        while not self.server.closing.is_set():
            self.wfile.write(block)
            self.server.sent_bytes += len(block)

    def refuse(self, status: int, code: str | None, message: str | None, headers: dict[str, str] | None = None) -> None:
        said = {"X-Error-Code": code, "X-Error-Message": message}
        self.answer(status, json.dumps({"error": message}).encode(), {**(headers or {}), **{k: v for k, v in said.items() if v}})

    def start(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("X-HF-Warning", f"{threading.get_ident()}; you are sending unauthenticated requests")  # the client logs it
        self.end_headers()

    def answer(self, status: int, body: bytes, headers: dict[str, str] | None = None, *, length: int | None = -1) -> None:
        """A whole answer; `length` overrides Content-Length (None: not said)."""
        said = {} if length is None else {"Content-Length": str(len(body) if length == -1 else length)}
        self.start(status, {**(headers or {}), **said})
        if self.command != "HEAD":
            self.wfile.write(body)
