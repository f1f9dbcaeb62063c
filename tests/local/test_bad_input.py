"""Manifests and disks that are no good: a clear sentence with field, value and remedy, and nothing is lost.

What is wrong with data is looked at in test_voices.py.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from desk import Desk

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

TRAINING = {"maxSteps": 12, "seed": 3, "logEverySteps": 1, "device": "CPU"}


def toy_job(desk: Desk, name: str, *words: object, steps: int = 12, **checkpoint: Any) -> Path:
    """A toy job of one rank that saves every five steps. Its one attempt tells it all."""
    return desk.script(
        name,
        "toy_job.py",
        *words,
        training=TRAINING | {"maxSteps": steps},
        checkpoint={"uri": name, "everySteps": 5} | checkpoint,
        runPolicy={"restarts": {"max": 0}},
    )


def saved_steps(run_dir: Path) -> set[int]:
    """Steps of the committed checkpoints."""
    return {
        int(path.parent.name.removeprefix("step-").partition(".")[0])
        for path in run_dir.glob("checkpoints/*/COMMIT")
    }


@pytest.mark.parametrize(
    ("recipe", "told"),
    [
        ({"preset": "Tiny"}, ("recipe.vits.preset", "Tiny", "Debug")),
        ({"preset": "Debug", "learningrate": "1e-4"}, ("recipe.vits.learningrate", "learningRate")),
        ({"preset": "Debug", "learningRate": "fast"}, ("recipe.vits.learningRate", "fast")),
    ],
)
def test_a_mistake_in_the_manifest_is_refused_before_anything_starts(
    desk: Desk, recipe: dict[str, str], told: tuple[str, ...]
) -> None:
    data = {"train": {"manifest": "train.jsonl"}}
    said = desk.call("run", desk.manifest("mistaken", recipe={"vits": recipe}, data=data))
    assert said.code == 64, said.text
    for text in told:
        assert text in said.text
    assert desk.document("mistaken") == {}


@pytest.fixture
def small_disk(desk: Desk) -> Iterator[Path | None]:
    """A real disk of 112 KiB where this user may mount one, else None."""
    place = desk.root / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=112k", "tmpfs", str(place)]
    mounted = os.geteuid() == 0 and subprocess.run(command, check=False).returncode == 0
    yield place if mounted else None
    if mounted:
        desk.close()  # nobody may write there any more
        subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_checkpoint_disk_is_told_and_what_was_saved_stays(
    desk: Desk, small_disk: Path | None
) -> None:
    """Room for the first checkpoints only: training goes on, the last save decides."""
    words: list[object] = [] if small_disk else ["--no-space", 60_000]
    uri = str(small_disk / "run") if small_disk else "full"
    said = desk.call("run", toy_job(desk, "full", *words, steps=60, uri=uri, keepLast=50))
    run_dir = small_disk / "run" if small_disk else desk.root / "full"
    assert said.code not in (0, 75), said.text
    told = desk.status("full")["failure"]
    for text in ("checkpoint.uri", "the disk is full", "free space"):
        assert text in said.text, told
    assert "Traceback" not in said.text
    assert 5 in saved_steps(run_dir)


def test_a_corrupt_newest_checkpoint_is_passed_over(desk: Desk) -> None:
    """The next job on the run directory goes on from the one before it, and says so."""
    first = desk.call("run", toy_job(desk, "first", steps=10, uri="run"))
    assert first.code == 0, first.text
    (newest,) = (desk.root / "run/checkpoints").glob("step-10.a*")
    broken = newest / "state.safetensors"
    broken.write_bytes(broken.read_bytes()[:-100])
    second = desk.call("run", toy_job(desk, "second", steps=15, uri="run"))
    assert second.code == 0, second.text
    (refused,) = desk.events("run", "checkpoint_refused")
    assert refused["name"] == newest.name
    assert "digest" in refused["reason"]
    assert desk.status("second")["attempts"][0]["resumedFromStep"] == 5
    assert newest.name in desk.rank_log("run", 1, 0)
    for path in (desk.root / "run/checkpoints").glob("step-*"):
        (path / "state.safetensors").write_bytes(b"gone")
    third = desk.call("run", toy_job(desk, "third", steps=20, uri="run"))
    assert third.code not in (0, 75)
    assert "restore one from a backup, or delete them to start over" in third.text
