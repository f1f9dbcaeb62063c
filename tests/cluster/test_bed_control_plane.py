"""A control plane answers like any cluster: objects, validation, controllers, kubectl, audit."""

import json
import socket

import pytest
from bed import bootstrap, system
from bed import layout as ports
from bed.api import ApiError, is_ready, wait_for
from bed.cluster import Bed
from bed.families import KUBERNETES_VERSION
from bed.requirement import require
from bed.system import Tier

_CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
_FAKE = {"kwok.x-k8s.io/node": "fake"}


def test_an_object_is_made_read_changed_and_deleted(control_plane: Bed) -> None:
    api = control_plane.api
    api.post(_CONFIG_MAPS, {"metadata": {"name": "life"}, "data": {"step": "1"}})
    assert api.get(f"{_CONFIG_MAPS}/life")["data"] == {"step": "1"}
    api.patch(f"{_CONFIG_MAPS}/life", {"data": {"step": "2"}})
    assert api.get(f"{_CONFIG_MAPS}/life")["data"] == {"step": "2"}
    api.delete(f"{_CONFIG_MAPS}/life")
    assert api.find(f"{_CONFIG_MAPS}/life") is None


def test_a_refusal_carries_its_code_and_words(control_plane: Bed) -> None:
    with pytest.raises(ApiError, match="Invalid value") as caught:
        control_plane.api.post(_CONFIG_MAPS, {"metadata": {"name": "Not A Name"}})
    assert caught.value.status == 422


def test_kubectl_speaks_to_it_in_the_same_version(control_plane: Bed) -> None:
    versions = json.loads(control_plane.kubectl("version", "-o", "json"))
    assert versions["clientVersion"]["gitVersion"] == f"v{KUBERNETES_VERSION}"
    assert versions["serverVersion"]["gitVersion"] == f"v{KUBERNETES_VERSION}"


def test_a_pod_on_a_fake_node_is_scheduled_and_runs(control_plane: Bed) -> None:
    api = control_plane.api
    capacity = {"cpu": "192", "memory": "2Ti", "pods": "110", "nvidia.com/gpu": "8"}
    fake = {
        "metadata": {"name": "fake-0", "annotations": _FAKE},
        "status": {"capacity": capacity, "allocatable": capacity},
    }
    api.post("/api/v1/nodes", fake)
    wait_for("the fake node", lambda: is_ready(api.find("/api/v1/nodes/fake-0")))
    container = {"name": "main", "image": "none", "resources": {"limits": {"nvidia.com/gpu": "8"}}}
    pods = "/api/v1/namespaces/default/pods"
    api.post(pods, {"metadata": {"name": "on-fake"}, "spec": {"containers": [container]}})
    wait_for("the pod", lambda: is_ready(api.find(f"{pods}/on-fake")))
    assert api.get(f"{pods}/on-fake")["spec"]["nodeName"] == "fake-0"
    api.delete(f"{pods}/on-fake")
    api.delete("/api/v1/nodes/fake-0")


def test_the_audit_log_tells_who_did_what(control_plane: Bed) -> None:
    account = "/api/v1/namespaces/default/serviceaccounts"
    control_plane.api.post(account, {"metadata": {"name": "curious"}})
    token = control_plane.kubectl("create", "token", "curious").strip()
    with pytest.raises(ApiError) as caught:
        control_plane.api.with_token(token).get("/api/v1/namespaces/default/secrets")
    assert caught.value.status == 403
    user = "system:serviceaccount:default:curious"
    seen = {
        (event["verb"], event["objectRef"]["resource"], event["responseStatus"]["code"])
        for event in control_plane.audit(user)
    }
    assert seen == {("list", "secrets", 403)}


def test_the_control_plane_itself_is_not_audited(control_plane: Bed) -> None:
    users = {event["user"].get("username") for event in control_plane.audit()}
    assert "bed-admin" in users
    assert not [user for user in users if user.startswith("system:kube-")]


def test_without_namespaces_it_is_plain_processes_on_loopback(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    require(Tier.CONTROL_PLANE)
    monkeypatch.setattr(system, "has_namespaces", lambda: False)  # as for a user without root
    with Bed("plain") as bed:
        layout = bed.layout
        assert bed.api_url.startswith("https://127.0.0.1:")
        bed.api.post(_CONFIG_MAPS, {"metadata": {"name": "plain"}})
        assert "plain" in bed.kubectl("get", "configmaps", "-o", "name")
    assert not layout.run.exists()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", layout.port(ports.API))) != 0


def test_a_cluster_that_does_not_come_up_says_what_its_daemons_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    require(Tier.CONTROL_PLANE)
    monkeypatch.setattr(bootstrap, "_READY_WITHIN_SECONDS", 1.0)
    bed = Bed("broken")
    bed._request.binaries["kube-apiserver"] = "/bin/false"
    with pytest.raises(TimeoutError, match="the API server") as caught:
        bed.start()
    assert "apiserver ended with 1" in "".join(caught.value.__notes__)
    assert not bed.layout.run.exists()
