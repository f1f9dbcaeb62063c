"""A small client of a test cluster's API server, and waiting for what it says.

Tests of the product use the product's own client; this one brings the bed up and sets scenes.
"""

import json
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

Body = dict[str, Any]
T = TypeVar("T")
APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"


class ApiError(Exception):
    """An answer other than 2xx; `status` is its code."""

    def __init__(self, method: str, path: str, status: int, message: str) -> None:
        super().__init__(f"{method} {path}: {status} {message}")
        self.status = status


class Api:
    """Speaks as the user whose certificate lies in `pki` under the name `user`."""

    def __init__(self, url: str, pki: Path, user: str = "admin") -> None:
        self.url = url
        self._pki = pki
        self._headers: dict[str, str] = {}
        self._context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
        if user:
            self._context.load_cert_chain(pki / f"{user}.crt", pki / f"{user}.key")

    def with_token(self, token: str) -> "Api":
        """The same API server, spoken to as the owner of a token."""
        other = Api(self.url, self._pki, user="")
        other._headers = {"Authorization": f"Bearer {token}"}
        return other

    def text(
        self,
        method: str,
        path: str,
        body: object = None,
        content_type: str = "application/json",
        seconds: float = 30.0,
    ) -> str:
        """The answer's body. Raises ApiError, or OSError when no answer comes."""
        request = urllib.request.Request(
            self.url + path,
            data=None if body is None else json.dumps(body).encode(),
            method=method,
            headers={"Content-Type": content_type, **self._headers},
        )
        try:
            with urllib.request.urlopen(request, context=self._context, timeout=seconds) as answer:
                return str(answer.read().decode())
        except urllib.error.HTTPError as error:
            with error:
                message = error.read().decode(errors="replace")[:2000]
            raise ApiError(method, path, error.code, message) from None

    def get(self, path: str) -> Body:
        return self._object("GET", path)

    def find(self, path: str) -> Body | None:
        """Like `get`, None where there is nothing."""
        try:
            return self.get(path)
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def post(self, path: str, body: Body) -> Body:
        return self._object("POST", path, body)

    def patch(self, path: str, body: object, content_type: str = MERGE) -> Body:
        return self._object("PATCH", path, body, content_type)

    def apply(self, path: str, body: Body) -> Body:
        """Server-side apply, as the field manager `bed`, conflicts won."""
        return self._object("PATCH", f"{path}?fieldManager=bed&force=true", body, APPLY)

    def delete(self, path: str) -> Body:
        return self._object("DELETE", path)

    def _object(
        self, method: str, path: str, body: object = None, content_type: str = "application/json"
    ) -> Body:
        answer: Body = json.loads(self.text(method, path, body, content_type))
        return answer


def wait_for(
    what: str, look: Callable[[], T | None], seconds: float = 60.0, every: float = 0.05
) -> T:
    """The first true value that `look` returns.

    A refused connection and an error of the API count as "not yet". Raises TimeoutError with the
    last of them.
    """
    deadline = time.monotonic() + seconds
    last: object = None
    while time.monotonic() < deadline:
        try:
            if found := look():
                return found
            last = found
        except (OSError, ApiError) as error:
            last = error
        time.sleep(every)
    raise TimeoutError(f"waited {seconds:.0f} s for {what}; last: {last!r}")


def is_ready(body: Body | None) -> bool:
    """Whether a Node or a Pod carries the condition Ready=True."""
    conditions = (body or {}).get("status", {}).get("conditions", [])
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)
