"""Every broken twin of VITS is named before its first step, and the working recipe is left alone."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from preflights import Desk, make_config, sit
from tones import write_voice
from twins.catalogue import VITS, Twin

from speech_contract.preflight import Check, Mark
from speech_contract.recipes import Preset
from speech_contract.run_config import Precision

ALONE = [twin for twin in VITS if twin.ranks == 1]


@pytest.fixture(scope="session")
def two_voices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every second line is another speaker's."""
    folder = tmp_path_factory.mktemp("two-voices")
    write_voice(folder, "validation", 3, first=12)
    path = write_voice(folder, "train", 12)
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    text = "".join(
        json.dumps(line | {"speaker": f"voice-{n % 2}"}) + "\n" for n, line in enumerate(lines)
    )
    path.write_text(text, encoding="utf-8")
    return folder


def snake(name: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name)


@pytest.mark.parametrize("twin", ALONE, ids=lambda twin: twin.wrap.__name__)
def test_a_twin_is_named_before_its_first_step(
    twin: Twin, tmp_path: Path, voice: Path, two_voices: Path
) -> None:
    recipe = {snake(name): value for name, value in twin.recipe.items()}
    desk = sit(
        make_config(tmp_path, two_voices if twin.speakers > 1 else voice, recipe=recipe),
        twin.wrap,
        only=False,
    )
    message = desk.run()
    assert desk.engine.counters.step == 0
    assert twin.check.value in desk.marked(Mark.FAILED), desk.table
    first = desk.marked(Mark.FAILED)[0]
    assert message.startswith(f"{first}: ")
    report = desk.said.last.preflight
    assert report is not None
    assert report.failed[0].check.value == first
    assert all(row.remedy for row in report.failed)


def checked(desk: Desk) -> None:
    assert desk.run() == "", desk.table
    assert desk.marked(Mark.FAILED) == []
    reached = {row["check"] for row in desk.table}
    assert reached == {check.value for check in Check}


@pytest.mark.parametrize("seed", range(3))
def test_the_working_recipe_passes_whatever_its_seed(
    seed: int, tmp_path: Path, voice: Path
) -> None:
    desk = sit(make_config(tmp_path, voice, training={"seed": seed}))
    checked(desk)
    assert desk.marked(Mark.WARNED) == []


@pytest.mark.parametrize(
    ("recipe", "training"),
    [
        ({"learning_rate": "1e-9"}, {}),
        ({"learning_rate": "1e4"}, {}),  # a warning: training will say how it ends
        ({"adversarial_start_step": 1}, {}),
        ({}, {"precision": Precision.BF16, "global_batch_size": 2}),  # slow without hardware for it
        ({}, {"max_steps": 1}),
        ({}, {"global_batch_size": 1}),
        ({}, {"global_batch_size": 12}),  # one batch is the whole set
    ],
)
def test_unusual_and_right_is_no_fault(
    recipe: dict[str, Any], training: dict[str, Any], tmp_path: Path, voice: Path
) -> None:
    checked(sit(make_config(tmp_path, voice, recipe=recipe, training=training)))


def test_two_voices_pass(tmp_path: Path, two_voices: Path) -> None:
    checked(sit(make_config(tmp_path, two_voices)))


def test_a_voice_that_was_trained_passes_as_pretrained(tmp_path: Path, voice: Path) -> None:
    first = sit(make_config(tmp_path / "first", voice), only=False)
    assert first.run() == ""
    recipe = {"pretrained": str(tmp_path / "first" / "export"), "preset": Preset.DEBUG}
    checked(sit(make_config(tmp_path / "second", voice, recipe=recipe)))


def test_half_of_the_texts_empty_is_no_data_to_train_on(tmp_path: Path, own_voice: Path) -> None:
    """The loader would replace them one by one, and five per cent end a run."""
    path = own_voice / "train.jsonl"
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    for record in records[::2]:
        record |= {"text": " …", "phonemes": ""}
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    desk = sit(make_config(tmp_path, own_voice))
    assert "texts: 6 of 12 without a letter" in desk.run()


def test_a_rate_beyond_all_weights_is_a_warning(tmp_path: Path, voice: Path) -> None:
    desk = sit(make_config(tmp_path, voice, recipe={"learning_rate": "1e4"}))
    assert desk.run() == ""
    assert desk.marked(Mark.WARNED) == [Check.LEARNING_RATE.value]


def test_no_twin_is_left_out() -> None:
    assert {twin.name for twin in VITS} - {twin.name for twin in ALONE} == {"one rank skips"}
    assert all(dataclasses.is_dataclass(twin) for twin in VITS)
