"""The one edge of the CLI to a cluster: plain dicts over the raw path of the package `kubernetes`.

Called by `cluster_place`. The package is imported when a command needs a cluster, so that local runs do without
it; every refusal of the API server becomes a ClusterProblem with a sentence and a remedy.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

from speech_cli.errors import ClusterProblem
from speech_cli.extras import lazily
from speech_contract import names
from speech_contract.values import Value, frozen

EXTRA: Final = "cli"
KUBECONFIG: Final = "KUBECONFIG"  # kubectl's own variable
DEFAULT_KUBECONFIG: Final = "~/.kube/config"
DEFAULT_NAMESPACE: Final = "default"
CONNECT_SECONDS: Final = 5.0
READ_SECONDS: Final = 30.0
PAGE: Final = 500
MERGE: Final = "application/merge-patch+json"
JSON: Final = "application/json"

Body = dict[str, Any]


class NotFound(ClusterProblem):
    """404: the object is not there."""


class Forbidden(ClusterProblem):
    """403: the person may not do it."""


@frozen
class Access(Value):
    """What the options say about the way to a cluster; empty = as kubectl would do."""

    context: str = ""
    kubeconfig: str = ""

    @property
    def config(self) -> str:
        """The kubeconfig file or files."""
        return self.kubeconfig or os.environ.get(KUBECONFIG) or DEFAULT_KUBECONFIG

    @property
    def configured(self) -> bool:
        """Whether there is a kubeconfig at all; imports nothing."""
        return any(Path(p).expanduser().exists() for p in self.config.split(os.pathsep) if p)


class ClusterClient:
    """A few verbs on a cluster. Every method raises ClusterProblem."""

    def __init__(self, api: Any, host: str, context: str, namespace: str) -> None:
        self.context = context
        self.namespace = namespace  # the context's own
        self._api = api
        self._host = host.rstrip("/")
        self._http_error: type[Exception] = lazily("urllib3.exceptions", EXTRA).HTTPError
        self._api_error: type[Exception] = lazily("kubernetes.client", EXTRA).ApiException

    def get(self, path: str, query: Mapping[str, Any] | None = None) -> Body:
        """The object at a path of the API. Raises NotFound, Forbidden."""
        return self._json("GET", f"{path}?{urlencode(query)}" if query else path)

    def every(self, path: str, query: Mapping[str, Any] | None = None) -> list[Body]:
        """The items of a list at a path of the API, over all of its pages. Raises NotFound, Forbidden."""
        return self._list(path, query)

    def create(self, path: str, body: Body) -> Body:
        """What the API server made of a new object. Raises Forbidden and what the server refuses."""
        return self._json("POST", path, body)

    def submit(self, namespace: str, job: Mapping[str, Any]) -> Body:
        """Create a job."""
        return self.create(jobs_path(namespace), dict(job))

    def date(self) -> str:
        """The API server's own clock, as its answers tell it (RFC 9110, `Date`); "" where it says nothing."""
        answer = self._send("GET", "/version", None, (CONNECT_SECONDS, READ_SECONDS))
        answer.read()
        return str(answer.headers.get("Date") or "")

    def job(self, namespace: str, name: str) -> Body:
        """One job. Raises NotFound."""
        return self._json("GET", f"{jobs_path(namespace)}/{name}")

    def jobs(self, namespace: str) -> list[Body]:
        """Every job of a namespace; "": of all of them."""
        return self._list(jobs_path(namespace))

    def suspend(self, namespace: str, name: str, *, suspend: bool) -> Body:
        """Set `spec.runPolicy.suspend`; the job as it is now."""
        body = {"spec": {"runPolicy": {"suspend": suspend}}}
        return self._json("PATCH", f"{jobs_path(namespace)}/{name}", body)

    def pods(self, namespace: str, job: str) -> list[Body]:
        """The pods of a job, those that have ended too."""
        query = {"labelSelector": f"{names.LABEL_JOB_NAME}={job}"}
        return self._list(f"/api/v1/namespaces/{namespace}/pods", query)

    def events(self, namespace: str, selector: Mapping[str, str]) -> list[Body]:
        """Kubernetes Events with these fields."""
        query = {"fieldSelector": ",".join(f"{key}={value}" for key, value in selector.items())}
        return self._list(f"/api/v1/namespaces/{namespace}/events", query)

    def log(self, namespace: str, pod: str, tail: int, *, follow: bool) -> Iterator[bytes]:
        """What the trainer's container printed, in chunks. `follow`: until the container ends."""
        query: dict[str, Any] = {"container": names.CONTAINER, "tailLines": tail}
        if follow:
            query["follow"] = "true"
        path = f"/api/v1/namespaces/{namespace}/pods/{pod}/log?{urlencode(query)}"
        # A quiet run may say nothing for long: only the connection has a time limit.
        answer = self._send("GET", path, None, (CONNECT_SECONDS, None if follow else READ_SECONDS))
        return self._chunks(answer.response, pod)

    def _chunks(self, stream: Any, pod: str) -> Iterator[bytes]:
        try:
            yield from stream.stream(amt=None)  # chunk by chunk, as they come
        except (OSError, self._http_error) as error:
            raise ClusterProblem(f"the log of {pod} broke off: {error}; ask again") from error
        finally:
            stream.close()  # an unread rest must not go into the pool

    def _list(self, path: str, query: Mapping[str, Any] | None = None) -> list[Body]:
        found: list[Body] = []
        asked: dict[str, Any] = {**(query or {}), "limit": PAGE}
        while True:
            answer = self._json("GET", f"{path}?{urlencode(asked)}")
            found += [item for item in answer.get("items") or () if isinstance(item, dict)]
            token = (answer.get("metadata") or {}).get("continue")
            if not token:
                return found
            asked["continue"] = token

    def _json(self, method: str, path: str, body: Any = None) -> Body:
        data = self._send(method, path, body, (CONNECT_SECONDS, READ_SECONDS)).read()
        try:
            document = json.loads(data)
        except ValueError as error:
            raise ClusterProblem(_not_an_api(self._host)) from error
        if not isinstance(document, dict):
            raise ClusterProblem(_not_an_api(self._host))
        return document

    def _send(self, method: str, path: str, body: Any, seconds: tuple[float, float | None]) -> Any:
        headers = {"Accept": "application/json, */*", "User-Agent": "speechtrain"}
        if body is not None:
            headers["Content-Type"] = MERGE if method == "PATCH" else JSON
        self._api.update_params_for_auth(headers, [], ["BearerToken"], path, method, body)
        try:
            answer = self._api.call_api(
                method, self._host + path, headers, body, _request_timeout=seconds
            )
        except (OSError, self._http_error, self._api_error) as error:
            raise self._unreachable(error) from error
        if not 200 <= answer.status < 300:
            raise problem_of(answer.status, answer.read(), path, self.context)
        return answer

    def _unreachable(self, error: Exception) -> ClusterProblem:
        reason = getattr(error, "reason", None) or error
        return ClusterProblem(
            f"the API server {self._host} of context {self.context!r} does not answer ({reason}); "
            "check the cluster, or choose another with --context or --kubeconfig"
        )


def connect(access: Access) -> ClusterClient:
    """Log in as kubectl would. Raises MissingExtra, or ClusterProblem when there is no usable kubeconfig."""
    if not access.configured:
        raise ClusterProblem(
            f"there is no kubeconfig at {access.config}; set {KUBECONFIG} or give --kubeconfig FILE"
        )
    config, client = lazily("kubernetes.config", EXTRA), lazily("kubernetes.client", EXTRA)
    yaml_error = lazily("yaml", EXTRA).YAMLError
    configuration = client.Configuration()
    try:
        every, active = config.list_kube_config_contexts(access.config)
        chosen = _context(every, active, access)
        config.load_kube_config(
            access.config, chosen["name"], client_configuration=configuration, persist_config=False
        )
    except (config.ConfigException, OSError, yaml_error, KeyError, TypeError) as error:
        raise ClusterProblem(
            f"the kubeconfig {access.config} cannot be used: {error}; correct it, or give --kubeconfig"
        ) from error
    configuration.retries = False  # a person waits: say what is wrong at once
    _quiet()
    namespace = (chosen.get("context") or {}).get("namespace") or DEFAULT_NAMESPACE
    return ClusterClient(
        client.ApiClient(configuration), str(configuration.host), chosen["name"], namespace
    )


def jobs_path(namespace: str) -> str:
    """Where the API server keeps the jobs of a namespace; "": of all of them."""
    inside = f"namespaces/{namespace}/" if namespace else ""
    return f"/apis/{names.API_VERSION}/{inside}{names.PLURAL}"


def problem_of(status: int, data: bytes, path: str, context: str) -> ClusterProblem:
    """An answer other than 2xx as a sentence with its remedy."""
    document = _status_document(data)
    said = str(document.get("message") or data[:200].decode(errors="replace")).strip()
    if status == 401:
        return ClusterProblem(
            f"the API server does not know you (401: {said}); the login of context {context!r} is "
            "missing or has expired: log in again"
        )
    if status == 403:
        return Forbidden(f"{said} (403); ask for the right, or choose another --context")
    if status == 404 and _is_missing_kind(path, document):
        return ClusterProblem(
            f"context {context!r} has no {names.CRD_NAME}; install the chart, as in "
            "`helm install speechtrain charts/speechtrain`, or choose another --context"
        )
    kind = NotFound if status == 404 else ClusterProblem
    return kind(f"the API server answered {status}: {said}")


def _is_missing_kind(path: str, document: Mapping[str, Any]) -> bool:
    """A path that nobody serves has no object's name in its answer."""
    return path.startswith(f"/apis/{names.GROUP}/") and not (document.get("details") or {}).get(
        "name"
    )


def _context(every: list[Body], active: Body | None, access: Access) -> Body:
    if not access.context:
        if active is None:
            raise ClusterProblem(
                f"the kubeconfig {access.config} has no current context; give --context"
            )
        return active
    for one in every:
        if one["name"] == access.context:
            return one
    known = ", ".join(str(one["name"]) for one in every) or "none"
    raise ClusterProblem(f"context: {access.context!r} is not in {access.config}; there: {known}")


def _status_document(data: bytes) -> Mapping[str, Any]:
    """`metav1.Status`, or nothing: proxies answer with anything."""
    try:
        document = json.loads(data)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _not_an_api(host: str) -> str:
    return f"{host} answers, but not as a Kubernetes API server; check the kubeconfig"


def _quiet() -> None:
    """The client library logs what we say in a sentence of our own."""
    logging.getLogger("kubernetes").setLevel(logging.CRITICAL)
    logging.getLogger("urllib3").setLevel(logging.ERROR)
