"""The broken twins of the codec, at the size of a test: each is named before step 1 or within 20 steps, by its cause.

The correct recipe passes, and raises nothing well past the start of its codebooks. `make accept-health` runs the same
twins whole, in the Debug preset under the real supervisor.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import small_codec
from ranks import run_ranks
from tones import write_voice
from twin_runs import WITHIN, assert_reached_and_told, check, fields_of, findings, named, wrap_of
from twins.catalogue import CLONING, CODEC, VITS, Twin

from speech_contract.codec import from_document
from speech_contract.preflight import Check, Mark
from speech_contract.report import Peers
from speech_contract.thresholds import Thresholds
from speech_contract.wire import Datagram
from speech_health.monitor import Monitor
from speech_health.samples import from_datagram

ALONE = [twin for twin in CODEC if twin.ranks == 1]
NAMED = [twin for twin in ALONE if twin.rules]
START = small_codec.SMALL.quantizer.start_step


@pytest.fixture(scope="module")
def voice(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tones")
    write_voice(folder, "validation", 5, first=16)
    write_voice(folder, "train", 16)
    return folder


@pytest.fixture(autouse=True)
def _small() -> Iterator[None]:
    with small_codec.settled():
        yield


def run_of(twin: Twin | None, run_dir: Path, voice: Path, seed: int = 1, **more: Any) -> Any:
    """A small run; `twin` None: the correct recipe. `steps`: at most."""
    training = {"max_steps": more.pop("steps", 40), "seed": seed}
    config = small_codec.config_of(run_dir, voice, **fields_of(twin, training))
    return small_codec.make(config, wrap=wrap_of(twin), **more)


@pytest.mark.parametrize("twin", CODEC, ids=named)
def test_a_twin_is_reached_through_its_hook_and_says_what_it_breaks(twin: Twin) -> None:
    assert_reached_and_told(twin)
    assert twin.check or twin.rules


def test_names_are_unique() -> None:
    twins = [*CLONING, *CODEC, *VITS]
    assert len({twin.wrap for twin in twins}) == len(twins)
    assert len({twin.hook for twin in twins}) == len(twins)


@pytest.mark.parametrize("twin", ALONE, ids=named)
def test_a_twin_is_named_before_its_first_step(twin: Twin, tmp_path: Path, voice: Path) -> None:
    found = check(run_of(twin, tmp_path / "run", voice, checked=True))
    failed = found.get(Mark.FAILED.value, [])
    if twin.check is None:
        assert failed == []
    elif twin.warned:
        assert failed == []
        assert found[Mark.WARNED.value] == [twin.check.value]
    else:
        assert twin.check.value in failed


@pytest.mark.parametrize("twin", NAMED, ids=named)
def test_a_rule_names_a_twin_within_twenty_steps(twin: Twin, tmp_path: Path, voice: Path) -> None:
    pace = dataclasses.replace(small_codec.SMALL.quantizer, decay=0.97, revive_every=10)
    small_codec.settle(quantizer=pace)  # as in Debug: a book so small heals fast
    last = (START if twin.acts_from > 1 else 1) + WITHIN - 1
    run = run_of(twin, tmp_path / "run", voice, dies_at=last + 1)
    told = {finding.rule for finding in findings(run, last)}
    assert told, "nobody said anything"
    assert told <= set(twin.rules), "a fault has one cause"


@pytest.mark.parametrize("seed", range(2))  # `make accept-health` takes five
def test_the_correct_recipe_passes_and_raises_nothing(
    seed: int, tmp_path: Path, voice: Path
) -> None:
    found = check(run_of(None, tmp_path / "checked", voice, seed, checked=True))
    assert Mark.FAILED.value not in found
    assert Mark.WARNED.value not in found
    assert found[Mark.PASSED.value].count(Check.CODEBOOKS.value) == 10
    assert findings(run_of(None, tmp_path / "run", voice, seed, steps=60), 60) == []


def test_on_two_ranks_books_of_their_own_are_named(tmp_path: Path, voice: Path) -> None:
    (twin,) = (twin for twin in CODEC if twin not in ALONE)
    shutil.copytree(voice, tmp_path / "voice")
    seen = run_ranks(Path(__file__).with_name("codec_twin_worker.py"), "twins", tmp_path)
    for rank in seen:
        assert (rank["correct"]["error"], rank["correct"]["step"]) == ("", 6)
        assert rank["checked"]["error"].startswith(f"{twin.check.value}: ranks: ranks [1] differ")
        assert rank["checked"]["step"] == 0
    assert all(len(peers["groups"]) == 1 for peers in seen[0]["correct"]["peers"])
    found = [from_document(Peers, document) for document in seen[0]["unchecked"]["peers"]]
    first = next(peers for peers in found if len(peers.groups) > 1)
    assert (first.step, first.differs) == (5, "staged buffers")  # before the save
    monitor = Monitor(Thresholds(), started=0.0, wall=lambda: 0.0)
    monitor.feed(from_datagram(Datagram(0, first.step, 0.0, peers=first), 5.0))
    assert [finding.rule for finding in monitor.findings] == list(twin.rules)
