"""The scrape configuration that the Prometheus operator makes of our monitors, for a Prometheus without it.

So tests scrape by the PodMonitor and the ServiceMonitor that users get; there is no second source.
Covers what our monitors use and refuses the rest.
"""

from typing import Any

Object = dict[str, Any]
_POD_META, _SERVICE_META = "__meta_kubernetes_pod_label_", "__meta_kubernetes_service_label_"
_KNOWN_SPEC = {"selector", "namespaceSelector", "podMetricsEndpoints", "endpoints"}
_KNOWN_ENDPOINT = {"port", "interval", "scrapeTimeout", "relabelings", "honorLabels"}


def scrape_configs(objects: list[Object], **discovery: Any) -> list[Object]:
    """One entry of `scrape_configs` for each endpoint of the monitors among rendered objects.

    `discovery` goes into kubernetes_sd_configs: `kubeconfig_file`, or `api_server` and the like.
    Raises ValueError for a field of a monitor that is not translated here.
    """
    configs = []
    for monitor in objects:
        if monitor["kind"] not in ("PodMonitor", "ServiceMonitor"):
            continue
        _refuse(monitor["spec"].keys() - _KNOWN_SPEC)
        spec = monitor["spec"]
        endpoints = spec.get("podMetricsEndpoints") or spec["endpoints"]
        for number, endpoint in enumerate(endpoints):
            configs.append(_config(monitor, endpoint, number, discovery))
    return configs


def _config(monitor: Object, endpoint: Object, number: int, discovery: Object) -> Object:
    _refuse(endpoint.keys() - _KNOWN_ENDPOINT)
    of_pods = monitor["kind"] == "PodMonitor"
    metadata = monitor["metadata"]
    place = f"{metadata['namespace']}/{metadata['name']}"
    config = {
        "job_name": f"{monitor['kind'][0].lower()}{monitor['kind'][1:]}/{place}/{number}",
        "honor_labels": endpoint.get("honorLabels", False),
        "metrics_path": "/metrics",
        "scheme": "http",
        "scrape_interval": endpoint["interval"],
        "scrape_timeout": endpoint["scrapeTimeout"],
        "kubernetes_sd_configs": [
            {"role": "pod" if of_pods else "endpoints", **_namespaces(monitor), **discovery}
        ],
    }
    labels = monitor["spec"]["selector"]["matchLabels"]
    meta = _POD_META if of_pods else _SERVICE_META
    relabel = [_keep(meta + sanitized(name), value) for name, value in labels.items()]
    relabel += (_pod if of_pods else _service)(endpoint["port"])
    relabel += [
        _copy("__meta_kubernetes_namespace", "namespace"),
        *_targets(place, endpoint["port"]),
    ]
    relabel += [_renamed(step) for step in endpoint.get("relabelings", [])]
    return {**config, "relabel_configs": relabel}


def _namespaces(monitor: Object) -> Object:
    selector = monitor["spec"].get("namespaceSelector", {})
    if selector.get("any"):
        return {}
    names = selector.get("matchNames") or [monitor["metadata"]["namespace"]]
    return {"namespaces": {"names": names}}


def _pod(port: str) -> list[Object]:
    # a finished pod's address may serve another pod by now
    finished = {"source_labels": ["__meta_kubernetes_pod_phase"], "regex": "(Failed|Succeeded)"}
    return [
        {**finished, "action": "drop"},
        _keep("__meta_kubernetes_pod_container_port_name", port),
        _copy("__meta_kubernetes_pod_container_name", "container"),
        _copy("__meta_kubernetes_pod_name", "pod"),
    ]


def _service(port: str) -> list[Object]:
    return [
        _keep("__meta_kubernetes_endpoint_port_name", port),
        _copy("__meta_kubernetes_service_name", "service"),
        _copy("__meta_kubernetes_pod_name", "pod"),
    ]


def _targets(place: str, port: str) -> list[Object]:
    return [
        {"target_label": "job", "replacement": place},
        {"target_label": "endpoint", "replacement": port},
    ]


def _keep(label: str, value: str) -> Object:
    return {"source_labels": [label], "regex": value.replace(".", r"\."), "action": "keep"}


def _copy(source: str, target: str) -> Object:
    return {"source_labels": [source], "target_label": target}


def _renamed(relabeling: Object) -> Object:
    """A relabeling of the monitor's API in the words of Prometheus' own file."""
    words = {"sourceLabels": "source_labels", "targetLabel": "target_label"}
    words |= {word: word for word in ("action", "modulus", "regex", "replacement", "separator")}
    _refuse(relabeling.keys() - words)
    return {words[key]: value for key, value in relabeling.items()}


def sanitized(label: str) -> str:
    """A label's name as service discovery writes it: `speechtrain.dev/x` → `speechtrain_dev_x`."""
    return "".join(c if c.isascii() and c.isalnum() else "_" for c in label)


def _refuse(fields: set[str]) -> None:
    if fields:
        raise ValueError(f"monitors use {sorted(fields)}, which is not translated: add it here")
