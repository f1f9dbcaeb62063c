"""The entry point: flags, exit codes with one clear line, the fault hook, a real SIGKILL and what follows."""

from __future__ import annotations

import dataclasses
import gc
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import toy

from speech_contract import codec, env, outcome, paths
from speech_contract.run_config import RunConfig
from speech_trainer import __main__ as trainer
from speech_trainer.data.errors import DecodeError
from speech_trainer.data.loader import Quarantine, Skip
from speech_trainer.data.manifest import Utterance
from speech_trainer.engine.checkpoints import TENSORS
from speech_trainer.engine.distributed import Ranks, choose_device, read_ranks
from speech_trainer.engine.files import Files
from speech_trainer.engine.recipe import Recipe, RecipeContext
from speech_trainer.errors import ConfigError, DataError, HardwareError, NonFiniteBudgetSpent

WORKER = Path(__file__).with_name("toy_worker.py")


@pytest.fixture
def rank(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The environment of a lone rank; returns the file for its error."""
    for name in (env.SOCKET, env.PHASE_FILE, env.RANK, env.WORLD_SIZE, env.WRAP_RECIPE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(env.RUN_CONFIG, str(tmp_path / "run.json"))
    monkeypatch.setenv(env.TORCHELASTIC_ERROR_FILE, str(tmp_path / "error.json"))
    return tmp_path / "error.json"


def write(tmp_path: Path, **changes: Any) -> RunConfig:
    config = toy.make_config(tmp_path / "run", **changes)
    (tmp_path / "run.json").write_text(codec.dumps(config))
    return config


def error_in(path: Path) -> str:
    return str(json.loads(path.read_text())["message"]["message"])


def test_a_run_ends_with_0_and_leaves_events(
    tmp_path: Path, rank: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path)
    assert trainer.main([], lambda _, context: toy.ToyRecipe(context)) == 0
    lines = (tmp_path / "run" / paths.EVENTS).read_text().splitlines()
    names = [json.loads(line)["event"] for line in lines]
    assert names[0] == "run_configured"
    assert names[-1] == "training_finished"
    assert "strategic_log" in names
    assert json.loads(lines[0])["job"] == "toy"
    assert "Input" in capsys.readouterr().out


class BadSample(toy.ToyRecipe):
    """Its loader meets one broken file, and cannot write its list of bad samples."""

    def data(self) -> Any:
        utterance = Utterance("a.wav", 1.0, "a", line=7)
        quarantine = Quarantine(self.context.run_dir / "none" / "quarantine.jsonl", [utterance])
        quarantine(Skip(0, 0, DecodeError("audio_filepath", "a.wav", "is broken", "replace it")))
        return super().data()


def test_what_the_loader_warns_of_is_an_event(tmp_path: Path, rank: Path) -> None:
    write(tmp_path)
    assert trainer.main([], lambda _, context: BadSample(context)) == 0
    lines = map(json.loads, (tmp_path / "run" / paths.EVENTS).read_text().splitlines())
    found = {line["event"]: line for line in lines}
    replaced = found["sample_replaced"]
    assert (replaced["audio_filepath"], replaced["reason"]) == ("a.wav", "DecodeError")
    assert (replaced["job"], replaced["line"]) == ("toy", 7)
    assert found["report_failed"]["path"].endswith("quarantine.jsonl")
    assert not rank.exists()


def test_flags_switch_strategic_logs_on(tmp_path: Path, rank: Path) -> None:
    config = write(tmp_path, training={"max_steps": 8})
    off = dataclasses.replace(config.strategic_logging, enabled=False)
    text = codec.dumps(dataclasses.replace(config, strategic_logging=off))
    (tmp_path / "run.json").write_text(text)
    flags = ["--enable_strategic_logging", "--strategic_logging_steps", "4"]
    assert trainer.main(flags, lambda _, context: toy.ToyRecipe(context)) == 0
    lines = (tmp_path / "run" / paths.EVENTS).read_text().splitlines()
    events = [json.loads(line) for line in lines]
    assert [e["step"] for e in events if e["event"] == "strategic_log"] == [1, 4, 8]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("preset: 'Huge' is unknown; use Debug or Base"), outcome.EXIT_BAD_CONFIG),
        (DataError("train.jsonl:7: text is empty; write one"), outcome.EXIT_BAD_DATA),
        (HardwareError("no device"), outcome.EXIT_OTHER_HARDWARE),
        (NonFiniteBudgetSpent("loss g/kl"), outcome.EXIT_NON_FINITE),
        (RuntimeError("shapes do not match"), outcome.EXIT_ERROR),
    ],
)
def test_errors_become_exit_codes_with_one_line(
    tmp_path: Path,
    rank: Path,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
    code: int,
) -> None:
    def create(name: str, context: RecipeContext) -> toy.ToyRecipe:
        raise error

    write(tmp_path)
    assert trainer.main([], create) == code
    line = f"{type(error).__name__}: {error}"
    shown = capsys.readouterr().err
    assert shown.splitlines()[-1] == f"speechtrain-train: {line}"
    assert ("Traceback" in shown) is (code == outcome.EXIT_ERROR)
    assert error_in(rank) == line


@pytest.mark.parametrize(
    ("text", "part"),
    [
        (None, "cannot be read"),
        ("{", "is no JSON"),
        ('{"naem": "x"}', "did you mean name?"),
    ],
)
def test_a_bad_run_config_ends_with_64(
    tmp_path: Path, rank: Path, text: str | None, part: str
) -> None:
    if text is not None:
        (tmp_path / "run.json").write_text(text)
    assert trainer.main([]) == outcome.EXIT_BAD_CONFIG
    assert part in error_in(rank)


def test_an_unwritable_run_directory_ends_with_64(tmp_path: Path, rank: Path) -> None:
    write(tmp_path)
    (tmp_path / "run").write_text("a file")
    assert trainer.main([]) == outcome.EXIT_BAD_CONFIG
    assert "checkpoint.uri" in error_in(rank)


@pytest.mark.parametrize("hook", ["", "nowhere:wrap"])
def test_garbage_is_collected_again_once_the_recipe_is_there(
    tmp_path: Path, rank: Path, monkeypatch: pytest.MonkeyPatch, hook: str
) -> None:
    """Also where it did not come to be."""
    write(tmp_path)
    monkeypatch.setenv(env.WRAP_RECIPE, hook)
    seen: list[bool] = []

    def create(_: str, context: RecipeContext) -> Recipe:
        seen.append(gc.isenabled())
        return toy.ToyRecipe(context)

    try:
        trainer.main([], create)
        assert (seen, gc.isenabled(), gc.get_freeze_count() > 0) == ([False], True, True)
    finally:
        gc.unfreeze()


@pytest.mark.parametrize("hook", ["nowhere:wrap", "json:nothing", "json"])
def test_a_wrong_fault_hook_is_named(
    tmp_path: Path, rank: Path, monkeypatch: pytest.MonkeyPatch, hook: str
) -> None:
    write(tmp_path)
    monkeypatch.setenv(env.WRAP_RECIPE, hook)
    code = trainer.main([], lambda _, context: toy.ToyRecipe(context))
    assert code == outcome.EXIT_BAD_CONFIG
    assert f"{env.WRAP_RECIPE}: {hook!r} cannot be imported" in error_in(rank)


def test_divergence_ends_with_40_and_names_component_and_module(tmp_path: Path, rank: Path) -> None:
    write(tmp_path, training={"max_steps": 100})
    hot = toy.Faults(learning_rate=1e4)
    assert trainer.main([], lambda _, context: toy.ToyRecipe(context, hot)) == 40
    assert "loss g/kl, module mapper" in error_in(rank)


def test_killed_by_sigkill_and_resumed_equals_undisturbed(tmp_path: Path, rank: Path) -> None:
    settings: dict[str, Any] = {"training": {"max_steps": 40}, "checkpoint": {"every_steps": 10}}
    write(tmp_path, **settings)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    killed = {**environment, env.WRAP_RECIPE: "toy_worker:kill_at_24"}
    command = [sys.executable, str(WORKER), "main", str(tmp_path)]
    first = subprocess.run(command, env=killed, timeout=300, check=False, capture_output=True)
    assert first.returncode == -signal.SIGKILL, first.stderr
    write(tmp_path, attempt=2, **settings)
    second = subprocess.run(command, env=environment, timeout=300, check=False, capture_output=True)
    assert second.returncode == 0, second.stderr
    whole = toy.make(toy.make_config(tmp_path / "whole", **settings))
    whole.run()
    tensors = Files().read_tensors(paths.checkpoint_dir(tmp_path / "run", 40, 2) / TENSORS)
    assert [n for n, t in whole.tensors.items() if not torch.equal(t, tensors[n])] == []


def test_the_end_of_the_interpreter_does_not_change_the_exit_code(
    tmp_path: Path, rank: Path
) -> None:
    write(tmp_path)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    environment[env.WRAP_RECIPE] = "toy_worker:abort_at_exit"
    command = [sys.executable, str(WORKER), "main", str(tmp_path)]
    ended = subprocess.run(command, env=environment, timeout=300, check=False, capture_output=True)
    assert ended.returncode == 0, ended.stderr
    assert b"training_finished" in ended.stdout


@pytest.mark.parametrize(
    ("device", "accelerator", "visible", "local", "expected"),
    [
        ("Auto", "", 0, 1, "cpu"),
        ("Auto", "", 2, 2, "cuda:1"),
        ("Auto", "", 1, 2, None),
        ("Auto", "NVIDIA-H200", 0, 1, None),
        ("CUDA", "", 0, 1, None),
        ("CPU", "NVIDIA-H200", 8, 1, "cpu"),
    ],
)
def test_the_device_is_never_chosen_in_silence(
    tmp_path: Path, device: str, accelerator: str, visible: int, local: int, expected: str | None
) -> None:
    config = toy.make_config(tmp_path, training={"device": toy.Device(device)})
    config = dataclasses.replace(config, accelerator=accelerator)
    ranks = Ranks(local_rank=local - 1, local_world_size=local)
    if expected is not None:
        assert str(choose_device(config, ranks, visible)) == expected
        return
    asked = accelerator or "CUDA"
    with pytest.raises(HardwareError, match=f"asked for {asked}, torch sees {visible} devices"):
        choose_device(config, ranks, visible)


def test_ranks_that_disagree_with_the_run_config_are_refused(tmp_path: Path) -> None:
    config = toy.make_config(tmp_path, ranks_per_node=2)
    with pytest.raises(ConfigError, match=r"WORLD_SIZE: is 1, but.*is 2; start ranks with"):
        read_ranks({}, config)
    with pytest.raises(ConfigError, match="not all are numbers"):
        read_ranks({env.RANK: "x"}, config)
    assert read_ranks({env.RANK: "1", env.WORLD_SIZE: "2"}, config) == Ranks(1, 2, 0, 1)
