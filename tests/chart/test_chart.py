"""What Helm makes of the chart: with everything on, with everything off, and with values that are wrong."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from product.chart import CHART, ROOT, only
from product.scrape import sanitized

from speech_contract import metrics as catalogue
from speech_contract import names
from speech_contract.api import admission, crd, runtime_crd
from speech_operator.children import CLUSTER_RUNTIME, KINDS, KUEUE_KINDS, RUNTIME
from speech_operator.settings import Settings, read_settings

Object = dict[str, Any]
Render = Callable[..., list[Object]]
Helm = Callable[..., subprocess.CompletedProcess[str]]
DIGEST = f"sha256:{'5' * 64}"
LABELS = {"release": "kps"}
ON: Object = {
    "podMonitor": {"enabled": True, "additionalLabels": LABELS},
    "serviceMonitor": {"enabled": True, "additionalLabels": LABELS},
    "prometheusRule": {"enabled": True, "additionalLabels": LABELS},
    "grafanaDashboard": {"enabled": True, "annotations": {"grafana_folder": "Training"}},
    "grafanaAlerts": {"enabled": True, "datasourceUid": "mimir", "folder": "Voices"},
    "commonLabels": {"team": "speech"},
    "imagePullSecrets": [{"name": "mirror"}],
    "serviceAccount": {"annotations": {"example.org/role": "trainer"}},
    "operator": {
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "tolerations": [{"key": "system", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "topologySpreadConstraints": [
            {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}
        ],
        "priorityClassName": "system-cluster-critical",
        "podLabels": {"mesh": "off"},
        "podAnnotations": {"example.org/note": "x"},
        "extraEnv": [{"name": "TZ", "value": "UTC"}],
    },
}
OFF: Object = {
    "crds": {"enabled": False},
    "serviceAccount": {"create": False, "name": "theirs"},
    "operator": {"leaderElection": False},
    "nodeWatch": {"enabled": False},
}


def kinds(objects: list[Object]) -> dict[str, int]:
    found = [o["kind"] for o in objects]
    return {kind: found.count(kind) for kind in found}


def operator(objects: list[Object]) -> Object:
    (container,) = only(objects, "Deployment")["spec"]["template"]["spec"]["containers"]
    assert isinstance(container, dict)
    return container


@pytest.mark.parametrize("values", [{}, ON, OFF], ids=["default", "on", "off"])
def test_lint_has_nothing_to_say(helm: Helm, values: Object) -> None:
    done = helm("lint", "--strict", values=values)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "[WARNING]" not in done.stdout


@pytest.mark.parametrize("values", [{}, ON, OFF], ids=["default", "on", "off"])
def test_no_document_is_empty_and_no_name_comes_twice(helm: Helm, values: Object) -> None:
    done = helm("template", "st", "--namespace", "system", values=values)
    objects = list(yaml.safe_load_all(done.stdout))
    assert all(objects)
    places = [(o["kind"], o["metadata"].get("namespace"), o["metadata"]["name"]) for o in objects]
    assert len(places) == len(set(places))


def test_everything_on(render: Render) -> None:
    assert kinds(render(**ON)) == {
        "ServiceAccount": 1, "ConfigMap": 2, "CustomResourceDefinition": 3, "ClusterRole": 5,
        "ClusterRoleBinding": 3, "Role": 1, "RoleBinding": 1, "Service": 1, "Deployment": 1, "Pod": 1,
        "PodMonitor": 1, "PrometheusRule": 1, "ServiceMonitor": 1,
        "ValidatingAdmissionPolicy": 2, "ValidatingAdmissionPolicyBinding": 2,
    }  # fmt: skip


def test_everything_off(render: Render) -> None:
    objects = render(**OFF)
    assert kinds(objects) == {
        "ClusterRole": 4, "ClusterRoleBinding": 2, "Service": 1, "Deployment": 1, "Pod": 1,
    }  # fmt: skip
    deployment = only(objects, "Deployment")["spec"]
    assert deployment["template"]["spec"]["serviceAccountName"] == "theirs"
    assert deployment["strategy"] == {"type": "Recreate"}
    for binding in (o for o in objects if o["kind"] == "ClusterRoleBinding"):
        assert binding["subjects"][0]["name"] == "theirs"


@pytest.mark.parametrize("wanted", [crd.definition(), *runtime_crd.definitions()])
def test_each_crd_is_the_generated_one_and_outlives_the_release(
    render: Render, wanted: Object
) -> None:
    named = ("CustomResourceDefinition", wanted["metadata"]["name"])
    rendered = only(render(), *named)
    assert rendered["metadata"].pop("annotations") == {"helm.sh/resource-policy": "keep"}
    # as text: 4096.0 would equal 4096, and an API server refuses it
    assert json.dumps(rendered, sort_keys=True) == json.dumps(wanted, sort_keys=True)
    metadata = only(render(crds={"keep": False}), *named)["metadata"]
    assert not metadata.get("annotations")


def test_the_admission_policies_are_the_generated_ones(render: Render) -> None:
    for document in admission.documents():
        rendered = only(render(), document["kind"], document["metadata"]["name"])
        assert rendered["metadata"].pop("labels")
        assert rendered == document
    assert "ValidatingAdmissionPolicy" not in kinds(render(crds={"admissionPolicy": False}))


def test_common_labels_reach_every_object_but_the_crd(render: Render) -> None:
    without = [
        o["kind"] for o in render(**ON) if o["metadata"].get("labels", {}).get("team") is None
    ]
    assert set(without) == {"CustomResourceDefinition"}


def test_pods_keep_the_restricted_standard(render: Render) -> None:
    spec = only(render(**ON), "Deployment")["spec"]["template"]["spec"]
    assert list(unrestricted(spec)) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("hostNetwork",), True),
        (("volumes",), [{"name": "x", "hostPath": {"path": "/"}}]),
        (("securityContext", "runAsNonRoot"), False),
        (("securityContext", "runAsUser"), 0),
        (("securityContext", "seccompProfile"), {"type": "Unconfined"}),
        (("containers", 0, "securityContext", "allowPrivilegeEscalation"), True),
        (("containers", 0, "securityContext", "capabilities"), {"drop": []}),
        (("containers", 0, "securityContext", "capabilities", "add"), ["SYS_ADMIN"]),
        (("containers", 0, "securityContext", "privileged"), True),
        (("containers", 0, "ports", 0, "hostPort"), 80),
    ],
)
def test_the_check_of_the_standard_can_fail(
    render: Render, path: tuple[str | int, ...], value: Any
) -> None:
    spec = only(render(), "Deployment")["spec"]["template"]["spec"]
    place: Any = spec
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    assert list(unrestricted(spec))


def unrestricted(spec: Object) -> list[str]:
    """What the restricted Pod Security Standard forbids in a pod of plain containers."""
    pod = spec.get("securityContext", {})
    faults = [key for key in ("hostNetwork", "hostPID", "hostIPC") if spec.get(key)]
    allowed = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim"}
    allowed |= {"projected", "secret", "name"}
    faults += [f"volume {v['name']}" for v in spec.get("volumes", []) if not v.keys() <= allowed]
    for container in [*spec["containers"], *spec.get("initContainers", [])]:
        own = container.get("securityContext", {})
        both = {**pod, **own}
        capabilities = own.get("capabilities", {})
        checks = {
            "runAsNonRoot": both.get("runAsNonRoot") is True,
            "runAsUser": both.get("runAsUser", 1) != 0,
            "seccomp": both.get("seccompProfile", {}).get("type")
            in ("RuntimeDefault", "Localhost"),
            "escalation": own.get("allowPrivilegeEscalation") is False,
            "privileged": not own.get("privileged"),
            "capabilities": "ALL" in capabilities.get("drop", [])
            and set(capabilities.get("add", [])) <= {"NET_BIND_SERVICE"},
            "hostPort": not any("hostPort" in port for port in container.get("ports", [])),
        }
        faults += [f"{container['name']}: {name}" for name, fine in checks.items() if not fine]
    return faults


def test_the_operator_writes_nowhere_but_to_tmp(render: Render) -> None:
    objects = render()
    assert operator(objects)["securityContext"]["readOnlyRootFilesystem"] is True
    assert operator(objects)["volumeMounts"] == [{"name": "tmp", "mountPath": "/tmp"}]
    assert only(objects, "Deployment")["spec"]["template"]["spec"]["volumes"] == [
        {"name": "tmp", "emptyDir": {}}
    ]


@pytest.mark.parametrize(
    ("image", "wanted"),
    [
        ({}, "speechtrain/operator:0.1.0"),
        ({"repository": "mirror.example/op", "tag": "1"}, "mirror.example/op:1"),
        ({"tag": "1", "digest": DIGEST}, f"speechtrain/operator@{DIGEST}"),
    ],
)
def test_the_image_and_the_launcher_are_one(render: Render, image: Object, wanted: str) -> None:
    container = operator(render(image=image))
    assert container["image"] == wanted
    assert wanted in [entry.get("value") for entry in container["env"]]


def environment(container: Object) -> dict[str, str]:
    """As the process gets it; the downward API gives the pod's own name and namespace."""
    fields = {"metadata.name": "operator-1", "metadata.namespace": "system"}
    return {
        entry["name"]: entry.get("value") or fields[entry["valueFrom"]["fieldRef"]["fieldPath"]]
        for entry in container["env"]
        if entry.get("value") != ""
    }


def test_the_operator_takes_its_environment(render: Render) -> None:
    settings = read_settings(environment(operator(render(watchNamespaces=["a", "b"]))))
    # Rates and log level: the chart's defaults are those of the process.
    assert settings == Settings(
        watch_namespaces=("a", "b"),
        trainer_image="speechtrain/trainer:0.1.0",
        launcher_image="speechtrain/operator:0.1.0",
        leader_election=True,
        lease_name="st-speechtrain",
        pod_name="operator-1",
        pod_namespace="system",
    )


def test_its_values_reach_the_operator(render: Render) -> None:
    values = {
        "leaderElection": False, "writeRate": 7, "writeBurst": 9, "progressWriteRate": 0.5,
        "logLevel": "DEBUG",
    }  # fmt: skip
    objects = render(operator=values, trainer={"image": "mirror.example/t@sha256:0"})
    settings = read_settings(environment(operator(objects)))
    assert settings.watch_namespaces == ()
    assert settings.trainer_image == "mirror.example/t@sha256:0"
    assert (settings.leader_election, settings.log_level) == (False, "DEBUG")
    assert (settings.write_rate, settings.write_burst, settings.progress_write_rate) == (7, 9, 0.5)


def test_the_ports_are_those_the_operator_opens(render: Render) -> None:
    ports = {port["name"]: port["containerPort"] for port in operator(render())["ports"]}
    assert ports == {"metrics": Settings().metrics_port, "probes": Settings().probes_port}


def test_probes_and_ports_agree(render: Render) -> None:
    container = operator(render())
    ports = {port["name"] for port in container["ports"]}
    assert len(ports) == 2
    assert {
        container[f"{kind}Probe"]["httpGet"]["port"] for kind in ("liveness", "readiness")
    } < ports
    assert only(render(), "Service")["spec"]["ports"][0]["targetPort"] in ports


def test_scheduling_reaches_the_pod(render: Render) -> None:
    spec = only(render(**ON), "Deployment")["spec"]["template"]["spec"]
    for field in (
        "nodeSelector", "tolerations", "affinity", "topologySpreadConstraints", "priorityClassName",
    ):  # fmt: skip
        assert spec[field] == ON["operator"][field]
    assert spec["imagePullSecrets"] == ON["imagePullSecrets"]
    assert {"name": "TZ", "value": "UTC"} in spec["containers"][0]["env"]


def test_the_pod_of_helm_test_asks_the_service_and_holds_no_token(render: Render) -> None:
    objects = render()
    pod = only(objects, "Pod")
    assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
    assert list(unrestricted(pod["spec"])) == []
    assert pod["spec"]["automountServiceAccountToken"] is False
    service, (container,) = only(objects, "Service"), pod["spec"]["containers"]
    (port,) = service["spec"]["ports"]
    url = f"http://{service['metadata']['name']}:{port['port']}/metrics"
    assert url in container["args"][0]
    compile(container["args"][0], "args", "exec")
    selector = service["spec"]["selector"]
    assert not selector.items() <= pod["metadata"]["labels"].items(), "would ask itself"


def test_further_volumes_reach_the_operator(render: Render) -> None:
    mount = {"name": "proxy-ca", "mountPath": "/etc/proxy", "readOnly": True}
    volume = {"name": "proxy-ca", "configMap": {"name": "proxy-ca"}}
    objects = render(operator={"extraVolumes": [volume], "extraVolumeMounts": [mount]})
    spec = only(objects, "Deployment")["spec"]["template"]["spec"]
    assert volume in spec["volumes"]
    assert mount in spec["containers"][0]["volumeMounts"]


def test_rights_in_all_namespaces_or_in_some(render: Render) -> None:
    everywhere, some = render(), render(watchNamespaces=["speech", "asr"])
    wide = only(everywhere, "ClusterRole", "st-speechtrain")
    roles = [o for o in some if o["kind"] == "Role" and o["metadata"]["name"] == "st-speechtrain"]
    assert [role["metadata"]["namespace"] for role in roles] == ["speech", "asr"]
    assert [role["rules"] for role in roles] == [wide["rules"]] * 2
    of_the_cluster = [o["metadata"]["name"] for o in some if o["kind"] == "ClusterRoleBinding"]
    # To read what is of no namespace.
    assert of_the_cluster == ["st-speechtrain-runtimes", "st-speechtrain-nodes"]
    bindings = [o for o in some if o["kind"] == "RoleBinding"]
    for binding in bindings:
        (subject,) = binding["subjects"]
        assert subject == {
            "kind": "ServiceAccount",
            "name": "st-speechtrain",
            "namespace": "system",
        }
        role = only(
            [o for o in some if o["metadata"].get("namespace") == binding["metadata"]["namespace"]],
            "Role", binding["roleRef"]["name"],
        )  # fmt: skip
        assert role["rules"]
    watched = {o["metadata"]["namespace"] for o in bindings}
    assert watched == {"speech", "asr", "system"}


def test_the_rights_to_children_are_those_that_their_kinds_need(render: Render) -> None:
    rules = only(render(), "ClusterRole", "st-speechtrain")["rules"]
    granted = {
        (group, resource): set(rule["verbs"])
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }
    for kind in KINDS:
        reads = {"get", "list"} if kind.only_name else {"list"}
        reads = {"get", "list", "watch"} if kind.watched else reads
        group = kind.api_version.rpartition("/")[0]
        assert granted[group, kind.plural] - {"delete"} == {"create"} | reads, kind.kind


@pytest.mark.parametrize("values", [{}, {"watchNamespaces": ["speech"]}])
def test_runtimes_are_watched_and_no_more(render: Render, values: Object) -> None:
    objects = render(**values)
    kind = "Role" if values else "ClusterRole"
    for role, runtime in (
        (only(objects, kind, "st-speechtrain"), RUNTIME),
        (only(objects, "ClusterRole", "st-speechtrain-runtimes"), CLUSTER_RUNTIME),
    ):
        (verbs,) = [rule["verbs"] for rule in role["rules"] if runtime.plural in rule["resources"]]
        assert verbs == ["list", "watch"]
    assert only(objects, "ClusterRoleBinding", "st-speechtrain-runtimes")["subjects"]


def test_queues_bring_their_own_rights_and_no_others(render: Render) -> None:
    plain = render(watchNamespaces=["speech"])
    objects = render(watchNamespaces=["speech"], kueue={"enabled": True})
    assert {"name": "SPEECHTRAIN_OPERATOR_KUEUE", "value": "true"} in operator(objects)["env"]
    (role,) = (
        o for o in objects if o["kind"] == "Role" and o["metadata"]["name"] == "st-speechtrain"
    )
    rules = role["rules"] + only(objects, "ClusterRole", "st-speechtrain-queues")["rules"]
    granted = {
        (group, resource): set(rule["verbs"])
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }
    for kind in KUEUE_KINDS:
        verbs = granted[kind.api_version.rpartition("/")[0], kind.plural]
        own = {"create", "delete", "get"} if kind.namespaced else set()
        assert verbs == {"list", "watch"} | own, kind.kind
    assert granted["kueue.x-k8s.io", "workloads/status"] == {"update"}
    assert "kueue" not in yaml.safe_dump([o for o in plain if "Role" in o["kind"]])


@pytest.mark.parametrize("enabled", [True, False])
def test_nodes_are_read_only_where_somebody_wants_it(render: Render, enabled: bool) -> None:
    objects = render(watchNamespaces=["speech"], nodeWatch={"enabled": enabled})
    setting = {"name": "SPEECHTRAIN_OPERATOR_NODE_WATCH", "value": str(enabled).lower()}
    assert setting in operator(objects)["env"]
    names = [o["metadata"]["name"] for o in objects if o["kind"].startswith("ClusterRole")]
    assert (names.count("st-speechtrain-nodes") == 2) is enabled


@pytest.mark.parametrize("values", [{}, {"watchNamespaces": ["speech"]}])
def test_no_right_is_wide(render: Render, values: Object) -> None:
    rules = [
        rule
        for o in render(**values)
        if o["kind"] in ("Role", "ClusterRole")
        for rule in o["rules"]
    ]
    for rule in rules:
        words = [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]
        assert "*" not in words
        assert "nodes" not in words or words == ["", "nodes", "get", "list", "watch"]
        assert not {"secrets", "serviceaccounts", "escalate", "bind", "impersonate"} & {*words}


def test_the_lease_is_held_to_its_name(render: Render) -> None:
    objects = render()
    for rule in only(objects, "Role", "st-speechtrain-lease")["rules"]:
        assert rule["verbs"] == ["create"] or rule["resourceNames"] == ["st-speechtrain"]
    assert "st-speechtrain" in [entry.get("value") for entry in operator(objects)["env"]]


def test_monitors_and_rules_carry_what_prometheus_selects_by(render: Render) -> None:
    objects = render(**ON)
    for kind in ("PodMonitor", "ServiceMonitor", "PrometheusRule"):
        assert only(objects, kind)["metadata"]["labels"]["release"] == "kps"


def test_the_operator_keeps_the_labels_it_writes(render: Render) -> None:
    objects = render(**ON)
    (endpoint,) = only(objects, "ServiceMonitor")["spec"]["endpoints"]
    assert endpoint["honorLabels"] is True
    service = only(objects, "Service")
    assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}
    selector = only(objects, "ServiceMonitor")["spec"]["selector"]["matchLabels"]
    assert selector.items() <= service["metadata"]["labels"].items()
    pod = only(objects, "Deployment")["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= pod.items()


def test_the_pod_monitor_selects_as_the_operator_labels(render: Render) -> None:
    spec = only(render(**ON), "PodMonitor")["spec"]
    assert spec["namespaceSelector"] == {"any": True}
    assert spec["selector"]["matchLabels"] == {names.LABEL_JOB_ROLE: names.REPLICA_MASTER}
    (endpoint,) = spec["podMetricsEndpoints"]
    assert endpoint["port"] == names.SUPERVISOR_PORT_NAME
    wanted = {"job_name": names.LABEL_JOB_NAME, "team": names.LABEL_TEAM}
    assert endpoint["relabelings"] == [
        {
            "sourceLabels": [f"__meta_kubernetes_pod_label_{sanitized(label)}"],
            "targetLabel": target,
        }
        for target, label in wanted.items()
    ]
    some = only(render(**ON, watchNamespaces=["a", "b"]), "PodMonitor")["spec"]
    assert some["namespaceSelector"] == {"matchNames": ["a", "b"]}


def test_rules_arrive_unchanged_but_for_the_page(render: Render) -> None:
    text = (CHART / "files" / "speechtrain.rules.yaml").read_text("utf-8")
    assert only(render(**ON), "PrometheusRule")["spec"] == yaml.safe_load(text)
    page = "https://docs.example/runbooks"
    values = {"prometheusRule": {"enabled": True, "runbookUrl": page}}
    groups = only(render(**values), "PrometheusRule")["spec"]["groups"]
    links = [rule["annotations"]["runbook_url"] for group in groups for rule in group["rules"]]
    assert links
    assert all(link.startswith(f"{page}#") for link in links)


def test_dashboards_arrive_whole_and_fit_a_config_map(render: Render) -> None:
    config = only(render(**ON), "ConfigMap", "st-speechtrain-dashboards")
    assert config["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert config["metadata"]["annotations"] == {"grafana_folder": "Training"}
    folder = CHART / "files" / "dashboards"
    assert {name: json.loads(text) for name, text in config["data"].items()} == {
        path.name: json.loads(path.read_text("utf-8")) for path in folder.glob("*.json")
    }
    assert config["data"]
    assert len(json.dumps(config)) < 2**20


def test_grafana_s_alerts_arrive_with_the_links_and_the_source_of_the_release(
    render: Render,
) -> None:
    own = {"grafanaUrl": "https://g.example", "runbookUrl": "https://r.example/runbooks"}
    values = {**ON, "prometheusRule": {**own, "additionalRuleLabels": {"tier": "x"}}}
    config = only(render(**values), "ConfigMap", "st-speechtrain-alerts")
    assert config["metadata"]["labels"]["grafana_alert"] == "1"
    (text,) = config["data"].values()
    plain = yaml.safe_load((CHART / "files" / "grafana-alerts.yaml").read_text("utf-8"))
    got = yaml.safe_load(text)
    assert [group["folder"] for group in got["groups"]] == ["Voices", "Voices"]
    for group, before in zip(got["groups"], plain["groups"], strict=True):
        for rule, old in zip(group["rules"], before["rules"], strict=True):
            sources = [query["datasourceUid"] for query in rule["data"]]
            assert sources == ["mimir", "__expr__", "__expr__"]
            assert rule["data"][0]["model"] == old["data"][0]["model"]
            assert rule["labels"] == {**old.get("labels", {}), "tier": "x"}
            assert rule["annotations"]["dashboard_url"].startswith("https://g.example/d/")
            assert rule["annotations"]["runbook_url"].startswith("https://r.example/runbooks#")


def test_notes_say_how_to_be_scraped(helm: Helm) -> None:
    off, on = (
        helm("install", "st", "--dry-run=client", "--namespace", "system", values=values)
        for values in ({}, ON)
    )
    assert off.returncode == on.returncode == 0, off.stderr + on.stderr
    assert "podMonitor.enabled" in off.stdout
    assert "release: <its release name>" in off.stdout
    assert "No metrics are scraped" not in on.stdout
    assert "rollout status deploy/st-speechtrain" in on.stdout


BAD: list[tuple[str, Any]] = [
    ("watchNamespace", ["a"]),
    ("watchNamespaces", "a,b"),
    ("watchNamespaces", ["A_b"]),
    ("image", {"digest": "sha256:12"}),
    ("image", {"repository": ""}),
    ("image", {"pullPolicy": "Sometimes"}),
    ("trainer", {"image": ""}),
    ("trainer", {"tag": "1"}),
    ("operator", {"writeBurst": 0}),
    ("operator", {"replicas": 2}),
    ("operator", {"leaderElection": "yes"}),
    ("operator", {"leaderElection": False, "replicaCount": 2}),
    ("operator", {"logLevel": "debug"}),
    ("serviceAccount", {"create": False}),
    ("podMonitor", {"interval": "15"}),
    ("serviceMonitor", {"enabled": "true"}),
    ("prometheusRule", {"runbookUrl": "https://docs.example/#top"}),
    ("prometheusRule", {"additionalLabels": {"release": 1}}),
    ("prometheusRule", {"grafanaUrl": "https://g.example/"}),
    ("grafanaAlerts", {"datasourceUid": ""}),
    ("grafanaDashboard", {"sidecarLabel": ""}),
    ("crds", {"install": True}),
    ("networkPolicy", {"metricsFrom": [{"namespaces": ["monitoring"]}]}),
    ("networkPolicy", {"jobNamespaces": ["A_b"]}),
    ("operator", {"extraVolumeMounts": [{"name": "ca"}]}),
]


@pytest.mark.parametrize(("field", "value"), BAD)
def test_wrong_values_are_refused_by_name(helm: Helm, field: str, value: Any) -> None:
    done = helm("template", "st", values={field: value})
    assert done.returncode != 0
    assert field in done.stderr
    assert "schema" in done.stderr


def test_two_replicas_without_an_election_are_refused_by_the_election(helm: Helm) -> None:
    values = {"leaderElection": False, "replicaCount": 2}
    assert "leaderElection" in helm("template", "st", values={"operator": values}).stderr


def test_the_schema_knows_every_value() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))
    schema = json.loads((CHART / "values.schema.json").read_text("utf-8"))
    assert list(unknown(values, schema, schema["definitions"])) == []


def unknown(values: Object, schema: Object, shared: Object, path: str = "") -> list[str]:
    """Values without a place in the schema, and places without a default."""
    if "$ref" in schema:
        schema = shared[schema["$ref"].rpartition("/")[2]]
    known = schema.get("properties")
    if known is None:
        return []
    faults = [f"{path}{key}" for key in values.keys() ^ (known.keys() - {"global"})]
    for key, value in values.items():
        if isinstance(value, dict) and key in known:
            faults += unknown(value, known[key], shared, f"{path}{key}.")
    return faults


def test_no_metric_is_left_to_a_label_of_the_target() -> None:
    """Labels of the job come from the scrape alone, so nothing of ours may set them."""
    for metric in catalogue.TRAINING_METRICS:
        assert not {*catalogue.JOB, "pod"} & set(metric.labels)


def test_the_page_on_installing_names_values_that_exist(helm: Helm) -> None:
    page = (ROOT / "docs" / "install.md").read_text("utf-8")
    settings = re.findall(r"--set (\S+)", page)
    assert len(settings) >= 7
    done = helm("template", "st", *(word for s in settings for word in ("--set", s)))
    assert done.returncode == 0, done.stderr
    values = yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))
    for path in re.findall(r"`(\w+\.\w+|watchNamespaces)(?:=[^`]*)?`", page):
        if not path.endswith((".yaml", ".md", ".txt")):
            place = values
            for key in path.split("."):
                assert key in place, path
                place = place[key]


def test_the_pages_link_to_files_that_exist() -> None:
    for name in ("install.md", "runbooks.md"):
        page = (ROOT / "docs" / name).read_text("utf-8")
        for link in re.findall(r"\]\(([^)#]+)\)", page):
            assert (ROOT / "docs" / link).exists(), link
