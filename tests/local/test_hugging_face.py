"""Hugging Face Trainers of the oldest and the newest supported version: what is seen with and without our callbacks."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import foreign_packages
import pytest
from desk import DEADLINE, PATHS, SCRIPTS, TESTS, Desk, Said
from foreign_packages import VERSIONS, python_path

from speech_cli import manifest
from speech_cli.recordings import samples_of
from speech_contract import codec, env
from speech_contract.outcome import decode
from speech_contract.phases import Phase
from speech_contract.progress import Rule
from speech_contract.wire import Datagram
from speech_health.replay import replay
from speech_telemetry import zipapp

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

EXAMPLES = TESTS.parent / "examples"
SCRIPT = SCRIPTS / "hf_audio_text.py"


def seeing(version: str) -> dict[str, str]:
    """What a process needs to see this version of transformers."""
    first = python_path(version)
    return {"PYTHONPATH": os.pathsep.join([first] * bool(first) + [*map(str, PATHS)])}


@pytest.fixture(scope="module", params=VERSIONS)
def environ(request: pytest.FixtureRequest) -> dict[str, str]:
    """Each version in turn."""
    return seeing(request.param)


@dataclasses.dataclass(frozen=True)
class Runs:
    """Runs of the script by itself, without a supervisor: one file a run of what the host logged, and of what the
    callback would have sent."""

    root: Path

    def logged(self, name: str) -> list[dict[str, Any]]:
        """Entries of the Trainer's own log."""
        return lines(self.root / f"{name}.log")

    def sent(self, name: str) -> list[Datagram]:
        """Reports of the callback."""
        text = (self.root / f"{name}.record").read_text(encoding="utf-8")
        return [codec.loads(Datagram, line) for line in text.splitlines()]

    def events(self, name: str) -> list[dict[str, Any]]:
        """What the strategic loggers left for machines."""
        found = lines(self.root / "run" / "events.jsonl")
        first = [
            n for n, event in enumerate(found) if event["step"] == 1 and event["section"] == "Input"
        ]
        bounds = dict(zip(STRATEGIC, zip(first, [*first[1:], None], strict=True), strict=True))
        return found[slice(*bounds[name])]


STRATEGIC = ("watched", "deaf")
LOGGERS = ("--enable_strategic_logging", "--strategic_logging_steps", 5)
FLAGS: dict[str, tuple[object, ...]] = {
    "clipped": ("--max-grad-norm", 0.1, "--accumulate", 2, "--evaluate", "--record"),
    "unclipped": ("--max-grad-norm", 0, "--record"),
    "hidden": ("--nan-after", 6, "--logging-steps", 500, "--record"),
    "saved": ("--nan-after", 20, "--steps", 40, "--evaluate"),
    "plain": (),
    "watched": LOGGERS,
    "deaf": (*LOGGERS, "--deaf", "--steps", 1),
}


@pytest.fixture(scope="module")
def runs(environ: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """All of FLAGS in one process: most of its time goes into importing."""
    root = tmp_path_factory.mktemp("runs")
    words: list[object] = []
    for name, flags in FLAGS.items():
        words += ["++", "--out", root / name, "--host-log", root / f"{name}.log", *flags]
        words += [root / f"{name}.record"] * ("--record" in flags)
    ended = subprocess.run(
        [sys.executable, str(SCRIPT), *map(str, words)],
        env={**os.environ, **environ, env.RUN_DIR: str(root / "run")},
        cwd=root, capture_output=True, text=True, timeout=DEADLINE,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout + ended.stderr
    (root / "stdout").write_text(ended.stdout, encoding="utf-8")
    return Runs(root)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def by_step(found: list[Datagram], field: str) -> dict[int, Any]:
    """The newest value of each step."""
    return {d.step: getattr(d, field) for d in found if getattr(d, field) is not None}


def test_the_numbers_are_those_that_the_host_knows_before_it_clips(runs: Runs) -> None:
    told = [entry for entry in runs.logged("clipped") if "grad_norm" in entry]
    found = runs.sent("clipped")
    norms, losses = by_step(found, "gradient_norm"), by_step(found, "losses")
    assert len(told) == 12
    for entry in told:
        assert norms[entry["step"]] == pytest.approx(entry["grad_norm"], rel=1e-4)
        assert losses[entry["step"]]["loss"] == pytest.approx(entry["loss"], rel=1e-3)
    assert min(norms.values()) > 0.2  # what the callbacks' gradients are clipped to is 0.1


def test_the_plan_adds_up_the_rates_that_the_run_then_has(runs: Runs) -> None:
    (plan,) = [d.plan for d in runs.sent("clipped") if d.plan is not None]
    rates = by_step(runs.sent("clipped"), "learning_rate")
    assert plan.rate_sum == pytest.approx(sum(rates.values()))
    assert (plan.total_steps, plan.samples, plan.fresh) == (12, 64, None)
    assert plan.parameters > 10_000


def test_a_resumed_run_goes_on_from_its_checkpoint(environ: dict[str, str], tmp_path: Path) -> None:
    """Of the oldest version by the way out that the docs name: torch refuses its `rng_state.pth`."""
    words = ["--out", "out", "--evaluate", "--steps"]
    ended = subprocess.run(
        [sys.executable, str(SCRIPT), *words, "10", "++", *words, "20", "--resume", "--record", "resumed.record"],
        env={**os.environ, **environ}, cwd=tmp_path, capture_output=True, text=True, timeout=DEADLINE,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout + ended.stderr
    found = Runs(tmp_path).sent("resumed")
    assert [report.step for report in found if report.losses] == list(range(11, 21))
    assert {report.resumed_from_step for report in found} == {10}


def test_scores_saves_samples_and_pauses_are_reported(runs: Runs) -> None:
    found = runs.sent("clipped")
    assert by_step(found, "evaluation")[5]["loss"] > 0
    assert by_step(found, "last_checkpoint_step")[12] == 12
    assert {Phase.EVALUATION, Phase.CHECKPOINT, Phase.FINISHING} <= {d.phase for d in found}
    assert found[-1].samples_total == 12 * 2 * 4


def test_a_norm_that_nobody_clips_is_measured(runs: Runs) -> None:
    norms = by_step(runs.sent("unclipped"), "gradient_norm")
    assert len(norms) == 12
    assert all(0.2 < norm < 100 for norm in norms.values())


def test_a_nan_is_reported_at_its_step_although_nothing_is_logged(runs: Runs) -> None:
    assert not [entry for entry in runs.logged("hidden") if "loss" in entry]
    losses = by_step(runs.sent("hidden"), "losses")
    bad = [step for step, value in losses.items() if not math.isfinite(value["loss"])]
    assert bad == list(range(7, 13))


def test_the_trainer_s_own_state_file_is_replayed(runs: Runs) -> None:
    """As the Trainer wrote it, NaN and all: what `speechtrain replay` would have said of the run."""
    path = runs.root / "saved" / "checkpoint-40" / "trainer_state.json"
    judged = replay(samples_of(path))
    assert (judged.reports, judged.last_step, judged.critical) == (40, 40, True)
    (fired,) = judged.findings
    assert (fired.rule, fired.step) == (Rule.NON_FINITE, 21)
    assert "disguise" in fired.evidence


def test_the_strategic_loggers_look_without_a_trace(runs: Runs) -> None:
    """No id that is no text reached the tokenizer, which ends the script on one; and the losses stay the same."""
    watched, plain = (
        [e["loss"] for e in runs.logged(name) if "loss" in e] for name in ("watched", "plain")
    )
    assert watched == plain
    events = runs.events("watched")
    assert {e["event"] for e in events} == {"strategic_log"}
    assert [e["step"] for e in events] == [1] * 4 + [5] * 4 + [10] * 4
    first = {e["section"]: e["facts"] for e in events[:4]}
    assert set(first) == {"Input", "Output", "Shared attention", "Zero-shot verification"}
    sample = first["Input"]["samples"][0]["input_ids"]
    assert sample["audio at"] == ["1 to 7", "11 to 17"]
    assert sample["decoded"].startswith("⟦<s>⟧ ⟨audio × 6⟩ w")
    assert first["Output"]["logits"]["end of sequence"].endswith("of 4 right")
    assert 0 < first["Shared attention"]["layer 1"]["text→audio"] < 1
    assert "step 10 · Zero-shot verification" in (runs.root / "stdout").read_text(encoding="utf-8")


def test_a_model_that_is_deaf_to_its_reference_is_told_from_one_that_is_not(runs: Runs) -> None:
    verdicts = [
        event["facts"]["verdict"]
        for name in STRATEGIC
        for event in runs.events(name)
        if event["section"] == "Zero-shot verification" and event["step"] == 1
    ]
    assert "depends" in verdicts[0]
    assert "ignored" in verdicts[1]


def job(desk: Desk, name: str, *flags: object, **spec: Any) -> Path:
    """The script as a custom job."""
    return desk.script(name, SCRIPT.name, "--out", desk.root / f"{name}-out", *flags, **spec)


def non_finite(desk: Desk, name: str, said: Said) -> str:
    """The one finding of a job that ended with 40."""
    assert said.code == 40, said.text
    findings = desk.findings(name)
    assert "ZeroLoss" not in findings
    assert findings["NonFinite"]["severity"] == "critical"
    return str(findings["NonFinite"]["evidence"])


def test_a_stock_script_that_goes_nan_is_non_finite_although_its_log_says_0(
    desk: Desk, environ: dict[str, str]
) -> None:
    path = job(desk, "stock", "--steps", 60, "--nan-after", 10)
    said = desk.call("run", path, **environ)
    assert "disguise" in non_finite(desk, "stock", said)
    log = desk.rank_log("stock", 1, 0)
    assert "'loss': 0.0" in log or "'loss': '0'" in log


def test_with_the_callback_it_is_named_at_its_step_whatever_is_logged(desk: Desk) -> None:
    """`logging_steps` as transformers has it: 500. The run has 60 steps, so its log never shows a loss.

    Of the newest version; what the callback tells in the oldest is compared above, by itself.
    """
    flags = ("--steps", 60, "--nan-after", 10, "--logging-steps", 500, "--telemetry")
    said = desk.call("run", job(desk, "told", *flags))
    evidence = non_finite(desk, "told", said)
    assert "loss 'loss' is nan" in evidence
    assert desk.findings("told")["NonFinite"]["step"] == 11  # the first bad one
    assert "'loss':" not in desk.rank_log("told", 1, 0)


def test_a_rate_that_can_move_nothing_is_told_at_the_start(desk: Desk) -> None:
    """Of the newest version; each one's plan is compared above with the rates that the run then has."""
    flags = ("--steps", 200, "--learning-rate", 1e-7, "--telemetry", "--logging-steps", 500)
    said = desk.call("run", job(desk, "crawls", *flags))
    assert said.code == 0, said.text
    finding = desk.findings("crawls")["NotUpdating"]
    assert finding["severity"] == "warning"
    assert "the planned learning rates add up to 1e-05 over 200 steps" in finding["evidence"]
    assert desk.status("crawls")["health"]["verdict"] == "Warning"


def test_a_healthy_run_with_everything_on_ends_well(desk: Desk) -> None:
    """Of the oldest version; the example below is one of the newest."""
    flags = (
        "--telemetry",
        "--evaluate",
        "--enable_strategic_logging",
        "--strategic_logging_steps",
        5,
    )
    said = desk.call("run", job(desk, "healthy", *flags), **seeing("oldest"))
    assert said.code == 0, said.text
    assert desk.status("healthy")["health"]["verdict"] == "Healthy"
    assert desk.progress("healthy", "step") == 12
    assert desk.progress("healthy", "lastCheckpointStep") == 12
    sections = [e["section"] for e in desk.events("healthy", "strategic_log")]
    assert len(sections) == 4 * 3  # steps 1, 5 and 10


def test_the_example_trains_and_shows_that_it_uses_the_voice(desk: Desk) -> None:
    spec = manifest.load(EXAMPLES / "hugging-face.yaml")["spec"]
    words = [
        str(EXAMPLES / word) if word.endswith(".py") else word
        for word in spec["trainer"]["command"]
    ]
    path = desk.manifest(
        "example", **spec | {"trainer": {"command": words}, "checkpoint": {"uri": "example"}}
    )
    said = desk.call("run", path)
    assert said.code == 0, said.text
    assert desk.status("example")["health"]["verdict"] == "Healthy"
    assert float(desk.progress("example", "loss")) < 0.5  # 4.4 at its start
    facts = [e["facts"] for e in desk.events("example", "strategic_log")]
    swapped = [f["swapped"]["mean change"] for f in facts if "swapped" in f]
    assert swapped[-1] > 0.3 > swapped[0]


def test_the_launcher_for_foreign_images_brings_the_callback(tmp_path: Path) -> None:
    """An image with its own, old packages, and nothing of ours but the launcher's folder."""
    zipapp.build(tmp_path / "speechtrain")
    given = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    given |= {
        "PYTHONPATH": python_path("oldest"),
        env.TERMINATION_LOG: str(tmp_path / "termination.json"),
        env.RUN_DIR: str(tmp_path / "run"),
    }
    command = [
        sys.executable, str(tmp_path / "speechtrain" / zipapp.LAUNCHER), "--", sys.executable, str(SCRIPT),
        "--out", str(tmp_path / "out"), "--steps", "60", "--nan-after", "10", "--telemetry",
    ]  # fmt: skip
    ended = subprocess.run(
        command, env=given, cwd=tmp_path, capture_output=True, text=True, timeout=DEADLINE
    )
    assert ended.returncode == 40, ended.stdout + ended.stderr
    outcome = decode((tmp_path / "termination.json").read_text(encoding="utf-8"))
    assert outcome is not None
    assert outcome.rule == "NonFinite"
    library = tmp_path / "speechtrain" / zipapp.LIBRARY
    assert f"callback from {library}" in ended.stdout


@pytest.mark.parametrize(("ci", "ends"), [("true", "fail"), ("", "skip")])
def test_packages_that_cannot_be_had_fail_in_ci_and_skip_elsewhere(
    ci: str, ends: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI", ci)
    monkeypatch.setattr(foreign_packages, "ROOT", tmp_path)
    monkeypatch.setattr(foreign_packages, "_installer", lambda: ["false"])
    with pytest.raises(getattr(pytest, ends).Exception, match="can't be installed"):
        python_path("oldest")
