"""The chart as Helm renders it, for tests that look at its objects or install them.

Helm is the one that the test bed built; no cluster is asked.
"""

import functools
import json
import subprocess
from pathlib import Path
from typing import Any

import yaml
from bed import binaries, families
from bed.cluster import log_to_stderr
from bed.layout import cache_dir

Object = dict[str, Any]
ROOT = Path(__file__).resolve().parents[3]
CHART = ROOT / "charts" / "speechtrain"
RELEASE, NAMESPACE = "st", "system"
MONITORED: Object = {
    kind: {"enabled": True} for kind in ("podMonitor", "serviceMonitor", "prometheusRule")
}


def helm(*arguments: str, values: Object | None = None) -> subprocess.CompletedProcess[str]:
    """Run `helm ARGUMENTS… CHART` with these values."""
    program = binaries.ensure(families.HELM, cache_dir(), log_to_stderr)["helm"]
    return subprocess.run(
        [str(program), *arguments, str(CHART), "--values", "-"],
        input=yaml.safe_dump(values or {}), capture_output=True, text=True, check=False,
    )  # fmt: skip


def render(values: Object | None = None) -> list[Object]:
    """The objects of RELEASE in NAMESPACE, in the order Helm applies them; the caller may change them.

    Raises RuntimeError with Helm's words.
    """
    documents: list[Object] = json.loads(_rendered(json.dumps(values or {}, sort_keys=True)))
    return documents


@functools.cache
def _rendered(values: str) -> str:
    done = helm("template", RELEASE, "--namespace", NAMESPACE, values=json.loads(values))
    if done.returncode:
        raise RuntimeError(f"helm template failed:\n{done.stderr}")
    return json.dumps([document for document in yaml.safe_load_all(done.stdout) if document])


def only(objects: list[Object], kind: str, name: str | None = None) -> Object:
    """The one object of a kind, and of a name if it is given. Raises ValueError where it is not one."""
    (found,) = [o for o in objects if o["kind"] == kind and name in (None, o["metadata"]["name"])]
    return found


def rules(values: Object | None = None) -> Object:
    """The rules file that the rendered PrometheusRule is: `{"groups": […]}`."""
    spec: Object = only(render({**MONITORED, **(values or {})}), "PrometheusRule")["spec"]
    return spec
