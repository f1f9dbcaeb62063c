"""The client against an API server that refuses, pages, streams, is not there, or is none."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import pytest
from api_double import CORE, JOBS, ApiDouble, kubeconfig, serving, status

from speech_cli import cluster_client
from speech_cli.cluster_client import Access, ClusterClient, NotFound
from speech_cli.errors import ClusterProblem, MissingExtra


@pytest.fixture
def client(cluster: ApiDouble) -> ClusterClient:
    return cluster_client.connect(Access())


def test_a_request_carries_the_token_of_the_kubeconfig(
    client: ClusterClient, cluster: ApiDouble
) -> None:
    cluster.answers[f"{JOBS}/voice"] = {"metadata": {"name": "voice"}}
    assert client.job("speech", "voice") == {"metadata": {"name": "voice"}}
    ((method, path, _, _, headers),) = cluster.asked
    assert (method, path, headers["authorization"]) == ("GET", f"{JOBS}/voice", "Bearer secret")


def test_lists_are_read_page_by_page(client: ClusterClient, cluster: ApiDouble) -> None:
    pages = {None: ({"name": "a"}, "two"), "two": ({"name": "b"}, "")}

    def page(query: dict[str, list[str]]) -> dict[str, object]:
        item, after = pages[query.get("continue", [None])[0]]
        return {"items": [item], "metadata": {"continue": after}}

    cluster.answers[JOBS] = page
    assert client.jobs("speech") == [{"name": "a"}, {"name": "b"}]


def test_suspend_is_a_merge_patch(client: ClusterClient, cluster: ApiDouble) -> None:
    cluster.answers[f"{JOBS}/voice"] = {}
    client.suspend("speech", "voice", suspend=True)
    ((method, _, _, body, headers),) = cluster.asked
    assert (method, body) == ("PATCH", {"spec": {"runPolicy": {"suspend": True}}})
    assert headers["content-type"] == "application/merge-patch+json"


def test_pods_and_events_are_selected_by_the_server(
    client: ClusterClient, cluster: ApiDouble
) -> None:
    cluster.answers |= {f"{CORE}/pods": {"items": []}, f"{CORE}/events": {"items": []}}
    client.pods("speech", "voice")
    client.events("speech", {"involvedObject.uid": "u", "type": "Warning"})
    assert cluster.asked[0][2]["labelSelector"] == ["speechtrain.dev/job-name=voice"]
    assert cluster.asked[1][2]["fieldSelector"] == ["involvedObject.uid=u,type=Warning"]


def test_a_followed_log_arrives_while_the_container_still_runs(
    client: ClusterClient, cluster: ApiDouble
) -> None:
    read = threading.Event()
    waited: list[bool] = []
    cluster.answers[f"{CORE}/pods/voice-master-0/log"] = [
        b"step 1\n", lambda: waited.append(read.wait(30)), b"step 2\n",
    ]  # fmt: skip
    chunks = client.log("speech", "voice-master-0", 10, follow=True)
    assert next(chunks) == b"step 1\n"
    read.set()
    assert list(chunks) == [b"step 2\n"]
    assert waited == [True]
    query = cluster.asked[0][2]
    assert query == {"container": ["pytorch"], "tailLines": ["10"], "follow": ["true"]}


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (status(401, "Unauthorized"), "does not know you (401: Unauthorized); the login of context 'here'"),
        (status(403, "jobs is forbidden"), "jobs is forbidden (403); ask for the right"),
        (404, "context 'here' has no speechtrainingjobs.speechtrain.dev; install the chart"),
        (status(500, "etcd is away"), "the API server answered 500: etcd is away"),
        (b"<html>", "answers, but not as a Kubernetes API server"),
        (b"[]", "answers, but not as a Kubernetes API server"),
    ],
)  # fmt: skip
def test_every_refusal_is_a_sentence(
    client: ClusterClient, cluster: ApiDouble, answer: object, sentence: str
) -> None:
    cluster.answers[f"{JOBS}/voice"] = answer
    with pytest.raises(ClusterProblem) as caught:
        client.job("speech", "voice")
    assert sentence in caught.value.message
    assert not isinstance(caught.value, NotFound)


def test_a_missing_job_is_told_from_a_missing_chart(
    client: ClusterClient, cluster: ApiDouble
) -> None:
    cluster.answers[f"{JOBS}/voice"] = status(404, "not found", name="voice")
    with pytest.raises(NotFound):
        client.job("speech", "voice")


def test_a_cluster_that_does_not_answer(tmp_path: Path) -> None:
    with serving() as double:
        path = kubeconfig(tmp_path / "config", double.url)
    gone = cluster_client.connect(Access(kubeconfig=str(path)))
    with pytest.raises(ClusterProblem, match="does not answer") as caught:
        gone.jobs("speech")
    assert double.url in caught.value.message
    assert "--context" in caught.value.message


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "cannot be used"),
        ("{", "cannot be used"),
        ("[]", "cannot be used"),
        ("{apiVersion: v1, kind: Config, contexts: [], clusters: [], users: []}", "cannot be used"),
    ],
)
def test_a_broken_kubeconfig_is_named(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "config"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ClusterProblem, match=sentence) as caught:
        cluster_client.connect(Access(kubeconfig=str(path)))
    assert str(path) in caught.value.message


def test_no_kubeconfig_says_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(ClusterProblem, match=r"no kubeconfig at .*none; set KUBECONFIG"):
        cluster_client.connect(Access(kubeconfig=str(tmp_path / "none")))


def test_an_unknown_context_names_those_that_are_there(cluster: ApiDouble) -> None:
    with pytest.raises(ClusterProblem, match=r"'prod' is not in .*; there: here, other"):
        cluster_client.connect(Access(context="prod"))


def test_the_context_brings_its_namespace(cluster: ApiDouble) -> None:
    assert cluster_client.connect(Access()).namespace == "speech"
    assert cluster_client.connect(Access(context="other")).namespace == "default"


def test_without_the_package_the_extra_is_named(
    cluster: ApiDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "kubernetes.config", None)
    with pytest.raises(MissingExtra, match=r"kubernetes.*install speechtrain\[cli\]"):
        cluster_client.connect(Access())
