"""The plain scrape configuration says what the monitors say, in words that Prometheus takes."""

from __future__ import annotations

import copy
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from product import chart
from product.scrape import sanitized, scrape_configs

from speech_contract import names

Object = dict[str, Any]
Run = Callable[..., subprocess.CompletedProcess[str]]
FAST = {"interval": "5s", "scrapeTimeout": "4s"}


@pytest.fixture(scope="module")
def objects() -> list[Object]:
    monitors = {kind: {"enabled": True, **FAST} for kind in ("podMonitor", "serviceMonitor")}
    return chart.render(monitors)


def relabelled(config: Object, found: dict[str, str]) -> dict[str, str] | None:
    """The labels that a discovered target ends with; None when it is dropped. The steps we use."""
    labels = dict(found)
    for step in config["relabel_configs"]:
        value = ";".join(labels.get(name, "") for name in step.get("source_labels", []))
        matches = re.fullmatch(step.get("regex", "(.*)"), value) is not None
        action = step.get("action", "replace")
        if (action == "keep" and not matches) or (action == "drop" and matches):
            return None
        if action == "replace" and matches:
            labels[step["target_label"]] = step.get("replacement", value)
    return {name: value for name, value in labels.items() if value and not name.startswith("__")}


def pod(**changes: str) -> dict[str, str]:
    return {
        "__meta_kubernetes_namespace": "speech",
        "__meta_kubernetes_pod_name": "a-master-0",
        "__meta_kubernetes_pod_phase": "Running",
        "__meta_kubernetes_pod_container_name": names.CONTAINER,
        "__meta_kubernetes_pod_container_port_name": names.SUPERVISOR_PORT_NAME,
        f"__meta_kubernetes_pod_label_{sanitized(names.LABEL_JOB_ROLE)}": names.REPLICA_MASTER,
        f"__meta_kubernetes_pod_label_{sanitized(names.LABEL_JOB_NAME)}": "a",
        **changes,
    }


def test_prometheus_takes_it(promtool: Run, objects: list[Object], tmp_path: Path) -> None:
    config = tmp_path / "prometheus.yaml"
    (tmp_path / "kubeconfig").write_text("{}")
    scrapes = scrape_configs(objects, kubeconfig_file=str(tmp_path / "kubeconfig"))
    config.write_text(yaml.safe_dump({"scrape_configs": scrapes}))
    done = promtool("check", "config", "--lint=all", str(config))
    assert done.returncode == 0, done.stdout + done.stderr


def test_pods_of_every_namespace_and_the_operator_of_its_own(objects: list[Object]) -> None:
    pods, operator = scrape_configs(objects)
    assert pods["kubernetes_sd_configs"] == [{"role": "pod"}]
    assert operator["kubernetes_sd_configs"] == [
        {"role": "endpoints", "namespaces": {"names": [chart.NAMESPACE]}}
    ]
    assert (pods["honor_labels"], operator["honor_labels"]) == (False, True)
    assert {c["scrape_interval"] for c in (pods, operator)} == {"5s"}
    some = scrape_configs(chart.render({**chart.MONITORED, "watchNamespaces": ["a", "b"]}))
    assert some[0]["kubernetes_sd_configs"][0]["namespaces"] == {"names": ["a", "b"]}


def test_a_master_becomes_a_target_named_by_its_job(objects: list[Object]) -> None:
    (config, _) = scrape_configs(objects)
    team = f"__meta_kubernetes_pod_label_{sanitized(names.LABEL_TEAM)}"
    assert relabelled(config, pod(**{team: "asr-core"})) == {
        "namespace": "speech",
        "job_name": "a",
        "team": "asr-core",
        "pod": "a-master-0",
        "container": names.CONTAINER,
        "endpoint": names.SUPERVISOR_PORT_NAME,
        "job": "system/st-speechtrain-jobs",
    }


def test_a_job_without_a_team_has_no_such_label(objects: list[Object]) -> None:
    """As on the operator's series: an empty label is none."""
    (config, _) = scrape_configs(objects)
    assert "team" not in (relabelled(config, pod()) or {})


@pytest.mark.parametrize(
    "changes",
    [
        {f"__meta_kubernetes_pod_label_{sanitized(names.LABEL_JOB_ROLE)}": ""},
        {"__meta_kubernetes_pod_container_port_name": names.MASTER_PORT_NAME},
        {"__meta_kubernetes_pod_phase": "Succeeded"},
    ],
)
def test_no_other_pod_does(objects: list[Object], changes: dict[str, str]) -> None:
    (config, _) = scrape_configs(objects)
    assert relabelled(config, pod(**changes)) is None


def test_the_operator_is_found_by_its_service(objects: list[Object]) -> None:
    (_, config) = scrape_configs(objects)
    service = chart.only(objects, "Service")
    found = {
        f"__meta_kubernetes_service_label_{sanitized(name)}": value
        for name, value in service["metadata"]["labels"].items()
    }
    found |= {
        "__meta_kubernetes_namespace": "system",
        "__meta_kubernetes_service_name": service["metadata"]["name"],
        "__meta_kubernetes_endpoint_port_name": service["spec"]["ports"][0]["name"],
    }
    labels = relabelled(config, found)
    assert labels is not None
    assert labels["job"] == "system/st-speechtrain-operator"
    assert relabelled(config, {**found, "__meta_kubernetes_endpoint_port_name": "x"}) is None


def test_a_field_that_is_not_translated_is_refused(objects: list[Object]) -> None:
    changed = copy.deepcopy(objects)
    chart.only(changed, "PodMonitor")["spec"]["podMetricsEndpoints"][0]["path"] = "/other"
    with pytest.raises(ValueError, match="path"):
        scrape_configs(changed)
