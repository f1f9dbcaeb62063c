"""Kubeflow's Training Operator v1 beside a test cluster, for PyTorchJobs alone. Used by `make accept-operator`.

A plain process with the administrator's rights. It waits for certificates of its webhooks at a fixed place; there they
are, but the API server is told of no webhook, which spares every job a call.
"""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import yaml
from bed import binaries, crds
from bed.api import wait_for
from bed.beside import beside
from bed.binaries import Progress
from bed.cluster import Bed
from bed.families import TRAINING_OPERATOR

API, PLURAL, KIND = "kubeflow.org/v1", "pytorchjobs", "PyTorchJob"
LABEL_JOB_NAME = "training.kubeflow.org/job-name"
CONTAINER = "pytorch"  # its pods must have one of this name
HOME = "kubeflow"
PORT, PROBES = 9446, 9447
_CERTIFICATES = Path("/tmp/k8s-webhook-server/serving-certs")  # no flag names another
_CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_WEBHOOKS = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"


def install(bed: Bed, cache: Path, tell: Progress) -> Path:
    """The kind, and the objects that it writes its certificates to; the binary. Raises TimeoutError."""
    bed.api.post(_CRDS, yaml.safe_load(crds.pytorch_job(cache, tell).read_text()))
    bed.api.post("/api/v1/namespaces", {"metadata": {"name": HOME}})
    secret = {"metadata": {"name": "training-operator-webhook-cert"}}
    bed.api.post(f"/api/v1/namespaces/{HOME}/secrets", secret)
    bed.api.post(_WEBHOOKS, {"metadata": {"name": f"validator.training-operator.{HOME}.org"}})
    wait_for("PyTorchJob", lambda: bed.api.get(f"/apis/{API}")["resources"])
    return binaries.ensure(TRAINING_OPERATOR, cache, tell)["training-operator"]


@contextmanager
def running(bed: Bed, binary: Path, flags: Sequence[str] = ()) -> Iterator[int]:
    """At work until the block ends; its process id. Raises TimeoutError, RuntimeError."""
    _CERTIFICATES.mkdir(parents=True, exist_ok=True)
    for suffix in ("crt", "key"):
        shutil.copy(bed.layout.pki / f"apiserver.{suffix}", _CERTIFICATES / f"tls.{suffix}")
    probes = f"127.0.0.1:{PROBES}"
    command = [
        str(binary), "--enable-scheme=pytorchjob", "--metrics-bind-address=0", f"--webhook-server-port={PORT}",
        f"--health-probe-bind-address={probes}", *flags,
    ]  # fmt: skip
    try:
        with beside(bed, "training-operator", command, f"http://{probes}/readyz") as (pid, _):
            yield pid
    finally:
        shutil.rmtree(_CERTIFICATES.parent, ignore_errors=True)
