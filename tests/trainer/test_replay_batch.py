"""Same batch, same state: a replay of the first bad step finds what went non-finite first."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import toy
from safetensors.torch import load_file

from speech_contract import paths
from speech_trainer import replay_batch
from speech_trainer.engine.bad_steps import KEPT, RECORD, STATE, records
from speech_trainer.engine.recipe import RecipeContext, StepRecord, unwrap
from speech_trainer.errors import CheckpointError


def steps(first: int, last: int) -> tuple[int, int]:
    return (first - 1) * toy.BATCH, last * toy.BATCH


class Unstable(toy.ToyRecipe):
    """`decoder` divides by zero where the dropout of its step says so: only the same generators repeat it."""

    at = 9

    def train_step(self, built: Any, batch: Any, step: int) -> StepRecord:
        decoder = unwrap(built.models["g"]).decoder
        handle = decoder[1].register_forward_hook(
            self._divide if step == self.at else _leave, prepend=True
        )
        try:
            return super().train_step(built, batch, step)
        finally:
            handle.remove()

    @staticmethod
    def _divide(module: Any, inputs: Any, output: torch.Tensor) -> torch.Tensor:
        return output / output  # 0 / 0 at what dropout took out


def _leave(module: Any, inputs: Any, output: torch.Tensor) -> torch.Tensor:
    return output


def creator(recipe: type[toy.ToyRecipe], faults: toy.Faults | None = None) -> Any:
    def create(name: str, context: RecipeContext) -> toy.ToyRecipe:
        return recipe(context, faults)

    return create


def record_of(run_dir: Path) -> dict[str, Any]:
    (folder,) = records(run_dir)
    found: dict[str, Any] = json.loads((folder / RECORD).read_text())
    return found


def test_a_row_of_bad_steps_is_replayed_exactly(tmp_path: Path) -> None:
    faults = toy.Faults(positions=(steps(7, 8),), component="g/adversarial")
    toy.make(toy.make_config(tmp_path, non_finite={"skip_budget": 9}), faults).run()
    assert [p.name for p in records(tmp_path)] == ["step-7.a1"]
    found = replay_batch.replay(tmp_path, None, creator(toy.ToyRecipe, faults))
    assert (found.step, found.exact, found.reproduced) == (7, True, True)
    assert found.component == found.recorded_component == "g/adversarial"
    assert found.window == list(steps(7, 7))
    assert {p.what for p in found.places} >= {"Loss", "Gradient"}


def test_its_weights_and_noise_are_those_of_the_bad_step(tmp_path: Path) -> None:
    """Against a run that ends just before: the state is bit-identical, and so is the loss."""
    faults = toy.Faults(positions=(steps(7, 8),))
    toy.make(toy.make_config(tmp_path / "a", non_finite={"skip_budget": 9}), faults).run()
    before = toy.make(toy.make_config(tmp_path / "b", training={"max_steps": 6}))
    before.run()
    state = load_file(records(tmp_path / "a")[0] / STATE)
    assert all(torch.equal(v, before.tensors[k]) for k, v in state.items() if k[:6] != "batch/")
    whole = toy.make(toy.make_config(tmp_path / "c"))
    whole.run()
    expected = next(d.losses for d in whole.said.datagrams if d.step == 7)
    assert expected is not None
    said: dict[str, float] = {}

    class Listening(toy.ToyRecipe):
        def train_step(self, built: Any, batch: Any, step: int) -> StepRecord:
            record = super().train_step(built, batch, step)
            said.update({name: float(value) for name, value in record.losses.items()})
            return record

    found = replay_batch.replay(tmp_path / "a", None, creator(Listening))  # without the fault
    assert not found.reproduced
    assert said == pytest.approx(expected, abs=0, rel=0)


def test_the_first_module_is_named_out_of_finite_inputs(tmp_path: Path) -> None:
    run = toy.make(toy.make_config(tmp_path), recipe=Unstable)
    run.run()
    found = replay_batch.replay(tmp_path, None, creator(Unstable))
    assert (found.step, found.reproduced) == (9, True)
    assert found.module == "g.decoder.1"
    first = found.places[0]
    assert (first.what, first.kind, first.inputs_finite) == ("Output", "Dropout", True)
    assert first.nan > 0


def test_a_lone_bad_step_says_that_its_weights_are_one_update_later(tmp_path: Path) -> None:
    faults = toy.Faults(positions=(steps(4, 4), steps(7, 7)))
    toy.make(toy.make_config(tmp_path), faults).run()
    record = record_of(tmp_path)
    assert (record["step"], record["exact"]) == (4, False)


def test_an_exact_record_takes_the_place_of_one_that_is_not(tmp_path: Path) -> None:
    faults = toy.Faults(positions=(steps(4, 4), steps(7, 8)))
    toy.make(toy.make_config(tmp_path), faults).run()
    record = record_of(tmp_path)
    assert (record["step"], record["exact"]) == (7, True)


def test_a_bad_sample_is_found_in_the_batch(tmp_path: Path) -> None:
    class BadSample(toy.ToyRecipe):
        def data(self) -> Any:
            draw = self.stream.next_batch

            def next_batch() -> toy.ToyBatch:
                batch = draw()
                if self.stream.position in (24, 28):
                    batch.x[0, 0] = float("inf")
                return batch

            self.stream.next_batch = next_batch  # type: ignore[method-assign]
            return self.stream

    toy.make(toy.make_config(tmp_path), recipe=BadSample).run()
    found = replay_batch.replay(tmp_path, None, creator(BadSample))
    assert (found.places[0].what, found.places[0].name) == ("Batch", "x")
    assert (found.places[0].infinite, found.places[0].of) == (1, toy.BATCH * toy.WIDTH)
    assert found.places[1].inputs_finite is False


def test_records_are_few_and_a_full_disk_ends_nothing(tmp_path: Path) -> None:
    for attempt in range(1, KEPT + 3):
        folder = paths.bad_step_dir(tmp_path, attempt, 3)
        folder.mkdir(parents=True)
    faults = toy.Faults(positions=(steps(7, 8),))
    config = toy.make_config(tmp_path, attempt=9)
    toy.make(config, faults).run()
    assert [p.name for p in records(tmp_path)] == ["step-3.a4", "step-3.a5", "step-7.a9"]


def test_the_command_prints_json_or_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    create = creator(Unstable)
    assert replay_batch.main(["--run-dir", str(tmp_path)], create) == CheckpointError.exit_code
    assert "holds no record of a non-finite step" in capsys.readouterr().err
    toy.make(toy.make_config(tmp_path), recipe=Unstable).run()
    assert replay_batch.main(["--run-dir", str(tmp_path), "--attempt", "1"], create) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["module"] == "g.decoder.1"
    assert document["places"][0]["inputsFinite"] is True
    assert replay_batch.main(["--run-dir", str(tmp_path), "--attempt", "2"], create) == 1
