"""The VITS recipe on a few spoken sentences: what goes wrong is named, and a correct run is left alone.

The runs are independent, so two at a time share the cores; each test looks at one of them.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from desk import Desk, Said

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

Ran = Callable[[str], Said]
WRAP = "SPEECHTRAIN_WRAP_RECIPE"
NAN_STEPS = 28  # of the run that goes back from step 24 to step 10


def job(desk: Desk, name: str, data: Path, *, rate: str = "", wrap: str = "", **more: Any) -> Path:
    """A small VITS job on the voice in `data`, without held-out sentences: evaluation is tested elsewhere."""
    training = {
        "maxSteps": 40,
        "seed": 7,
        "globalBatchSize": 4,
        "logEverySteps": 1,
        "device": "CPU",
    }
    recipe = {"preset": "Debug"} | ({"learningRate": rate} if rate else {})
    trainer = {"env": [{"name": WRAP, "value": wrap}]} if wrap else {}
    return desk.manifest(
        name,
        **{
            "recipe": {"vits": recipe},
            "data": {"train": {"manifest": str(data / "train.jsonl")}},
            "training": training | more.pop("training", {}),
            "trainer": trainer,
            "strategicLogging": {"enabled": False},
            **more,
        },
    )


def rewritten(desk: Desk, voice: Path, name: str) -> tuple[Path, list[dict[str, Any]]]:
    """A copy of the voice that may be broken, and the lines of its manifest."""
    copy = desk.root / f"data-{name}"
    shutil.copytree(voice, copy)
    lines = (copy / "train.jsonl").read_text(encoding="utf-8").splitlines()
    return copy, [json.loads(line) for line in lines]


def three_bad_samples(desk: Desk, voice: Path) -> Path:
    """A corrupt WAV, an empty text, NaN samples: lines 1 to 3."""
    copy, lines = rewritten(desk, voice, "bad-samples")
    (copy / lines[0]["audio_filepath"]).write_bytes(b"RIFF but no audio")
    lines[1]["text"] = ""
    lines[1].pop("phonemes", None)
    place = copy / lines[2]["audio_filepath"]
    audio, rate = soundfile.read(place, dtype="float32")
    soundfile.write(place, np.full_like(audio, np.nan), rate, subtype="FLOAT")
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    (copy / "train.jsonl").write_text(text, encoding="utf-8")
    return copy


def malformed_line(desk: Desk, voice: Path) -> Path:
    """Line 7 is cut off."""
    copy, lines = rewritten(desk, voice, "malformed")
    texts = [json.dumps(line, ensure_ascii=False) for line in lines]
    texts[6] = texts[6][:30]
    (copy / "train.jsonl").write_text("\n".join(texts) + "\n", encoding="utf-8")
    return copy


def jobs(desk: Desk, voice: Path) -> dict[str, Path]:
    """Every run of this module by name."""
    confirm = {"nonFinite": {"confirmSteps": 5}}
    twenty = {"maxSteps": 20}
    unchecked = {"preflight": {"mode": "Off"}}  # what the rules say when nobody looked before
    return {
        "nan-window": job(
            desk, "nan-window", voice, wrap="vits_faults:nan_window", health=confirm,
            checkpoint={"uri": "nan-window", "everySteps": 10}, training={"maxSteps": NAN_STEPS},
        ),
        "diverging": job(desk, "diverging", voice, rate="1e4"),
        "dead-modules": job(
            desk, "dead-modules", voice, wrap="twins.vits_step:dead_modules", training=twenty, health=unchecked
        ),
        "no-backward": job(
            desk, "no-backward", voice, wrap="twins.vits_step:no_backward", training=twenty, health=unchecked
        ),
        "stopped-before": job(
            desk, "stopped-before", voice, wrap="twins.vits_step:labels_error_swallowed", training=twenty
        ),
        "bad-samples": job(desk, "bad-samples", three_bad_samples(desk, voice), health=unchecked),
        "malformed": job(desk, "malformed", malformed_line(desk, voice)),
        "missing": job(desk, "missing", desk.root / "nowhere"),
    }  # fmt: skip


@pytest.fixture(scope="module")
def ran(shared_desk: Desk, voice: Path) -> Iterator[Ran]:
    """Call it with a run's name to get how the run ended."""
    with ThreadPoolExecutor(2) as pool:
        ends: dict[str, Future[Said]] = {
            name: pool.submit(shared_desk.call, "run", path)
            for name, path in jobs(shared_desk, voice).items()
        }
        yield lambda name: ends[name].result()


def test_nan_after_a_confirmed_checkpoint_rolls_back_and_completes(
    ran: Ran, shared_desk: Desk
) -> None:
    said = ran("nan-window")
    assert said.code == 0, said.text
    status = shared_desk.status("nan-window")
    assert (status["state"], status["attempt"]) == ("Complete", 1)  # inside the process
    (back,) = shared_desk.events("nan-window", "rolled_back")
    assert back["step"] == 10
    # Budget 3, one step late.
    assert len(shared_desk.events("nan-window", "update_skipped")) in (4, 5)
    (skip,) = (shared_desk.root / "nan-window/skips").glob("*.json")
    (window,) = json.loads(skip.read_text())["windows"]
    assert window[0] == 19 * 4
    finding = shared_desk.findings("nan-window")["NonFinite"]
    assert (finding["severity"], finding["action"]) == ("warning", "RolledBack")
    assert shared_desk.progress("nan-window", "step") == NAN_STEPS


def test_a_replay_of_the_bad_batch_finds_the_data(ran: Ran, shared_desk: Desk) -> None:
    ran("nan-window")
    answer = shared_desk.call("why", "nan-window", "--replay-batch", "-o", "json").document
    assert (answer["step"], answer["exact"], answer["reproduced"]) == (20, True, True)
    first = answer["places"][0]
    assert (first["what"], first["name"], first["nan"]) == ("Batch", "waveform", first["of"])
    assert len(answer["samples"]) == 4


def test_a_learning_rate_far_too_high_fails_with_component_and_module(
    ran: Ran, shared_desk: Desk
) -> None:
    said = ran("diverging")
    assert said.code == 40, said.text
    status = shared_desk.status("diverging")
    assert status["state"] == "Failed"
    assert status["failure"]["reason"] == "NoConfirmedCheckpoint"
    assert status["progress"].get("lastConfirmedCheckpointStep") is None
    skipped = shared_desk.events("diverging", "update_skipped")
    assert len(skipped) == status["progress"]["nonFiniteSteps"]  # every bad step was gated
    steps = [event["step"] for event in skipped]
    assert steps == list(range(steps[0], steps[0] + len(steps)))
    why = shared_desk.call("why", "diverging", "-o", "json").document
    assert why["rule"] == "NonFinite"
    assert why["component"] or why["module"]
    assert why["step"] == steps[0]
    assert shared_desk.findings("diverging")["NonFinite"]["severity"] == "critical"


@pytest.mark.parametrize(
    ("twin", "named"),
    [
        ("dead-modules", ("posterior_encoder", "duration_predictor")),
        ("no-backward", ("gradient",)),
    ],
)
def test_a_twin_that_does_not_learn_is_stopped_within_twenty_steps(
    ran: Ran, shared_desk: Desk, twin: str, named: tuple[str, ...]
) -> None:
    said = ran(twin)
    assert said.code == 41, said.text
    finding = shared_desk.findings(twin)["NoGradient"]
    assert (finding["severity"], finding["action"]) == ("critical", "Stopped")
    assert finding["step"] <= 20
    assert all(name in finding["evidence"] for name in named), finding["evidence"]
    assert "NoGradient" in said.text


def test_a_twin_is_stopped_by_the_preflight_before_its_first_step(
    ran: Ran, shared_desk: Desk
) -> None:
    said = ran("stopped-before")
    assert said.code == 44, said.text
    status = shared_desk.status("stopped-before")
    assert (status["state"], status["attempt"]) == ("Failed", 1)  # a restart would find the same
    assert not status["progress"].get("step")
    assert not list((shared_desk.root / "stopped-before/checkpoints").glob("step-*"))
    assert "InitialLoss" in [item["check"] for item in status["preflight"]["failed"]]
    why = shared_desk.call("why", "stopped-before", "-o", "json").document
    assert any(text.startswith("InitialLoss: ") for text in why["preflight"])


def test_bad_samples_are_listed_by_reason_and_end_a_run_that_has_too_many(
    ran: Ran, shared_desk: Desk
) -> None:
    said = ran("bad-samples")
    assert said.code == 42, said.text
    assert shared_desk.findings("bad-samples")["SkippedSamples"]["severity"] == "critical"
    path = shared_desk.root / "bad-samples/quarantine.jsonl"
    listed = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    reasons = {entry["line"]: entry["reason"] for entry in listed}
    expected = {1: "DecodeError", 2: "EmptyText", 3: "NonFiniteAudio"}
    assert reasons
    assert reasons.items() <= expected.items()  # it may have been stopped before it met all three
    assert all(";" in entry["message_text"] for entry in listed)  # a rule, and what to do
    log = shared_desk.rank_log("bad-samples", 1, 0)
    assert "Traceback" in log
    assert "quarantine.jsonl" in said.text


def test_every_bad_sample_is_told_before_training(ran: Ran, shared_desk: Desk) -> None:
    ran("bad-samples")  # made the data
    said = shared_desk.call("data", "validate", shared_desk.root / "data-bad-samples/train.jsonl")
    assert said.code == 65
    for reason in ("DecodeError", "EmptyText", "NonFiniteAudio"):
        assert reason in said.text


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("malformed", ("train.jsonl", "line 7", "is no JSON", "speechtrain data validate")),
        ("missing", ("nowhere/train.jsonl", "does not exist", "speechtrain data synthesize")),
    ],
)
def test_a_manifest_that_cannot_be_used_is_refused_once(
    ran: Ran, shared_desk: Desk, name: str, told: tuple[str, ...]
) -> None:
    said = ran(name)
    assert said.code == 65, said.text
    status = shared_desk.status(name)
    assert (status["failure"]["reason"], status["attempt"]) == ("BadData", 1)
    for text in told:
        assert text in said.text
