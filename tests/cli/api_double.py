"""An API server that says what a test wants: over HTTP on the loopback, so that the real client is used."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

from speech_contract import names

Body = dict[str, Any]
JOBS = f"/apis/{names.API_VERSION}/namespaces/speech/{names.PLURAL}"
CORE = "/api/v1/namespaces/speech"


class ApiDouble:
    """Answers by path; `asked` is every request. An answer: a document, bytes, a list of chunks, or a status."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {}
        self.asked: list[tuple[str, str, dict[str, list[str]], Any, dict[str, str]]] = []
        self.url = ""

    def jobs(self, *jobs: Body) -> None:
        """These jobs are there, each with its UID, no pods, no events."""
        for job in jobs:
            job["metadata"] |= {"namespace": "speech", "uid": "uid-1"}
            self.answers[f"{JOBS}/{job['metadata']['name']}"] = job
        items = [{k: v for k, v in job.items() if k not in ("kind", "apiVersion")} for job in jobs]
        self.answers[JOBS] = {"items": items}
        self.answers.setdefault(f"{CORE}/pods", {"items": []})
        self.answers.setdefault(f"{CORE}/events", {"items": []})

    def answer(self, path: str, query: dict[str, list[str]]) -> Any:
        """What the path gets."""
        found = self.answers.get(path, 404)
        return found(query) if callable(found) else found


def status(code: int, message: str, name: str = "") -> Body:
    """A metav1.Status."""
    details = {"details": {"name": name, "group": names.GROUP}} if name else {}
    return {"kind": "Status", "code": code, "message": message, **details}


@contextmanager
def serving() -> Iterator[ApiDouble]:
    """The double on a free port of the loopback."""
    double = ApiDouble()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(double))
    server.daemon_threads = True
    double.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.01))
    thread.start()
    try:
        yield double
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def kubeconfig(path: Path, url: str, **context: str) -> Path:
    """A kubeconfig of two contexts, `here` and `other`; the first is the current one, with a token."""
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "clusters": [{"name": "c", "cluster": {"server": url}}],
        "users": [{"name": "u", "user": {"token": "secret"}}],
        "contexts": [
            {"name": "here", "context": {"cluster": "c", "user": "u", "namespace": "speech"}},
            {"name": "other", "context": {"cluster": "c", "user": "u"}},
        ],
    }
    path.write_text(yaml.safe_dump(document | context), encoding="utf-8")
    return path


def _lower(headers: Message) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _handler(double: ApiDouble) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # head and body are two writes: 40 ms a request otherwise

        def _serve(self) -> None:
            parts = urlsplit(self.path)
            query = parse_qs(parts.query)
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            double.asked.append((self.command, parts.path, query, body, _lower(self.headers)))
            self._say(double.answer(parts.path, query))

        do_GET = do_PATCH = do_POST = _serve  # noqa: N815 - http.server's names

        def _say(self, answer: Any) -> None:
            code = 200
            if isinstance(answer, int):
                code, answer = answer, b"404 page not found\n"
            elif isinstance(answer, dict) and answer.get("kind") == "Status":
                code = answer["code"]
            if isinstance(answer, list):
                return self._chunks(answer)
            data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(code)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
            return None

        def _chunks(self, chunks: list[bytes | Callable[[], None]]) -> None:
            """Chunks as an API server sends a log; a callable is run in between."""
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for chunk in chunks:
                if callable(chunk):
                    chunk()
                    continue
                self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
                self.wfile.flush()
            self.wfile.write(b"0\r\n\r\n")

        def log_message(self, *_: Any) -> None:
            """Tests are quiet."""

    return Handler
