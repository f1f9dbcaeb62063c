"""Equal parts are one object, nothing else is, and nothing is kept alive."""

from __future__ import annotations

import gc
import weakref
from typing import Any

from speech_contract import names
from speech_contract.api import JobSpec, parse
from speech_operator.job_document import SpecMemory
from speech_operator.shared import shared


def document(run: str = "asr", **policy: Any) -> dict[str, Any]:
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "metadata": {"name": "asr", "namespace": "speech", "uid": "u"},
        "spec": {
            "recipe": {"custom": {}},
            "checkpoint": {"uri": f"runs/{run}"},
            "trainer": {"command": ["python3", "train.py"]},
            "runPolicy": policy,
        },
    }


def parsed(run: str = "asr", **policy: Any) -> JobSpec:
    return parse(document(run, **policy), local=True).spec


def test_jobs_that_differ_in_a_path_have_the_rest_in_common() -> None:
    one, other = shared(parsed("one")), shared(parsed("other"))
    assert (one, other) == (parsed("one"), parsed("other"))
    assert one.trainer is other.trainer
    assert one.run_policy is other.run_policy
    assert one.checkpoint is not other.checkpoint
    assert shared(parsed("one")) is one


def test_what_was_left_to_its_default_is_not_what_was_written() -> None:
    left, written = shared(parsed()), shared(parsed(suspend=False))
    assert left.run_policy is not written.run_policy
    for one, plain in ((left, parsed()), (written, parsed(suspend=False))):
        assert one.model_dump(exclude_unset=True) == plain.model_dump(exclude_unset=True)


def test_a_part_goes_with_the_last_that_has_it() -> None:
    one = shared(parsed("short lived"))
    kept = weakref.ref(one.checkpoint)
    del one
    gc.collect()
    assert kept() is None


def test_specs_of_jobs_are_shared() -> None:
    specs = [SpecMemory().parse(document(), None, local=True).spec for _ in range(2)]
    assert specs[0] is specs[1]
