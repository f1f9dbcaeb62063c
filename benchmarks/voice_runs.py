"""Whole training runs of VITS Debug under the real supervisor: correct ones that are disturbed, and broken twins.

Used by accept_health.py, and by codec_runs.py and cloning_runs.py for what a run of any recipe shares. A correct run
warms up, evaluates, saves, is killed with its supervisor, suspended and resumed, and must raise nothing; one that is
given NaN batches must roll back, heal and raise nothing else. A twin runs twice: as people run it, where the preflight
must stop it, and with preflight off, so that what names it is a rule at a step.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import record
from record import Row
from twins.catalogue import VITS, Twin

from speech_contract import env, names, paths
from speech_contract.outcome import EXIT_PREFLIGHT
from speech_contract.preflight import Mark
from speech_contract.progress import Rule
from speech_operator.cluster.local_state import JobFolder
from speech_operator.local_run import resume, run_local, suspend
from speech_trainer.data.synthesize import SynthesisPlan, synthesize

STEPS, KILL_AT, SUSPEND_AT = 160, 60, 110
WITHIN = 20  # steps from the first at which a twin acts
PREFLIGHT_SECONDS = 60
UNCHECKED = {"preflight": {"mode": "Off"}}
ZOO = Path(__file__).resolve().parents[1] / "tests" / "zoo"


@dataclasses.dataclass
class Watched:
    """What one run said over all its attempts."""

    findings: dict[tuple[int, str], Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    step: int = 0
    killed: bool = False
    preflight: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # the first attempt's

    def see(self, status: Mapping[str, Any]) -> None:
        """Keep the newest of each attempt's findings."""
        self.step = status.get("progress", {}).get("step") or 0
        self.preflight = self.preflight or status.get("preflight", {})
        for finding in status.get("health", {}).get("findings", []):
            self.findings[status.get("attempt", 0), finding["rule"]] = finding

    def told(self) -> list[dict[str, Any]]:
        """Warnings and worse, by rule, step, evidence."""
        keys = ("rule", "step", "status", "severity", "action", "evidence")
        found = [
            {"attempt": a, **{k: f.get(k) for k in keys}} for (a, _), f in self.findings.items()
        ]
        return [one for one in found if one["severity"] != "info"]


def speech(place: Path, speakers: int) -> Path:
    """A folder of synthesized sentences."""
    folder = place / f"speech-{speakers}"
    plan = SynthesisPlan(
        languages=("te",), speakers=speakers, utterances=32, validation=4, seed=speakers
    )
    synthesize(plan, folder)
    return folder


def job(name: str, data: Path, seed: int, **more: Any) -> dict[str, Any]:
    """The manifest: as people write it, every step reported."""
    manifests = {"train": {"manifest": str(data / "train.jsonl")}}
    if more.pop("held_out", False):
        manifests["validation"] = {"manifest": str(data / "validation.jsonl")}
    training = {"seed": seed, "device": "CPU", "globalBatchSize": 4, "logEverySteps": 1}
    wrap, kind = more.pop("wrap", ""), more.pop("kind", "vits")
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "metadata": {"name": name},
        "spec": {
            "recipe": {kind: {"preset": "Debug", **more.pop("recipe", {})}},
            "data": manifests,
            "training": training | more.pop("training"),
            "trainer": {"env": [{"name": env.WRAP_RECIPE, "value": wrap}]} if wrap else {},
            **more,
        },
    }


def disturbed(place: Path, data: Path, seed: int) -> dict[str, Any]:
    """One correct run: warm-up, evaluations, saves, a kill, a suspension."""
    name = f"disturbed-{seed}"
    document = job(
        name, data, seed, held_out=True,
        training={"maxSteps": STEPS, "evaluateEverySteps": 40},
        checkpoint={"uri": name, "everySteps": 25},
        strategicLogging={"enabled": True, "everySteps": 50},
    )  # fmt: skip
    began, watched = time.monotonic(), Watched()
    codes = asyncio.run(_disturb(document, place, name, watched))
    return _told(place, name, watched, began) | {"seed": seed, "exitCodes": codes}


async def _disturb(document: dict[str, Any], place: Path, name: str, watched: Watched) -> list[int]:
    folder, due = JobFolder(place / "state", "default", name), asyncio.Event()

    def look(found: Mapping[str, Any], _: object) -> None:
        watched.see(found.get("status", {}))
        if watched.step >= KILL_AT and not watched.killed:
            watched.killed = True
            _kill(folder)
        if watched.step >= SUSPEND_AT:
            due.set()

    codes = [await _run_until(due, document, place, look)]
    if codes[0] == 75:
        codes.append(await resume(place / "state", "default", name, on_update=look))
    return codes


async def _run_until(
    due: asyncio.Event, document: dict[str, Any], place: Path, look: Callable[..., None]
) -> int:
    """Run to the end, or suspend once it is due. The exit code."""
    state = place / "state"
    run = asyncio.create_task(run_local(document, place / "job.yaml", state, on_update=look))
    waiting = asyncio.create_task(due.wait())
    await asyncio.wait({run, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if not run.done():
        await suspend(state, "default", document["metadata"]["name"])
    return await run


def _kill(folder: JobFolder) -> None:
    """The supervisor of this run, which takes its ranks with it."""
    for pod in (folder.path / "pods").glob("*.json"):
        pid = json.loads(pod.read_text(encoding="utf-8")).get("pid")
        if pid:
            os.kill(pid, signal.SIGKILL)


def healed(place: Path, data: Path, seed: int) -> dict[str, Any]:
    """NaN in the batches of five steps: rolled back, skipped, and only that is told."""
    name = f"healed-{seed}"
    document = job(
        name, data, seed, wrap="vits_faults:nan_window",
        training={"maxSteps": 45}, checkpoint={"uri": name, "everySteps": 10},
        health=UNCHECKED | {"nonFinite": {"confirmSteps": 5}},
    )  # fmt: skip
    return {"seed": seed, **watch(document, place)}


def twin_run(place: Path, data: Path, twin: Twin, kind: str = "vits") -> dict[str, Any]:
    """A twin, whole: what the preflight says; with it off, which of its rules spoke, and at which step."""
    name = twin.wrap.__name__
    before = watch(_twin_job(f"{name}-before", data, twin, kind), place, twin.last)
    off = _twin_job(name, data, twin, kind, health=UNCHECKED)
    ran = watch(off, place, twin.last)
    spoke = [one for one in ran["findings"] if one["rule"] in {rule.value for rule in twin.rules}]
    return {
        "twin": twin.name,
        "breaks": twin.breaks,
        "check": twin.check.value if twin.check else "",
        "onlyWarned": twin.warned,  # `warned` is of the run
        "later": twin.later,
        "emulated": twin.emulated,
        "actsFrom": twin.acts_from,
        "rules": [rule.value for rule in twin.rules],
        "caught": [{key: one[key] for key in ("rule", "step", "action")} for one in spoke],
        "inTime": bool(spoke)
        and all((one["step"] or 0) < twin.acts_from + WITHIN for one in spoke),
        "byTime": Rule.STALLED in twin.rules,
        "before": {key: before[key] for key in ("exitCodes", "steps", "preflight", "warned")},
        **ran,
    }


def _twin_job(name: str, data: Path, twin: Twin, kind: str, **more: Any) -> dict[str, Any]:
    name = name.replace("_", "-")  # the run directory's too: it is looked for by the job's
    return job(
        name, data, 7, wrap=twin.hook, recipe=twin.recipe, kind=kind,
        training={"maxSteps": twin.last} | twin.training, held_out=kind != "vits",
        checkpoint={"uri": name, "everySteps": 8},
        strategicLogging={"enabled": False}, nprocPerNode=twin.ranks,
        runPolicy={"restarts": {"max": 0}}, **more,
    )  # fmt: skip


def watch(document: dict[str, Any], place: Path, until: int | None = None) -> dict[str, Any]:
    """Run to its end, or be suspended at step `until` of a longer plan."""
    name = document["metadata"]["name"]
    began, watched = time.monotonic(), Watched()
    code = asyncio.run(_follow(document, place, watched, until))
    return _told(place, name, watched, began) | {"exitCodes": [code]}


async def _follow(
    document: dict[str, Any], place: Path, watched: Watched, until: int | None
) -> int:
    due, planned = asyncio.Event(), document["spec"]["training"]["maxSteps"]

    def look(found: Mapping[str, Any], _: object) -> None:
        watched.see(found.get("status", {}))
        if until is not None and until <= watched.step and until < planned:
            due.set()

    return await _run_until(due, document, place, look)


def _told(place: Path, name: str, watched: Watched, began: float) -> dict[str, Any]:
    status = (JobFolder(place / "state", "default", name).read_job() or {})["status"]
    watched.see(status)
    return {
        "state": status.get("state"),
        "attempt": status.get("attempt"),
        "verdict": status.get("health", {}).get("verdict"),
        "steps": watched.step,
        "findings": watched.told(),
        "preflight": watched.preflight,
        "warned": _warned(place / name),
        "seconds": round(time.monotonic() - began, 1),
    }


def _warned(run_dir: Path) -> list[str]:
    """Names of the preflight checks that warned; status tells their number alone."""
    path = run_dir / paths.PREFLIGHT
    if not path.is_file():
        return []
    rows = json.loads(path.read_text(encoding="utf-8"))["results"]
    return list(dict.fromkeys(r["check"] for r in rows if r["mark"] == Mark.WARNED.value))


def failed_checks(ran: Mapping[str, Any]) -> list[str]:
    """Names of the preflight checks that stopped a run."""
    return list(dict.fromkeys(str(row["check"]) for row in ran["preflight"].get("failed", [])))


def measure(place: Path, seeds: list[int], twins: tuple[Twin, ...] = VITS) -> dict[str, Any]:
    """All of it; a line of progress a run."""
    reach_hooks()
    data = {speakers: speech(place, speakers) for speakers in (1, 2)}
    return {
        "disturbed": list(say(disturbed(place, data[1], seed) for seed in seeds)),
        "healed": list(say(healed(place, data[1], seed) for seed in seeds)),
        "twins": list(say(twin_run(place, data[one.speakers], one) for one in twins)),
    }


def reach_hooks() -> None:
    """Let the processes that train import the twins."""
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ZOO), os.environ.get("PYTHONPATH", "")])


def say(runs: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for one in runs:
        who = one.get("twin", f"seed {one.get('seed')}")
        found = ", ".join(f"{f['rule']} at {f['step']}" for f in one["findings"]) or "nothing"
        if "before" in one:
            found = f"preflight {failed_checks(one['before'])}; then {found}"
        sys.stdout.write(f"{who}: {found}; exit {one['exitCodes']}, {one['seconds']} s\n")
        sys.stdout.flush()
        yield one


def table(result: dict[str, Any]) -> list[Row]:
    """Correct runs raise nothing, healed ones nothing but what healed; each twin is named in time."""
    rows = [checked("VITS", result["disturbed"])] if result["disturbed"] else []
    for one in result["disturbed"]:
        who = f"VITS, seed {one['seed']}: killed, suspended, evaluated: findings"
        said = "; ".join(f["rule"] for f in one["findings"]) or f"none, {one['seconds']:.0f} s"
        ended = one["exitCodes"][-1] == 0 and one["attempt"] > 1
        rows.append(Row(who, said, "none", not one["findings"] and ended))
    for one in result["healed"]:
        rules = [f["rule"] for f in one["findings"]]
        who = f"VITS, seed {one['seed']}: NaN batches rolled back: findings"
        rows.append(Row(who, ", ".join(rules), "NonFinite", rules == ["NonFinite"]))
    return rows + twin_table("VITS", result["twins"])


def sound_and_twins(
    place: Path, data: Path, kind: str, sound: Callable[[Path, Path, int], dict[str, Any]],
    seeds: Sequence[int], twins: Sequence[Twin],
) -> dict[str, Any]:  # fmt: skip
    """Correct runs of a recipe, one a seed, and its twins; a line of progress a run."""
    reach_hooks()
    return {
        "sound": list(say(sound(place, data, seed) for seed in seeds)),
        "twins": list(say(twin_run(place, data, twin, kind) for twin in twins)),
    }


def sound_and_twins_table(recipe: str, result: Mapping[str, Any]) -> list[Row]:
    """Correct runs raise nothing; each twin is named, in time."""
    found = result["sound"]
    rows = [checked(recipe, found)] if found else []
    for one in found:
        said = "; ".join(f["rule"] for f in one["findings"]) or f"none, {one['seconds']:.0f} s"
        quiet = not one["findings"] and one["exitCodes"] == [0]
        who = f"{recipe}, seed {one['seed']}: {one['steps']} steps: findings"
        rows.append(Row(who, said, "none", quiet))
    return rows + twin_table(recipe, result["twins"])


def alone(
    recipe: str, twins: Sequence[Twin],
    measure: Callable[[Path, Sequence[int], Sequence[Twin]], dict[str, Any]],
) -> int:  # fmt: skip
    """The command line of a recipe's runs: what was asked for, shown, nothing written. The exit code."""
    parser = argparse.ArgumentParser(description=f"Whole runs of {recipe} and of its twins.")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2, 3, 4])
    parser.add_argument("--twins", nargs="*", default=[twin.wrap.__name__ for twin in twins])
    given = parser.parse_args()
    record.be_quiet()
    with tempfile.TemporaryDirectory() as folder:
        chosen = [twin for twin in twins if twin.wrap.__name__ in given.twins]
        rows = sound_and_twins_table(recipe, measure(Path(folder), given.seeds, chosen))
    record.show(rows)
    return 0 if all(row.holds is not False for row in rows) else 1


def checked(recipe: str, runs: Sequence[dict[str, Any]]) -> Row:
    """The preflight of the correct recipe, and what it costs."""
    passed = sum(one["preflight"].get("verdict") == "Passed" for one in runs)
    seconds = [float(one["preflight"].get("seconds", "nan")) for one in runs]
    said = f"{passed} of {len(runs)} passed; {statistics.median(seconds):.1f} s, worst {max(seconds):.1f} s"
    holds = passed == len(runs) and max(seconds) <= PREFLIGHT_SECONDS
    return Row(f"preflight of correct {recipe} runs", said, f"all, ≤ {PREFLIGHT_SECONDS} s", holds)


def twin_table(recipe: str, twins: Sequence[dict[str, Any]]) -> list[Row]:
    """Both ways in which each twin is named, and their sums."""
    before, within, rows = [], [], []
    for one in twins:
        if one["check"]:
            checks = one["before"]["warned"] if one["onlyWarned"] else failed_checks(one["before"])
            before.append(_named_before(one, checks))
            said = ", ".join(checks) or "nothing"
            said += f", {one['before']['preflight'].get('seconds', 0)} s"
            limit = "warned before step 1" if one["onlyWarned"] else "before step 1"
            rows.append(Row(f"twin: {one['twin']}, preflight", said, limit, before[-1]))
        said = ", ".join(f"{c['rule']} at step {c['step']}" for c in one["caught"]) or "no rule"
        if one["rules"]:
            within.append(one["inTime"])
            limit = "stall limit" if one["byTime"] else f"< {one['actsFrom'] + WITHIN} steps"
            rows.append(Row(f"twin: {one['twin']}, rules", said, limit, within[-1]))
    sums = ((before, "named by the preflight"), (within, "named by a rule, preflight off"))
    return [
        *(
            Row(f"{recipe} twins {how}", f"{sum(held)} of {len(held)}", "all", all(held))
            for held, how in sums
        ),
        *rows,
    ]


def _named_before(one: Mapping[str, Any], checks: Sequence[str]) -> bool:
    """Stopped, or told of where it may be meant."""
    if one["onlyWarned"]:
        return one["check"] in checks
    stopped = one["before"]["exitCodes"] == [EXIT_PREFLIGHT] and not one["before"]["steps"]
    # status has room for the first failed rows, which need not be of the check that was meant
    return stopped and bool(checks)
