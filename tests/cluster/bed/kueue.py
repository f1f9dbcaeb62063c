"""Kueue's real controller beside a test cluster: CRDs, webhooks, certificates, process. Used by `make accept-queues`.

A plain process in the cluster's namespaces. Its webhooks, conversion among them, are those of its own manifests; the
API server calls them by address, as there is no Service. Webhooks of the kinds of others are left out.
"""

import base64
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from bed import binaries, crds
from bed.api import wait_for
from bed.beside import beside
from bed.binaries import Progress
from bed.cluster import Bed, namespaces_of
from bed.families import KUEUE

GROUP = "kueue.x-k8s.io"
ADDRESS, PORT, PROBES = "127.0.0.1", 9443, 8081
# As in its own kustomization: the others have nothing to convert.
CONVERTED = ("localqueues", "clusterqueues", "cohorts", "workloads", "multikueueclusters")
_CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_WEBHOOKS = "/apis/admissionregistration.k8s.io/v1/"
# Kueue reads the certificate of its metrics at a fixed place, metrics or none: /etc is covered for it alone.
_START = (
    "mount -t tmpfs none /etc && mkdir -p /etc/kueue/metrics && ln -s {certificates} /etc/kueue/metrics/certs && "
    "exec {binary} --config {config} --feature-gates VisibilityOnDemand=false"
)


@contextmanager
def running(bed: Bed, cache: Path, tell: Progress) -> Iterator[Path]:
    """Kueue at work until the block ends; its log. Needs root. Raises TimeoutError, RuntimeError."""
    if not bed.layout.private:
        raise RuntimeError("Kueue runs in a cluster with namespaces of its own: be root")
    binary = binaries.ensure(KUEUE, cache, tell)["kueue"]
    folder = bed.layout.run / "kueue"
    _write(folder, bed.layout.pki)
    _install_crds(bed, cache, tell)
    start = _START.format(
        certificates=folder / "certificates", binary=binary, config=folder / "config.yaml"
    )
    command = [*namespaces_of(bed.first), "unshare", "--mount", "sh", "-c", start]
    # Only then its webhooks: an API server that can't reach them takes no object of theirs.
    ready = f"http://{bed.layout.inner_ip}:{PROBES}/readyz"
    with beside(bed, "kueue", command, ready) as (_, log):
        _install_webhooks(bed, cache, tell)
        yield log


def _write(folder: Path, pki: Path) -> None:
    certificates = folder / "certificates"
    certificates.mkdir(parents=True)
    for suffix in ("crt", "key"):  # the API server's own is for 127.0.0.1 too
        shutil.copy(pki / f"apiserver.{suffix}", certificates / f"tls.{suffix}")
    config = {
        "apiVersion": f"config.{GROUP}/v1beta2",
        "kind": "Configuration",
        "namespace": "default",
        "health": {"healthProbeBindAddress": f":{PROBES}"},
        "metrics": {"bindAddress": "0"},
        "webhook": {"host": ADDRESS, "port": PORT, "certDir": str(certificates)},
        "leaderElection": {"leaderElect": False},
        "internalCertManagement": {"enable": False},
        "integrations": {"frameworks": ["batch/job"]},
        # Nothing more is admitted before all pods of what was admitted are ready, as their owner says.
        "waitForPodsReady": {"timeout": "2m", "blockAdmission": True},
    }
    (folder / "config.yaml").write_text(json.dumps(config))


def _install_crds(bed: Bed, cache: Path, tell: Progress) -> None:
    wanted = set()
    for file in crds.kueue(cache, tell):
        document = yaml.safe_load(file.read_text())
        if document["spec"]["names"]["plural"] in CONVERTED:
            webhook = {
                "clientConfig": _client(bed, "/convert"),
                "conversionReviewVersions": ["v1"],
            }
            document["spec"]["conversion"] = {"strategy": "Webhook", "webhook": webhook}
        bed.api.post(_CRDS, document)
        wanted.add(document["spec"]["names"]["plural"])

    def served() -> bool:
        resources = bed.api.get(f"/apis/{GROUP}/v1beta2")["resources"]
        return wanted <= {resource["name"] for resource in resources}

    wait_for("Kueue's kinds", served)  # it ends when one of them is missing


def _client(bed: Bed, path: str) -> dict[str, Any]:
    authority = base64.b64encode((bed.layout.pki / "ca.crt").read_bytes()).decode()
    return {"url": f"https://{ADDRESS}:{PORT}{path}", "caBundle": authority}


def _install_webhooks(bed: Bed, cache: Path, tell: Progress) -> None:
    for document in yaml.safe_load_all(crds.kueue_webhooks(cache, tell).read_text()):
        ours = [w for w in document["webhooks"] if w["rules"][0]["apiGroups"] == [GROUP]]
        for webhook in ours:
            webhook["clientConfig"] = _client(bed, webhook["clientConfig"]["service"]["path"])
        bed.api.post(f"{_WEBHOOKS}{document['kind'].lower()}s", {**document, "webhooks": ours})
