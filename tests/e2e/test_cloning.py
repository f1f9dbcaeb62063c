"""From a trained codec to a voice that is cloned: a job writes codes, another learns from them.

Each job is run once, by a fixture that keeps what it saw; the tests look at that.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from product import jobs
from product.installed import Namespace, Object

from speech_contract.reasons import State
from speech_trainer.data.manifest import read_manifest

ENCODES, CLONES = "encodes", "clones"
STEPS = 8
CODES = f"/{jobs.CHECKPOINTS}/codes"

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


@dataclass(frozen=True)
class Chain:
    """How both jobs ended, and where their claims lie on this machine."""

    encoded: Object
    cloned: Object
    claims: Path


@pytest.fixture(scope="module")
def chain(speech: Namespace, codec: Object, claims: Path) -> Chain:
    speech.apply(codec)
    speech.until_state(codec["metadata"]["name"], State.COMPLETE)
    weights = f"{codec['spec']['checkpoint']['uri']}/export"
    speech.apply(encodes(weights))
    encoded = speech.until_state(ENCODES, State.COMPLETE)
    speech.apply(clones(weights))
    return Chain(encoded, speech.until_state(CLONES, State.COMPLETE), claims)


def encodes(weights: str) -> Object:
    """Codes of both splits, and a reference for each recording, by the commands of docs/voice-cloning.md."""
    words = [
        f"speechtrain data encode /{jobs.DATA}/{part}.jsonl --codec {weights} --out {CODES}/{part}"
        f" && speechtrain data pair {CODES}/{part}/{part}.jsonl"
        for part in ("train", "validation")
    ]
    return jobs.ours(ENCODES, "sh", "-ec", " && ".join(words))


def clones(weights: str) -> Object:
    paired = {p: {"manifest": f"{CODES}/{p}/{p}.paired.jsonl"} for p in ("train", "validation")}
    made = jobs.vits(
        CLONES, steps=STEPS, nodes=1, data=paired,
        recipe={"voiceCloning": {"preset": "Debug", "codec": weights}},
    )  # fmt: skip
    made["spec"]["training"]["globalBatchSize"] = 4
    return made


def on_this_machine(chain: Chain, path: str) -> Path:
    return chain.claims / path.lstrip("/")


def test_a_job_encodes_and_pairs_what_another_learns_from(chain: Chain) -> None:
    assert chain.encoded["state"] == State.COMPLETE.value
    manifest = read_manifest(on_this_machine(chain, f"{CODES}/train/train.paired.jsonl"))
    assert manifest.utterances
    assert all(u.extra["codes"] and u.extra["ref_audio"] for u in manifest.utterances)


def test_a_voice_is_cloned_from_codes_that_a_job_encoded(chain: Chain) -> None:
    status: dict[str, Any] = chain.cloned
    assert status["progress"]["step"] == STEPS
    assert status["health"]["verdict"] == "Healthy"
    export = on_this_machine(chain, f"/{jobs.CHECKPOINTS}/{CLONES}/export")
    assert (export / "model.safetensors").is_file()
