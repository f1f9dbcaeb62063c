"""The text below a field describes it, at every place where the field stands."""

from __future__ import annotations

import dataclasses

from speech_contract.api import descriptions
from speech_contract.api.base import Model
from speech_contract.api.spec import JobSpec
from speech_contract.thresholds import GradientSpike


def test_models_and_dataclasses_are_read_alike_down_to_items() -> None:
    told = descriptions.descriptions(JobSpec, "spec")
    assert told["spec.numNodes"] == "Pods of the job: one master and numNodes - 1 workers."
    assert told["spec.data.train.manifest"].startswith("Path of a JSONL file")
    assert told["spec.trainer.env[].valueFrom.fieldRef.fieldPath"]
    assert "spec.trainer.env.name" not in told


def test_inherited_fields_keep_their_text() -> None:
    assert dataclasses.fields(GradientSpike)[0].name == "z_score"
    told = descriptions.descriptions(GradientSpike, "x")
    assert (
        told["x.zScore"] == "Robust deviations above the baseline that count as high, as a string."
    )


def test_fields_are_named_as_in_a_manifest() -> None:
    assert descriptions.as_written("`max_steps` of\n  `a` and x_y") == "`maxSteps` of `a` and x_y"


def test_others_have_none() -> None:
    class Local(Model):
        field: int = 0
        """Below no module of ours."""

    assert descriptions.descriptions(Local, "x") == {}
