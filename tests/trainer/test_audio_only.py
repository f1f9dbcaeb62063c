"""A recipe of audio alone through the whole protocol: no text, codebooks, a score that should rise, the best kept."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import tone_codec
import torch
import toy
from prometheus_client import CollectorRegistry
from safetensors.torch import load_file
from test_engine_loop import Stops, equal
from tone_codec import Faults, ToneCodec

from speech_contract import codec as wire_codec
from speech_contract import paths
from speech_contract.events import Event
from speech_contract.findings import Verdict
from speech_contract.phases import Phase
from speech_contract.progress import Progress, Rule
from speech_contract.result import Best, Result
from speech_contract.run_config import ResumeFrom
from speech_contract.scores import Better
from speech_contract.thresholds import CodebookCollapse, HealthMode
from speech_contract.wire import DATAGRAM_LIMIT, Datagram
from speech_health import codebook_collapse
from speech_health.detector import Attempt
from speech_health.pace import Pace
from speech_health.samples import from_datagram
from speech_telemetry import reporter
from speech_telemetry.exporter import Exporter
from speech_telemetry.state import JobState
from speech_trainer import recipes
from speech_trainer.engine.distributed import Ranks, World
from speech_trainer.engine.loop import Engine
from speech_trainer.engine.outside import Outside
from speech_trainer.engine.recipe import RecipeContext
from speech_trainer.engine.state import collect_tensors
from speech_trainer.preflight import run as preflight

CPU = torch.device("cpu")


@pytest.fixture
def audio(own_voice: Path) -> Path:
    return tone_codec.without_text(own_voice / "train.jsonl")


@dataclasses.dataclass
class Run:
    engine: Engine
    said: toy.Recorder
    dir: Path

    @property
    def tensors(self) -> dict[str, torch.Tensor]:
        return collect_tensors(self.engine.built)

    @property
    def training(self) -> list[Datagram]:
        return [d for d in self.said.datagrams if d.phase is Phase.TRAINING and d.losses]

    @property
    def result(self) -> Result:
        return wire_codec.loads(Result, (self.dir / paths.RESULT).read_text("utf-8"))

    def marked(self) -> dict[str, set[str]]:
        """Checkpoint → its marks, of those that are left."""
        return {
            folder.name: {m for m in marks if (folder / m).exists()}
            for folder in sorted((self.dir / paths.CHECKPOINTS).iterdir())
        }


marks = (paths.CONFIRMED, paths.QUARANTINED, paths.BEST)


def make(
    run_dir: Path,
    audio: Path,
    faults: Faults | None = None,
    recipe: type[ToneCodec] = ToneCodec,
    checked: bool = False,
    **changes: Any,
) -> Run:
    config = tone_codec.of(toy.make_config(run_dir, **changes), audio)
    run_dir.mkdir(parents=True, exist_ok=True)
    made = recipe(RecipeContext(config, CPU, 0, 1, run_dir), faults)
    said = toy.Recorder()
    outside = Outside(said, said, said)
    if checked:
        outside = dataclasses.replace(outside, preflight=preflight.run)
    return Run(Engine(config, made, World(Ranks(), CPU), outside), said, run_dir)


def test_it_trains_is_checked_saves_evaluates_and_exports(tmp_path: Path, audio: Path) -> None:
    run = make(tmp_path / "run", audio, checked=True, training={"max_steps": 30})
    assert run.engine.run() == 0
    first, last = run.training[0], run.training[-1]
    assert last.losses is not None
    assert first.losses is not None
    assert last.losses["codec/reconstruction"] < first.losses["codec/reconstruction"]
    assert last.tokens_total == 30 * 4 * tone_codec.FRAMES
    assert last.audio_seconds_total == pytest.approx(
        30 * 4 * tone_codec.FRAMES * tone_codec.FRAME / tone_codec.RATE
    )
    plan = next(d.plan for d in run.said.datagrams if d.plan)
    assert (plan.fresh, plan.samples, plan.goal_snr) == (True, 12, 5.0)
    exported = load_file(run.dir / paths.EXPORT / "model.safetensors")
    assert set(exported) >= {"encoder.weight", "book0", "book1"}
    assert torch.equal(exported["book0"], run.engine.built.staged["book0"])


def test_codebook_statistics_reach_rule_and_metrics(tmp_path: Path, audio: Path) -> None:
    run = make(tmp_path / "run", audio, Faults(one_code=True))
    run.engine.run()
    vectors = 4 * tone_codec.FRAMES
    for sent in run.training:
        assert sent.codebooks is not None
        assert sent.codebooks["q0"].perplexity == pytest.approx(1.0)
        assert sent.codebooks["q0"].size == min(tone_codec.CODES, vectors)
        assert sent.codebooks["q1"].residual is not None
        assert sent.codebooks["q0"].movement is None
        assert len(reporter._encode(sent, 0)) < DATAGRAM_LIMIT
    limits = CodebookCollapse(grace_steps=2, after_steps=4, for_steps=3)
    rule = codebook_collapse.CodebookCollapse(
        limits, Attempt(HealthMode.ENFORCE, lambda: 0.0, Pace(0.0))
    )
    state, registry = JobState({0: 0}), CollectorRegistry()
    exporter = Exporter(registry)
    for now, sent in enumerate(run.training):
        read = wire_codec.loads(Datagram, reporter._encode(sent, 0))
        sample = from_datagram(read, float(now))
        rule.feed(sample)
        state.take_datagram(read, 0, float(now))
        progress = state.progress(Progress("1.1", 1), [], Verdict.UNKNOWN, float(now))
        exporter.update(progress, sample)
    assert rule.finding is not None
    assert rule.finding.rule is Rule.CODEBOOK_COLLAPSE
    book = {"codebook": "q0"}
    assert registry.get_sample_value("speech_training_codebook_perplexity", book) == 1.0
    assert registry.get_sample_value("speech_training_codebook_dead_ratio", book) is not None
    assert registry.get_sample_value("speech_training_tokens_total") == 12 * vectors


def test_micro_batches_report_what_the_whole_batch_would(tmp_path: Path, audio: Path) -> None:
    whole, cut = (
        make(tmp_path / str(size), audio, training={"max_steps": 1, "micro_batch_size": size})
        for size in (None, 1)
    )
    assert whole.engine.run() == cut.engine.run() == 0
    (one,), (other,) = whole.training, cut.training
    assert one.losses is not None
    assert one.losses["total"] == pytest.approx((other.losses or {})["total"], rel=0.2)
    assert one.tokens_total == other.tokens_total
    assert cut.engine.stream.micro_batches == 4
    assert one.codebooks is not None
    assert other.codebooks is not None
    assert one.codebooks["q0"].size == other.codebooks["q0"].size


def test_it_rolls_back_and_a_resumed_run_equals_an_undisturbed_one(
    tmp_path: Path, audio: Path
) -> None:
    class Dies(ToneCodec):
        def train_step(self, built: Any, batch: Any, step: int) -> Any:
            if step == 9:
                raise Stops
            return super().train_step(built, batch, step)

    rolled = make(
        tmp_path / "a", audio, Faults(nan_steps=(12, 13, 14, 15)), training={"max_steps": 20}
    )
    assert rolled.engine.run() == 0
    assert (rolled.said.last.rollbacks, rolled.said.last.step) == (1, 20)
    whole = make(tmp_path / "b", audio)
    whole.engine.run()
    with pytest.raises(Stops):
        make(tmp_path / "c", audio, recipe=Dies).engine.run()
    resumed = make(tmp_path / "c", audio, attempt=2)
    assert resumed.engine.run() == 0
    assert resumed.said.last.resumed_from_step == 5
    assert equal(whole.tensors, resumed.tensors) == []


# -- the best checkpoint -------------------------------------------------------------------------------------------

EVALUATED = {"max_steps": 20, "evaluate_every_steps": 4}
RARELY = {"every_steps": 100, "keep_last": 1}


def test_the_best_evaluation_has_a_checkpoint_that_outlives_the_newer_ones(
    tmp_path: Path, audio: Path
) -> None:
    faults = Faults(scores=(1.0, 3.0, 2.0, 2.5, 1.0))  # at 4, 8, 12, 16, 20
    run = make(tmp_path / "run", audio, faults, training=EVALUATED, checkpoint=RARELY)
    run.engine.run()
    assert run.said.steps_of(Event.CHECKPOINT_SAVED) == [4, 8, 20]  # no save for a worse one
    assert run.said.steps_of(Event.CHECKPOINT_BEST) == [4, 8]
    assert run.marked() == {"step-20.a1": set(), "step-8.a1": {paths.CONFIRMED, paths.BEST}}
    assert run.result.best == Best("snr", 3.0, 8, "step-8.a1")
    assert run.result.scores == {"snr": 1.0}
    assert run.result.spec("snr").better is Better.HIGHER
    specs = run.said.last.score_specs
    assert specs is not None
    assert specs["snr"].unit == "dB"


def test_a_later_attempt_knows_the_best_so_far(tmp_path: Path, audio: Path) -> None:
    first = {"max_steps": 8, "evaluate_every_steps": 4}
    faults = Faults(scores=(1.0, 3.0))
    make(tmp_path / "run", audio, faults, training=first, checkpoint=RARELY).engine.run()
    faults = Faults(scores=(2.0, 4.0, 2.0))  # at 12, 16, 20
    again = make(tmp_path / "run", audio, faults, training=EVALUATED, checkpoint=RARELY, attempt=2)
    again.engine.run()
    assert again.said.steps_of(Event.CHECKPOINT_BEST) == [16]
    assert again.result.best == Best("snr", 4.0, 16, "step-16.a2")
    assert again.marked()["step-8.a1"] == {paths.CONFIRMED}


def test_a_quarantined_checkpoint_is_never_the_best(tmp_path: Path, audio: Path) -> None:
    """Step 8 is the best until the step after it is bad; the one before takes its place again."""
    faults = Faults(scores=(2.0, 3.0, 1.0, 1.0, 1.0), nan_steps=(9,))
    run = make(tmp_path / "run", audio, faults, training=EVALUATED, checkpoint=RARELY)
    run.engine.run()
    assert run.said.steps_of(Event.CHECKPOINT_BEST) == [4, 8]
    assert run.said.steps_of(Event.CHECKPOINT_QUARANTINED) == [8]
    assert run.result.best == Best("snr", 2.0, 4, "step-4.a1")
    assert "step-4.a1" in run.marked()


def test_after_a_roll_back_the_result_names_what_is_left(tmp_path: Path, audio: Path) -> None:
    faults = Faults(scores=(2.0, 3.0, 0.5), nan_steps=(9, 10, 11, 12))

    class Dies(ToneCodec):
        def evaluate(self, built: Any, step: int) -> Any:
            if not self._scores:
                raise Stops
            return super().evaluate(built, step)

    run = make(tmp_path / "run", audio, faults, Dies, training=EVALUATED, checkpoint=RARELY)
    with pytest.raises(Stops):
        run.engine.run()
    assert run.said.last.rollbacks == 1
    assert run.result.best == Best("snr", 2.0, 4, "step-4.a1")


def test_nan_is_no_best_and_an_unknown_score_marks_nothing(tmp_path: Path, audio: Path) -> None:
    class Other(ToneCodec):
        def run_facts(self) -> Any:
            return dataclasses.replace(super().run_facts(), best_score="pesq")

    nan = Faults(scores=(float("nan"),) * 5)
    for name, faults, recipe in (("nan", nan, ToneCodec), ("other", Faults(), Other)):
        run = make(tmp_path / name, audio, faults, recipe, training=EVALUATED, checkpoint=RARELY)
        assert run.engine.run() == 0
        assert run.said.steps_of(Event.CHECKPOINT_BEST) == []
        assert run.result.best is None


def test_a_recipe_is_one_line_of_the_registry(
    tmp_path: Path, audio: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(recipes.RECIPES, ToneCodec.name, "tone_codec:ToneCodec")
    config = tone_codec.of(toy.make_config(tmp_path), audio)
    made = recipes.create(ToneCodec.name, RecipeContext(config, CPU, 0, 1, tmp_path))
    assert made.name == ToneCodec.name


def test_a_health_failure_goes_back_behind_the_best_and_takes_its_name_away(
    tmp_path: Path, audio: Path
) -> None:
    """BEST is for people: an attempt goes on from the newest confirmed one, whatever the scores say."""
    first = {**EVALUATED, "max_steps": 8}
    run = make(tmp_path / "run", audio, Faults(scores=(1.0, 5.0)), training=first)
    run.engine.run()
    assert run.result.best == Best("snr", 5.0, 8, "step-8.a1")

    class Dies(ToneCodec):
        def train_step(self, built: Any, batch: Any, step: int) -> Any:
            raise Stops

    again = make(tmp_path / "run", audio, None, Dies, attempt=2, resume_from=ResumeFrom.CONFIRMED)
    with pytest.raises(Stops):
        again.engine.run()
    assert again.said.steps_of(Event.CHECKPOINT_RESTORED) == [5]
    assert again.result.best == Best("snr", 1.0, 4, "step-4.a1")
