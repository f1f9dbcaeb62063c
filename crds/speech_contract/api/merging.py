"""What a job runs by: its own fields over those of its runtime. Called by the operator and by `speechtrain run`. Pure.

    objects and maps    field by field, key by key
    lists with a key    item by item: the job's item stands in for the runtime's of the same key, new ones follow
    other lists         the job's, whole
    anything else       the job's

Documents are merged as they were written, before any default: a default of ours is nobody's wish. For the same reason
the CRD fills in no default at these places (`crd.served`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from speech_contract.api.spec import RuntimeKind

Document = Mapping[str, Any]

# Lists that are merged item by item, by their path below `spec`, with the field that tells items apart. Kubernetes
# merges them alike where an object is applied.
KEYS: Final = {
    "trainer.env": "name",
    "trainer.volumeMounts": "mountPath",
    "pod.volumes": "name",
    "health.logPatterns": "name",
}
RUNTIME_KINDS: Final = frozenset(kind.value for kind in RuntimeKind)


class Named(NamedTuple):
    """What a manifest names."""

    kind: str
    name: str


def named(job: Mapping[str, Any]) -> Named | None:
    """The runtime of `spec.runtimeRef`; None without one, or for one that the models refuse."""
    spec = job.get("spec")
    ref = spec.get("runtimeRef") if isinstance(spec, Mapping) else None
    if not isinstance(ref, Mapping) or not isinstance(ref.get("name"), str):
        return None
    kind = ref.get("kind", RuntimeKind.CLUSTER.value)
    known = isinstance(kind, str) and kind in RUNTIME_KINDS
    return Named(kind, ref["name"]) if known else None


def effective(job: Document, runtime_spec: Document) -> dict[str, Any]:
    """The job's manifest with all that its runtime adds."""
    return {**job, "spec": merged(runtime_spec, job.get("spec"))}


def merged(defaults: Any, own: Any, path: str = "") -> Any:
    """`own` over `defaults`. What has another shape than the models say is kept, for them to refuse."""
    if own is None:
        return defaults
    if isinstance(defaults, Mapping) and isinstance(own, Mapping):
        inner = f"{path}." if path else ""
        both = {name: merged(defaults[name], own.get(name), f"{inner}{name}") for name in defaults}
        return {**both, **{name: own[name] for name in own if name not in defaults}}
    if path in KEYS and _items(defaults) and _items(own):
        return _by_key(KEYS[path], defaults, own)
    return own


def _items(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, Mapping) for item in value)


def _by_key(key: str, defaults: list[Document], own: list[Document]) -> list[Document]:
    """An item is replaced whole, for most allow one of several fields alone."""
    keys = {str(item.get(key)) for item in own}
    return [*(item for item in defaults if str(item.get(key)) not in keys), *own]
