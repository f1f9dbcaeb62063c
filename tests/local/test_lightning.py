"""A real Lightning Trainer: what its callback reports beside what the script itself saw, and a job that goes NaN."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from desk import DEADLINE, PATHS, SCRIPTS, Desk
from foreign_packages import LIGHTNING, folder_of_packages

from speech_contract import codec
from speech_contract.phases import Phase
from speech_contract.wire import Datagram

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

SCRIPT = SCRIPTS / "lightning_line.py"
FLAGS: dict[str, tuple[object, ...]] = {
    "clipped": ("--steps", 20, "--clip", 0.1),
    "accumulated": ("--steps", 10, "--accumulate", 2),
    "epochs": ("--epochs", 3),
    "manual": ("--steps", 10, "--manual"),
    "skips": ("--steps", 10, "--skip"),
    "again": ("--steps", 10),
    "resumed": ("--steps", 20),
}


@pytest.fixture(scope="module")
def environ() -> dict[str, str]:
    """What a process needs to see Lightning."""
    found = str(folder_of_packages(LIGHTNING))
    return {"PYTHONPATH": os.pathsep.join([found, *map(str, PATHS)])}


@pytest.fixture(scope="module")
def root(environ: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All of FLAGS in one process: most of its time goes into importing."""
    root = tmp_path_factory.mktemp("runs")
    words: list[object] = []
    for name, flags in FLAGS.items():
        out = root / ("again" if name == "resumed" else name)
        words += ["++", "--out", out, "--record", root / f"{name}.record", *flags]
        words += ["--resume", root / "again" / "last.ckpt"] * (name == "resumed")
    ended = subprocess.run(
        [sys.executable, str(SCRIPT), *map(str, words)],
        env={**os.environ, **environ}, cwd=root, capture_output=True, text=True, timeout=DEADLINE,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return root


def sent(root: Path, name: str) -> list[Datagram]:
    text = (root / f"{name}.record").read_text(encoding="utf-8")
    return [codec.loads(Datagram, line) for line in text.splitlines()]


def steps(root: Path, name: str) -> list[Datagram]:
    return [report for report in sent(root, name) if report.phase is Phase.TRAINING]


def truth(root: Path, name: str) -> dict[str, list[float]]:
    found: dict[str, list[float]] = json.loads((root / f"{name}.truth").read_text("utf-8"))
    return found


def test_every_step_is_told_exactly_and_its_norm_before_clipping(root: Path) -> None:
    found, seen = steps(root, "clipped"), truth(root, "clipped")
    assert [report.step for report in found] == list(range(1, 21))
    assert [report.losses["loss"] for report in found if report.losses] == seen["losses"]
    assert [r.gradient_norm for r in found] == pytest.approx(seen["norms"])
    assert min(seen["norms"]) > 1.0  # what is clipped is 0.1
    assert set(found[0].losses or {}) == {"loss", "bias_loss"}


def test_micro_batches_are_one_step(root: Path) -> None:
    found, seen = steps(root, "accumulated"), truth(root, "accumulated")
    pairs = zip(seen["losses"][::2], seen["losses"][1::2], strict=True)
    means = [(first + second) / 2 for first, second in pairs]
    assert [report.losses["loss"] for report in found if report.losses] == pytest.approx(means)
    assert [r.gradient_norm for r in found] == pytest.approx(seen["norms"])
    assert found[-1].samples_total == 10 * 2 * 8


@pytest.mark.parametrize("name", ["clipped", "epochs"])
def test_the_plan_adds_up_the_rates_that_the_run_then_has(root: Path, name: str) -> None:
    (plan,) = [report.plan for report in sent(root, name) if report.plan is not None]
    rates = [report.learning_rate or 0.0 for report in steps(root, name)]
    assert plan.rate_sum == pytest.approx(sum(rates))
    assert (plan.total_steps, plan.parameters, plan.samples) == (len(rates), 2, 64)


def test_scores_and_checkpoints_are_told(root: Path) -> None:
    found = sent(root, "epochs")
    scores = {r.step: r.evaluation["val_loss"] for r in found if r.evaluation}
    assert scores[24] < scores[8]
    assert "train_loss" not in (found[-1].evaluation or {})
    assert (found[-1].score_specs or {})["val_loss"].better is not None
    assert found[-1].last_checkpoint_step == 24
    assert {Phase.EVALUATION, Phase.CHECKPOINT, Phase.FINISHING} <= {r.phase for r in found}


def test_manual_optimization_is_heard_where_it_derives(root: Path) -> None:
    found = steps(root, "manual")
    assert [r.losses["loss"] for r in found if r.losses] == truth(root, "manual")["losses"]
    assert all(report.gradient_norm for report in found)


def test_a_script_that_leaves_out_every_batch_claims_nothing(root: Path) -> None:
    assert {(r.losses, r.gradient_norm, r.updates) for r in sent(root, "skips")} == {
        (None, None, None)
    }


def test_a_resumed_run_goes_on_where_metrics_csv_begins_anew(root: Path) -> None:
    found = steps(root, "resumed")
    assert {report.resumed_from_step for report in found} == {found[0].step - 1}
    with (root / "again" / "csv" / "version_0" / "metrics.csv").open(encoding="utf-8") as stream:
        logged = [int(row["step"]) for row in csv.DictReader(stream)]
    assert min(logged) >= found[0].step - 1 > 5  # the steps of the first start are gone


def job(desk: Desk, name: str, *flags: object, environ: dict[str, str], **spec: Any) -> Any:
    words = ("--out", desk.root / f"{name}-out", *flags)
    return desk.call("run", desk.script(name, SCRIPT.name, *words, **spec), **environ)


def test_a_job_that_goes_nan_is_named_at_its_step(desk: Desk, environ: dict[str, str]) -> None:
    said = job(desk, "nan", "--steps", 200, "--nan-after", 30, environ=environ)
    assert said.code == 40, said.text
    finding = desk.findings("nan")["NonFinite"]
    assert finding["step"] == 31
    assert "loss 'loss' is nan" in finding["evidence"]


def test_a_healthy_job_ends_well_and_a_rate_that_moves_nothing_is_told(
    desk: Desk, environ: dict[str, str]
) -> None:
    assert job(desk, "healthy", "--steps", 200, environ=environ).code == 0
    assert desk.findings("healthy") == {}
    assert desk.status("healthy")["health"]["verdict"] == "Healthy"
    assert desk.progress("healthy", "lastCheckpointStep") == 200
    flags = ("--steps", 200, "--learning-rate", 1e-7)
    assert job(desk, "crawls", *flags, environ=environ).code == 0
    assert "over 200 steps" in desk.findings("crawls")["NotUpdating"]["evidence"]
