"""How soon a fault is told and a gang is back on a real cluster: `make accept-cluster`. Needs root.

    python benchmarks/accept_cluster.py [--runs 20] [--restarts 20]

Measures, on the test bed with the chart installed: seconds from the first NaN step in a pod to the finding in the
job's status, and to a webhook of Alertmanager, fast and with the chart's defaults; seconds from the 20th report of a
loss of exactly zero to the finding in status; seconds from the death of a rank
of a two-pod VITS job to the first new step, beside the cold start of the same job; seconds until a control plane is
up. Writes results/cluster.json.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import record
from record import Row

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "cluster"))

from bed import system
from bed.api import wait_for
from bed.cluster import Bed, log_to_stderr
from bed.system import Tier
from product import jobs
from product.alerting import CHART_PACE, Pace, Receiver, alerting
from product.installed import Namespace, product, reached, rules_of
from product.voice import voiced

from speech_contract import names
from speech_contract.progress import Rule
from speech_contract.reasons import State
from speech_contract.thresholds import ZeroLoss
from speech_trainer.data.synthesize import SynthesisPlan

PROBE = Path(__file__).with_name("fault_probe.py")
ALERT = "SpeechTrainingNonFinite"
STATUS_BOUND, WEBHOOK_BOUND, RESTART_MARGIN = 5.0, 15.0, 10.0
KILLS_PER_JOB = 5
PATIENCE = 300.0
VOICE = SynthesisPlan(utterances=12, validation=2, max_words=2)

# Run in the trainer's container: ends the rank, which is the one process that knows its local rank.
KILL_RANK = """
import os, signal, sys, time
from pathlib import Path
for place in sorted(Path("/proc").glob("[0-9]*"), key=lambda p: int(p.name)):
    try:
        variables, words = (place / "environ").read_bytes(), (place / "cmdline").read_bytes()
    except OSError:
        continue
    if b"\\0LOCAL_RANK=" in variables and b"speech_trainer" in words:
        now = time.time()
        os.kill(int(place.name), signal.SIGKILL)
        print(now)
        sys.exit(0)
sys.exit("no rank in this pod")
"""


def main() -> int:
    """Measure, print, write."""
    options = _options()
    for tier in (Tier.NODE, Tier.IMAGES, Tier.ALERTS):
        if reason := system.obstacle(tier):
            log_to_stderr(reason)
            return 1
    before = record.machine()
    planes = [control_plane_up() for _ in range(options.runs)]
    with product("accept") as bed, tempfile.TemporaryDirectory() as folder:
        space = voiced(bed, "accept", Path(folder), VOICE)
        told = faults_told(bed, space, Path(folder), options.runs)
        told |= zeros_told(space, Path(folder), options.runs)
        cold, back = restarts(space, options.restarts)
        node = bed.timeline[-1][1]
    excess = [new - old for old, new in zip(cold, back, strict=True)]
    figures = {
        "controlPlaneUpSeconds": record.spread(planes),
        "nodeUpSeconds": node,
        **{name: record.spread(seconds) for name, seconds in told.items()},
        "coldStartSeconds": record.spread(cold),
        "rankKilledToStepSeconds": record.spread(back),
        "restartBeyondColdStartSeconds": record.spread(excess),
    }
    rows = table(figures)
    record.show(rows)
    return 0 if record.write("cluster", before, figures, rows) else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=20, help="of each fault and of control planes")
    parser.add_argument("--restarts", type=int, default=20, help="ranks killed")
    return parser.parse_args()


def table(figures: Mapping[str, Any]) -> list[Row]:
    """The figures beside what they must be."""
    bounds = (
        ("NaN step → status", "nanToStatusSeconds", STATUS_BOUND),
        ("20th zero report → status", "zeroLossToStatusSeconds", STATUS_BOUND),
        ("NaN step → webhook, 5 s scrapes", "nanToWebhookSeconds", WEBHOOK_BOUND),
        ("NaN step → webhook, the chart's defaults", "nanToWebhookByDefaultSeconds", None),
        ("control plane up", "controlPlaneUpSeconds", None),
        ("cold start to first step", "coldStartSeconds", None),
        ("rank killed → first new step", "rankKilledToStepSeconds", None),
        (
            "rank killed → new step, beyond cold start",
            "restartBeyondColdStartSeconds",
            RESTART_MARGIN,
        ),
    )
    return [_row(name, figures[key], bound) for name, key, bound in bounds]


def _row(name: str, spread: Mapping[str, float], bound: float | None) -> Row:
    value = f"{spread['median']:.1f} s, worst {spread['worst']:.1f} s of {spread['runs']}"
    if bound is None:
        return Row(name, value)
    return Row(name, value, f"≤ {bound:g} s", spread["worst"] <= bound)


def control_plane_up() -> float:
    """Seconds until an API server with controllers and scheduler is at work."""
    since = time.monotonic()
    with Bed("plane"):
        return time.monotonic() - since


# ---------------------------------------------------------------------- from the NaN to people


def faults_told(bed: Bed, space: Namespace, folder: Path, runs: int) -> dict[str, list[float]]:
    """Seconds from the NaN to status and to both webhooks, over the same jobs one after the other."""
    told: dict[str, list[float]] = {"nanToStatusSeconds": [], "nanToWebhookSeconds": []}
    moments: dict[str, float] = {}
    with contextlib.ExitStack() as stack:
        fast = stack.enter_context(_webhook(bed, folder / "fast", Pace()))
        slow = stack.enter_context(_webhook(bed, folder / "default", CHART_PACE))
        for number in range(runs):
            job = f"nan-{number}"
            place = folder / jobs.CHECKPOINTS / job
            moments[job], seen = fault_in_a_pod(
                space, job, place, Rule.NON_FINITE, loss="nan", wanted=1
            )
            told["nanToStatusSeconds"].append(seen - moments[job])
            told["nanToWebhookSeconds"].append(_heard(fast, job) - moments[job])
            log_to_stderr(f"{job}: { ({name: round(t[-1], 1) for name, t in told.items()}) }")
        by_default = [_heard(slow, job) - moment for job, moment in moments.items()]
    for job in moments:
        space.delete(job)
    return {**told, "nanToWebhookByDefaultSeconds": by_default}


@contextlib.contextmanager
def _webhook(bed: Bed, folder: Path, pace: Pace) -> Iterator[Receiver]:
    folder.mkdir()
    with alerting(bed, folder, pace) as (_, receiver):
        yield receiver


def zeros_told(space: Namespace, folder: Path, runs: int) -> dict[str, list[float]]:
    """Seconds from the report that makes zeros a fault to status."""
    seconds = []
    for number in range(runs):
        job = f"zero-{number}"
        place = folder / jobs.CHECKPOINTS / job
        loss, wanted = "0", ZeroLoss().for_steps
        told, seen = fault_in_a_pod(space, job, place, Rule.ZERO_LOSS, loss=loss, wanted=wanted)
        seconds.append(seen - told)
        log_to_stderr(f"{job}: status after {seconds[-1]:.1f} s")
        space.delete(job)
    return {"zeroLossToStatusSeconds": seconds}


def fault_in_a_pod(
    space: Namespace, name: str, moment: Path, rule: Rule, *, loss: str, wanted: int
) -> tuple[float, float]:
    """When the bad loss was reported for the `wanted`-th time, and when status named it: epoch seconds."""
    job = jobs.script(name, PROBE.read_text("utf-8"))
    trainer = job["spec"]["trainer"]
    healthy = random.uniform(10.0, 15.0)  # any phase of the scrapes, of which there were some
    place = f"/{jobs.CHECKPOINTS}/{name}"
    trainer["args"] = [place, f"{healthy:.2f}", "0.1", loss, str(wanted)]
    trainer["volumeMounts"] = [{"name": jobs.CHECKPOINTS, "mountPath": f"/{jobs.CHECKPOINTS}"}]
    claim = {"persistentVolumeClaim": {"claimName": jobs.CHECKPOINTS}}
    job["spec"]["pod"] = {"volumes": [{"name": jobs.CHECKPOINTS, **claim}]}
    space.apply(job)

    def named() -> float | None:
        return time.time() if rule.value in rules_of(space.status(name)) else None

    seen = wait_for(f"the finding of {name}", named, PATIENCE, every=0.02)
    return float(moment.read_text()), seen


def _heard(receiver: Receiver, job: str) -> float:
    return wait_for(
        f"{ALERT} of {job}", lambda: receiver.first(job, ALERT), PATIENCE, every=0.02
    ).at


# ---------------------------------------------------------------------- from a dead rank to the next step


def restarts(space: Namespace, wanted: int) -> tuple[list[float], list[float]]:
    """For each killed rank: seconds of its job's cold start, and from the kill to the first new step."""
    cold: list[float] = []
    back: list[float] = []
    for number in range(-(-wanted // KILLS_PER_JOB)):
        name = f"gang-{number}"
        policy = {"restarts": {"max": 100, "sameCause": 100, "perWindow": {"max": 100}}}
        began = time.time()
        saving = {"uri": f"/{jobs.CHECKPOINTS}/{name}", "everySteps": 5}
        space.apply(jobs.vits(name, steps=100_000, checkpoint=saving, runPolicy=policy))
        first = stepped(space, name, 1) - began
        step = 0
        for kill in range(min(KILLS_PER_JOB, wanted - len(back))):
            step = step_to_lose(space, name, step)
            killed = kill_rank(space, f"{name}-worker-0" if kill % 2 else f"{name}-master-0")
            back.append(stepped(space, name, kill + 2) - killed)
            cold.append(first)
            log_to_stderr(f"{name}: cold {first:.1f} s, rank killed → step {back[-1]:.1f} s")
        space.delete(name)
        space.until_gone(name, PATIENCE)
    return cold, back


def step_to_lose(space: Namespace, job: str, lost: int) -> int:
    """The step once a checkpoint lies behind it and the step that was lost before."""

    def saved(status: Mapping[str, Any]) -> int:
        saved_at = status.get("progress", {}).get("lastCheckpointStep")
        step = reached(status)
        return step if saved_at and step > lost else 0

    return space.until("a checkpoint", job, saved, PATIENCE)


def kill_rank(space: Namespace, pod: str) -> float:
    """When the rank in this pod was killed, in epoch seconds."""
    said = space.kubectl("exec", pod, "-c", names.CONTAINER, "--", "python", "-c", KILL_RANK)
    return float(said)


def stepped(space: Namespace, job: str, attempt: int) -> float:
    """When every pod of this attempt had reported a step, in epoch seconds."""

    def ready() -> float | None:
        pods = space.pods(job).values()
        ours = [p for p in pods if p["metadata"]["labels"][names.LABEL_ATTEMPT] == str(attempt)]
        answers = [_steps(pod["status"].get("podIP", "")) for pod in ours]
        return time.time() if len(answers) == 2 and all(answers) else None

    seen = wait_for(f"a step of attempt {attempt} of {job}", ready, PATIENCE, every=0.1)
    assert space.status(job)["state"] != State.FAILED.value
    return seen


def _steps(address: str) -> bool:
    """Whether all ranks of a pod reported a step: what its readiness probe asks."""
    if not address:
        return False
    url = f"http://{address}:{names.SUPERVISOR_PORT}/readyz"
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except urllib.error.HTTPError as error:  # 503: not yet
        error.close()
        return False


if __name__ == "__main__":
    sys.exit(main())
