"""Settings of the operator process: environment in, one frozen record out. Read once, by `__main__`.

Each field is the variable SPEECHTRAIN_OPERATOR_<FIELD>; the chart writes them. `Settings` says unit and reason.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from typing import Any, Final

from speech_contract import env
from speech_contract.errors import nearest

TRUE: Final = frozenset({"true", "1", "yes"})
FALSE: Final = frozenset({"false", "0", "no"})


class SettingsError(ValueError):
    """Settings that cannot be used. `str()` is one sentence a line: name, value, rule, remedy."""


def _setting(default: Any, least: float | None = None) -> Any:
    return dataclasses.field(default=default, metadata={"least": least})


@dataclasses.dataclass(frozen=True)
class Settings:
    """What the operator can be told. Defaults suit a cluster of some hundred jobs."""

    watch_namespaces: tuple[str, ...] = ()
    """Namespaces to serve, separated by commas; empty: all, which needs a ClusterRole."""

    trainer_image: str = ""
    """Image of jobs that name none. Empty: such a job is refused by the API server, visibly."""

    launcher_image: str = ""
    """The operator's own image: foreign images get the launcher out of it."""

    kubeconfig: str = ""
    """Path. Empty: the pod's own account, and outside a pod what kubectl would use."""

    leader_election: bool = False
    """Off: whoever deploys it sees to it that there is one. The chart sets it on."""

    lease_name: str = "speechtrain"
    """One a release: two releases that watch different namespaces must not wait for each other."""

    kueue: bool = False
    """Serve jobs whose gang is Kueue's matter: four more watches, and the rights to them. The chart's kueue.enabled."""

    node_watch: bool = True
    """Watch nodes: a lost one is acted upon before Kubernetes does so. The chart's nodeWatch.enabled."""

    write_rate: float = _setting(100.0, 1.0)
    """Writes a second; above what a small control plane takes without throttling others."""

    write_burst: float = _setting(200.0, 1.0)
    """Writes at once after a quiet time: a gang of 64 pods starts without waiting."""

    progress_write_rate: float = _setting(20.0, 0.1)
    """Status writes a second, over all jobs, that bring new numbers only; a verdict never waits."""

    in_flight: int = _setting(32, 1)
    """Requests under way at once; the API server's own fairness starts to bite above that."""

    request_timeout_seconds: float = _setting(10.0, 1.0)
    """Of one request. Shorter than the pass's patience, longer than an API server under load takes."""

    stuck_seconds: float = _setting(300.0, 10.0)
    """A pass that is under way for so long fails the liveness probe: time-outs should have ended it."""

    metrics_port: int = _setting(8080, 0)
    """0: any free one."""

    probes_port: int = _setting(8081, 0)
    """Apart from the metrics, so that a network policy can tell them from each other."""

    log_level: str = "INFO"
    """DEBUG, INFO, WARNING or ERROR."""

    pod_name: str = "speechtrain-operator"
    """Holder of the Lease; from the downward API, so that two replicas differ."""

    pod_namespace: str = "default"
    """Where the Lease lies."""


SPECIAL: Final = {
    "pod_name": env.OPERATOR_POD_NAME,
    "pod_namespace": env.OPERATOR_POD_NAMESPACE,
}


def variable(field: str) -> str:
    """The environment variable of a field."""
    return SPECIAL.get(field, env.OPERATOR_PREFIX + field.upper())


def read_settings(environ: Mapping[str, str]) -> Settings:
    """Settings out of the environment. Raises SettingsError with every problem, unknown names among them."""
    fields = {variable(f.name): f for f in dataclasses.fields(Settings)}
    problems = [_unknown(name, fields) for name in sorted(environ) if _stray(name, fields)]
    values: dict[str, Any] = {}
    for name, field in fields.items():
        if name not in environ:
            continue
        try:
            values[field.name] = _value(field, environ[name].strip())
        except ValueError as error:
            problems.append(f"{name}: {environ[name]!r} {error}")
    if problems:
        raise SettingsError("\n".join(problems))
    return Settings(**values)


def _stray(name: str, known: Mapping[str, Any]) -> bool:
    return name.startswith(env.OPERATOR_PREFIX) and name not in known


def _unknown(name: str, known: Mapping[str, Any]) -> str:
    guess = nearest(name, known)
    remedy = f"did you mean {guess}?" if guess else "remove it"
    return f"{name}: is an unknown setting; {remedy}"


def _value(field: dataclasses.Field[Any], text: str) -> Any:
    """The typed value. Raises ValueError with rule and remedy."""
    default = field.default
    if isinstance(default, bool):
        return _flag(text)
    if isinstance(default, tuple):
        return tuple(part.strip() for part in text.split(",") if part.strip())
    if isinstance(default, (int, float)):
        return _number(type(default), text, field.metadata.get("least"))
    if field.name == "log_level":
        return _level(text)
    return text


def _flag(text: str) -> bool:
    if text.lower() not in TRUE | FALSE:
        raise ValueError("is neither true nor false; write true or false")
    return text.lower() in TRUE


def _number(kind: type, text: str, least: float | None) -> Any:
    try:
        value = kind(text)
    except ValueError as error:
        what = "a whole number" if kind is int else "a number"
        raise ValueError(f"is not {what}; write one") from error
    if value != value or value in (float("inf"), float("-inf")):
        raise ValueError("is not finite; write a number")
    if least is not None and value < least:
        raise ValueError(f"is below {least:g}; write at least {least:g}")
    return value


def _level(text: str) -> str:
    if text.upper() not in ("DEBUG", "INFO", "WARNING", "ERROR"):
        raise ValueError("is no log level; write DEBUG, INFO, WARNING or ERROR")
    assert logging.getLevelNamesMapping()[text.upper()]
    return text.upper()
