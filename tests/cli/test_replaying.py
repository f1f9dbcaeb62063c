"""`why --replay-batch`: what it asks the trainer for, and how it tells the answer."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from speech_cli import replaying
from speech_cli.commands.why import command
from speech_cli.errors import UserError
from speech_cli.rendering import replayed
from speech_contract import env

ANSWER: dict[str, Any] = {
    "step": 12, "attempt": 1, "rank": 0, "exact": True, "reproduced": True, "component": "mel",
    "module": "generator.decoder.conv", "recordedComponent": "mel", "recordedModule": "decoder", "window": [44, 48],
    "samples": ["a.wav", "b.wav", "c.wav", "d.wav"], "device": "cpu",
    "places": [
        {"what": "Output", "name": "generator.decoder.conv", "kind": "Conv1d", "nan": 3, "infinite": 1, "of": 64,
         "inputsFinite": True},
        {"what": "Loss", "name": "mel", "kind": "", "nan": 1, "infinite": 0, "of": 1},
    ],
}  # fmt: skip


def told(**changes: Any) -> dict[str, str]:
    return dict(replayed.lines({**ANSWER, **changes}))


def test_component_module_and_where_it_began() -> None:
    said = told()
    assert said["replayed"] == "step 12 of attempt 1, rank 0, on cpu, with the weights of that step"
    assert said["first bad"] == "loss component mel, module generator.decoder.conv"
    assert said["began in"] == "the forward pass (generator.decoder.conv)"
    assert said["samples"] == "a.wav, b.wav, c.wav and 1 more"


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("Batch", "the data: the batch itself is not finite (x)"),
        ("Gradient", "the backward pass: every output was finite (x)"),
        ("Loss", "a loss: every module's output was finite (x)"),
    ],
)
def test_data_backward_pass_and_loss_are_told_apart(what: str, text: str) -> None:
    assert told(places=[{"what": what, "name": "x"}])["began in"] == text


def test_the_table_has_a_row_for_every_place() -> None:
    table = replayed.table(ANSWER)
    cells = [list(column.cells) for column in table.columns]
    assert cells[2] == ["generator.decoder.conv", "mel"]
    assert cells[-1] == ["finite", ""]  # nothing is known of a loss's inputs: no key in JSON


@pytest.mark.parametrize(("exact", "why"), [(False, "one update"), (True, "another rank")])
def test_a_finite_replay_says_what_may_differ(exact: bool, why: str) -> None:
    said = told(reproduced=False, exact=exact, places=[])
    assert "first bad" not in said
    assert "the run saw loss component mel, module decoder" in said["finite"]
    assert why in said["finite"]


@pytest.fixture
def trainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for the trainer: a module that says what a test writes into it."""
    monkeypatch.setattr(replaying, "MODULE", "stand_in")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path / "stand_in.py"


def test_the_trainer_is_asked_in_a_process_of_its_own(trainer: Path, tmp_path: Path) -> None:
    trainer.write_text(
        "import json, os, sys\n"
        "print('a library says something')\n"
        f"print(json.dumps([sys.argv[1:], os.environ.get('{env.WRAP_RECIPE}')]))\n"
    )
    answer: Any = replaying.replay(tmp_path, 2, {env.WRAP_RECIPE: "faults:nan"})
    assert answer == [["--run-dir", str(tmp_path), "--attempt", "2"], "faults:nan"]


def test_its_error_is_one_sentence(trainer: Path, tmp_path: Path) -> None:
    trainer.write_text("import sys\nsys.stderr.write('noise\\nholds no record\\n')\nsys.exit(1)\n")
    with pytest.raises(UserError, match=r"^replay: holds no record$"):
        replaying.replay(tmp_path, None)


def test_a_cluster_says_where_to_run_it() -> None:
    document = {
        "metadata": {"name": "voice", "namespace": "speech"},
        "spec": {"checkpoint": {"uri": "/checkpoints/voice"}},
    }
    said = replaying.where_mounted(document)
    assert (
        "kubectl exec -n speech voice-master-0 -c pytorch -- python3 -m speech_trainer.replay_batch"
        in said
    )
    assert "--run-dir /checkpoints/voice" in said


def test_the_trainer_s_environment_is_the_job_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "ours")
    given = [
        {"name": "PYTHONPATH", "value": "theirs"},
        {"name": env.WRAP_RECIPE, "value": "faults:nan"},
        {"name": "FROM_A_SECRET", "valueFrom": {}},
    ]
    assert replaying.environment_of({"spec": {"trainer": {"env": given}}}) == {
        "PYTHONPATH": f"theirs{os.pathsep}ours",
        env.WRAP_RECIPE: "faults:nan",
    }
    assert replaying.environment_of({"spec": {}}) == {}


@pytest.mark.parametrize(
    "words", [["--replay-batch"], ["voice", "--attempt", "1"], ["voice", "--run-dir", "."], []]
)
def test_words_that_do_not_go_together(words: list[str]) -> None:
    assert CliRunner().invoke(command, words).exit_code == click.UsageError.exit_code
