"""How much watching costs, and how soon a fault is in the status, on this machine: `make accept-local`.

    python benchmarks/accept_local.py [--runs 20] [--steps 300]

Measures: CPU seconds of supervisor and reporter beside those of the ranks of a VITS Debug run; seconds from the
20th report of zero loss, and from the first NaN step, to the finding in the job's status; seconds from the death
of a rank to a whole gang that trains again. Writes results/local.json.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import record
from record import Row

from speech_contract import env, names
from speech_contract.phases import Phase
from speech_contract.wire import Datagram
from speech_operator.cluster.local_state import JobFolder
from speech_operator.local_run import run_local
from speech_telemetry.processes import descendants
from speech_telemetry.reporter import Reporter

PROBE = Path(__file__).with_name("probe.py")
CPU_BOUND = 0.01
ZERO_LOSS_BOUND = 5.0
PASSES = 5

Document = Mapping[str, Any]
OnUpdate = Callable[[Document, Any], None]


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--restarts", type=int, default=5)
    parser.add_argument("--steps", type=int, default=300, help="of the Debug run")
    options = parser.parse_args()
    record.be_quiet()
    before = record.machine()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        zero = [
            seconds_to_finding(place, f"zero-{n}", "zero", "ZeroLoss") for n in range(options.runs)
        ]
        nan = [
            seconds_to_finding(place, f"nan-{n}", "nan", "NonFinite") for n in range(options.runs)
        ]
        restarts = [seconds_to_restart(place, f"gang-{n}") for n in range(options.restarts)]
        cost = watching(place, options.steps)
    figures = {
        "zeroLossToStatusSeconds": record.spread(zero),
        "nanToStatusSeconds": record.spread(nan),
        "gangRestartSeconds": record.spread(restarts),
        "watching": cost,
    }
    rows = table(figures)
    record.show(rows)
    return 0 if record.write("local", before, figures, rows) else 1


def table(figures: Mapping[str, Any]) -> list[Row]:
    """The figures beside what they must be."""
    zero, cost = figures["zeroLossToStatusSeconds"], figures["watching"]
    share = cost["share"]
    return [
        Row("20th zero report → finding in status", _spread(zero), f"≤ {ZERO_LOSS_BOUND:g} s",
            zero["worst"] <= ZERO_LOSS_BOUND),
        Row("first NaN step → finding in status", _spread(figures["nanToStatusSeconds"])),
        Row("death of a rank → the gang trains again", _spread(figures["gangRestartSeconds"])),
        Row("CPU of the ranks", f"{cost['ranksCpuSeconds']:.1f} s in {cost['steps']} steps"),
        Row("CPU of the supervisor", f"{cost['supervisorCpuSeconds']:.2f} s"),
        Row("reporter, a step", f"{cost['reporterMicroseconds']:.1f} µs (no-op {cost['noOpMicroseconds']:.1f} µs)"),
        Row("reporter + supervisor of the ranks", f"{share:.2%}", f"≤ {CPU_BOUND:.0%}", share <= CPU_BOUND),
    ]  # fmt: skip


def _spread(figure: Mapping[str, float]) -> str:
    return f"median {figure['median']:.2f} s, worst {figure['worst']:.2f} s of {figure['runs']}"


# -- how soon -------------------------------------------------------------------------------------------------


def probe_job(name: str, deed: str, moment: Path, nodes: int = 1) -> dict[str, Any]:
    """A custom job that runs probe.py."""
    command = ["python3", str(PROBE), deed, str(moment)]
    return document(name, {
        "recipe": {"custom": {}}, "trainer": {"command": command}, "numNodes": nodes, "nprocPerNode": 1,
        "runPolicy": {"terminationGracePeriodSeconds": 5},
    })  # fmt: skip


def document(name: str, spec: dict[str, Any]) -> dict[str, Any]:
    """A manifest with a run directory of its own."""
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "metadata": {"name": name},
        "spec": {"checkpoint": {"uri": f"run-{name}"}, **spec},
    }


def run(place: Path, job: dict[str, Any], on_update: OnUpdate | None = None) -> int:
    """Run a job to its end, in this process as the command line does."""
    return asyncio.run(run_local(job, place / "job.yaml", place / "state", on_update=on_update))


def seconds_to_finding(place: Path, name: str, deed: str, rule: str) -> float:
    """From the moment the probe notes to the first status that holds the finding."""
    moment, seen = place / f"{name}.moment", list[float]()

    def look(job: Document, progress: Any) -> None:
        found = job.get("status", {}).get("health", {}).get("findings", [])
        if not seen and any(finding["rule"] == rule for finding in found):
            seen.append(time.time())

    run(place, probe_job(name, deed, moment), look)
    return seen[0] - float(moment.read_text())


def seconds_to_restart(place: Path, name: str) -> float:
    """From SIGKILL of a rank to the status that shows the next attempt training on both pods."""
    folder = JobFolder(place / "state", "default", name)
    killed, seen = list[float](), list[float]()

    def look(job: Document, progress: Any) -> None:
        status = job.get("status", {})
        step = (status.get("progress") or {}).get("step") or 0
        running = status.get("state") == "Running" and step > 0
        if running and status["attempt"] == 1 and not killed:
            worker = next(pod for pod in folder.pods() if pod.node_rank == 1)
            os.kill(descendants(worker.pid)[0], signal.SIGKILL)
            killed.append(time.time())
        if running and status["attempt"] == 2 and not seen:
            seen.append(time.time())
            folder.set_suspend(True)

    run(place, probe_job(name, "steps", place / f"{name}.moment", nodes=2), look)
    return seen[0] - killed[0]


# -- what it costs --------------------------------------------------------------------------------------------


def watching(place: Path, steps: int) -> dict[str, float]:
    """CPU of supervisor and reporter beside the ranks' of one VITS Debug run."""
    from speech_trainer.data.synthesize import SynthesisPlan, synthesize

    data = place / "voice"
    synthesize(
        SynthesisPlan(languages=("te",), speakers=1, utterances=48, validation=4, seed=0), data
    )
    job = document("debug", {
        "recipe": {"vits": {"preset": "Debug"}},
        "data": {"train": {"manifest": str(data / "train.jsonl")}},
        "training": {"maxSteps": steps, "seed": 7, "device": "CPU"},
    })  # fmt: skip
    code = run(place, job)
    assert code == 0, f"the Debug run ended with {code}"
    log = JobFolder(place / "state", "default", "debug").pod_log("debug-master-0")
    ended = [json.loads(x) for x in log.read_text().splitlines() if '"supervisor_stopped"' in x][-1]
    reporter, nothing = reporter_cost(place)
    spent = ended["cpu_seconds"] + steps * (reporter - nothing) / 1e6
    return {
        "steps": steps,
        "supervisorCpuSeconds": ended["cpu_seconds"],
        "ranksCpuSeconds": ended["ranks_cpu_seconds"],
        "reporterMicroseconds": round(reporter, 2),
        "noOpMicroseconds": round(nothing, 2),
        "share": round(spent / ended["ranks_cpu_seconds"], 5),
    }


def reporter_cost(place: Path) -> tuple[float, float]:
    """CPU microseconds of one full report into a socket that is read, and of the same call without a supervisor."""
    address = str(place / "socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(address)
        server.setblocking(False)
        told = {env.SOCKET: address, env.PHASE_FILE: str(place / "phase")}
        return cost(Reporter(told), server), cost(Reporter({}), None)


def cost(reporter: Reporter, server: socket.socket | None, number: int = 2000) -> float:
    """Median of five passes. What the reader takes is not counted."""
    losses = {"total": 1.0, "generator/mel": 0.5, "generator/kl": 0.3, "generator/duration": 0.2}
    passes = []
    for _ in range(PASSES):
        spent = 0.0
        for step in range(number):
            began = time.process_time()
            reporter.stamp(step, Phase.TRAINING)
            reporter.send(
                Datagram(0, step, time.time(), Phase.TRAINING, losses=losses, gradient_norm=1.0)
            )
            spent += time.process_time() - began
            if server is not None:
                server.recv(65536)
        passes.append(spent / number * 1e6)
    return statistics.median(passes)


if __name__ == "__main__":
    sys.exit(main())
