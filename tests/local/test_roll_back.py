"""NaN at sampler positions, two pods: it heals in the process, or by a new attempt, or the job fails; never in silence.

Toy jobs that save every five steps and confirm after three more; a step draws eight positions. The runs are
independent, so two at a time share the cores; each test looks at one of them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from desk import Desk, Said

from speech_cli.recordings import tensorboard

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

STEPS = 30
DRAWN = 8  # positions a step
LIMITS = {"confirmSteps": 3, "maxRollbacks": 1}
Ran = Callable[[str], Said]


def job(desk: Desk, name: str, first: int, last: int, **more: Any) -> Path:
    """Two pods with one rank each; NaN at the positions of the steps `first` to `last` of a quiet run."""
    nan = f"{(first - 1) * DRAWN}:{last * DRAWN}"
    health = {"nonFinite": LIMITS} | more.pop("health", {})
    restarts = {"max": 1, "sameCause": 9}
    return desk.script(
        name,
        "toy_job.py",
        "--nan",
        nan,
        **{
            "numNodes": 2,
            "nprocPerNode": 1,
            "training": {"maxSteps": STEPS, "seed": 3, "logEverySteps": 1, "device": "CPU"},
            "checkpoint": {"uri": name, "everySteps": 5},
            "health": health,
            "runPolicy": {"restarts": restarts},
            **more,
        },
    )


@pytest.fixture(scope="module")
def ran(shared_desk: Desk) -> Iterator[Ran]:
    """Call it with a run's name to get how the run ended."""
    desk = shared_desk
    paths = {
        "heals": job(desk, "heals", 13, 17),
        "heals-later": job(desk, "heals-later", 13, 22),
        "hopeless": job(desk, "hopeless", 13, 4000),
        "watched": job(desk, "watched", 13, 17, health={"mode": "Notify"}),
    }
    with ThreadPoolExecutor(2) as pool:
        ends: dict[str, Future[Said]] = {
            n: pool.submit(desk.call, "run", p) for n, p in paths.items()
        }
        yield lambda name: ends[name].result()


def marks(run_dir: Path) -> dict[str, set[str]]:
    """Marks of every checkpoint on the disk."""
    found = {}
    for folder in (run_dir / "checkpoints").glob("step-*"):
        found[folder.name] = {p.name for p in folder.iterdir()} & {"CONFIRMED", "QUARANTINED"}
    return found


def skipped(run_dir: Path) -> dict[str, dict[str, Any]]:
    """What is passed over, by the attempt's file."""
    return {p.stem: json.loads(p.read_text()) for p in (run_dir / "skips").glob("*.json")}


def fences(run_dir: Path) -> dict[int, dict[str, Any]]:
    """What each attempt wanted and what it resumed from."""
    found = (run_dir / "attempts").glob("attempt-*")
    return {int(p.name.removeprefix("attempt-")): json.loads(p.read_text()) for p in found}


def why(desk: Desk, name: str) -> dict[str, str]:
    """The lines of `why` by their names."""
    lines = desk.call("why", name).stdout.splitlines()
    return {line[:10].strip(): line[10:] for line in reversed(lines[1:])} | {"job": lines[0]}


def page(desk: Desk, name: str) -> dict[str, Any]:
    """What the page beside the run draws."""
    text = (desk.root / name / "report.html").read_text(encoding="utf-8")
    start = text.index('id="data">') + len('id="data">')
    found: dict[str, Any] = json.loads(text[start : text.index("</script>", start)])
    return found


@pytest.mark.parametrize("name", ["heals", "heals-later", "hopeless"])
def test_page_status_and_why_tell_the_same_numbers(ran: Ran, shared_desk: Desk, name: str) -> None:
    ran(name)
    progress, numbers = shared_desk.status(name)["progress"], page(shared_desk, name)["numbers"]
    why_says = shared_desk.call("why", name, "-o", "json").document
    same = (
        "step",
        "totalSteps",
        "nonFiniteSteps",
        "rollbacks",
        "discardedSteps",
        "lastCheckpointStep",
        "samplesSkipped",
    )
    assert {n: numbers.get(n) for n in same} == {n: progress.get(n) for n in same}
    assert numbers.get("lastConfirmedStep") == progress.get("lastConfirmedCheckpointStep")
    for real in ("loss", "gradientNorm", "learningRate"):
        assert f"{float(numbers[real]):.6g}" == progress[real], real
    account = shared_desk.status(name)["goodput"]
    seconds = {part: s for part, s in page(shared_desk, name)["goodput"]["seconds"].items() if s}
    assert page(shared_desk, name)["goodput"]["ratio"] == account.get("ratio", "")
    assert seconds == {
        n.removesuffix("Seconds"): s for n, s in account.items() if "Seconds" in n and s
    }
    assert (why_says["rollbacks"], why_says["discardedSteps"]) == (
        numbers["rollbacks"],
        numbers["discardedSteps"],
    )
    said = shared_desk.call("report", name, "--tensorboard", shared_desk.root / f"board-{name}")
    assert said.code == 0, said.text
    (events,) = (shared_desk.root / f"board-{name}").iterdir()
    last = tensorboard(events.read_bytes())[-1]
    assert (last["step"], f"{last['losses/total']:.6g}") == (progress["step"], progress["loss"])


def test_the_page_keeps_and_marks_the_stretch_that_was_left(ran: Ran, shared_desk: Desk) -> None:
    ran("heals")
    loss = page(shared_desk, "heals")["charts"][0]
    first = loss["lines"][0]["label"]
    kept, left = (
        [
            line
            for line in loss["lines"]
            if line["label"] == first and line.get("left", False) is gone
        ]
        for gone in (False, True)
    )
    assert kept[0]["x"] == list(range(1, STEPS + 1))
    assert kept[0]["bad"] == []
    assert [line["x"] for line in left] == [list(range(6, 18))]
    assert left[0]["bad"] == [[13, 17, "NaN", 5]]


def test_it_heals_in_the_process(ran: Ran, shared_desk: Desk) -> None:
    said = ran("heals")
    assert said.code == 0, said.text
    status, run_dir = shared_desk.status("heals"), shared_desk.root / "heals"
    assert (status["state"], status["attempt"]) == ("Complete", 1)
    progress = status["progress"]
    assert (progress["rollbacks"], progress["discardedSteps"]) == (1, 12)  # from step 17 to 5
    (skip,) = skipped(run_dir).values()
    assert skip["windows"] == [[12 * DRAWN, 17 * DRAWN]]
    assert (skip["step"], skip["target"]) == (17, 5)
    quarantined = shared_desk.events("heals", "checkpoint_quarantined")
    # a finding came before 10 was confirmed; 15 was saved amid bad steps
    assert [event["step"] for event in quarantined] == [10, 15]
    finding = shared_desk.findings("heals")["NonFinite"]
    assert (finding["severity"], finding["action"]) == ("warning", "RolledBack")
    told = why(shared_desk, "heals")
    assert told["back"].startswith("1 roll-back, 12 steps discarded")


def test_longer_than_the_roll_backs_allow_heals_in_the_next_attempt(
    ran: Ran, shared_desk: Desk
) -> None:
    said = ran("heals-later")
    assert said.code == 0, said.text
    status, run_dir = shared_desk.status("heals-later"), shared_desk.root / "heals-later"
    first, second = status["attempts"]
    assert (first["exitCode"], first["cause"]) == (40, "NonFiniteBudgetSpent")
    assert second["resumedFromStep"] == 5
    assert fences(run_dir)[2]["resumeFrom"] == "Confirmed"
    assert fences(run_dir)[2]["target"] == "step-5.a1"
    assert set(skipped(run_dir)) == {"1-1", "1-2"}
    assert status["progress"]["rollbacks"] == 1
    assert status["progress"]["discardedSteps"] == 12 + 12  # the roll-back, then exit code 40
    assert first["discardedSteps"] == 24
    bad = {
        e["step"] for e in shared_desk.events("heals-later", "update_skipped") if e["attempt"] == 2
    }
    assert bad == set()  # the second attempt met none of them


def test_a_fault_without_end_fails_within_the_budgets(ran: Ran, shared_desk: Desk) -> None:
    said = ran("hopeless")
    assert said.code == 40, said.text
    status, run_dir = shared_desk.status("hopeless"), shared_desk.root / "hopeless"
    assert (status["state"], status["failure"]["reason"]) == ("Failed", "RestartBudgetSpent")
    attempts = status["attempts"]
    assert [a["exitCode"] for a in attempts] == [40, 40]
    assert [a.get("resumedFromStep") for a in attempts] == [None, 5]
    assert [f["target"] for _, f in sorted(fences(run_dir).items())] == [None, "step-5.a1"]
    last = {name: record["windows"][-1][1] for name, record in skipped(run_dir).items()}
    assert sorted(last) == ["1-1", "1-2", "2-1", "2-2"]
    assert sorted(last.values()) == [last[name] for name in sorted(last)]  # each goes further
    sums = [status["progress"]["rollbacks"], status["progress"]["discardedSteps"]]
    assert sums == [2, sum(a["discardedSteps"] for a in attempts)]
    trusted = {n for n, m in marks(run_dir).items() if m == {"CONFIRMED"}}
    assert trusted == {"step-5.a1"}
    assert all("QUARANTINED" in m for n, m in marks(run_dir).items() if n not in trusted)


def test_nothing_after_the_first_bad_step_is_ever_resumed_from(ran: Ran, shared_desk: Desk) -> None:
    for name in ("heals", "heals-later", "hopeless"):
        ran(name)
        events = shared_desk.events(name, "checkpoint_restored")
        assert all(e["step"] < 13 for e in events), events


def test_why_tells_the_story(ran: Ran, shared_desk: Desk) -> None:
    ran("hopeless")
    told = why(shared_desk, "hopeless")
    assert "Failed, health Critical, RestartBudgetSpent (exit code 40" in told["job"]
    assert told["attempts"].startswith("1: AttemptFailed NonFiniteBudgetSpent, exit code 40")
    assert told["attempts"].endswith("from scratch")
    assert told["back"].startswith("2 roll-backs")
    assert told["back"].endswith("newest confirmed checkpoint: step 5")
    assert "module mapper" in told["first bad"]
    assert told["rule"].startswith("NonFinite: ")
    assert told["rule"].endswith("→ Stopped")
    assert "health.nonFinite.maxRollbacks: 1 is the budget" in told["next"]
    assert "--new" not in told["next"]  # it would leave the confirmed checkpoint behind


def test_notify_says_what_it_would_have_done_and_does_nothing(ran: Ran, shared_desk: Desk) -> None:
    said = ran("watched")
    assert said.code == 0, said.text
    status, run_dir = shared_desk.status("watched"), shared_desk.root / "watched"
    assert (status["state"], status["attempt"]) == ("Complete", 1)
    assert (status["progress"]["rollbacks"], status["progress"]["discardedSteps"]) == (0, 0)
    assert skipped(run_dir) == {}
    finding = shared_desk.findings("watched")["NonFinite"]
    assert (finding["severity"], finding["action"]) == ("critical", "WouldHaveRolledBack")
    # The gate is not a matter of mode.
    assert len(shared_desk.events("watched", "update_skipped")) == 5
