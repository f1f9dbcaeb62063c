"""Documents as text: whole but for what nobody reads."""

from __future__ import annotations

import copy

from speech_contract import names
from speech_operator.cluster.packed import LAST_APPLIED, pack, unpack

JOB = {
    "metadata": {
        "name": "asr",
        "annotations": {LAST_APPLIED: "{}", names.ANNOTATION_SEEN: "true"},
        "managedFields": [{"manager": "kubectl"}],
    },
    "spec": {"numNodes": 2, "recipe": {"custom": {}}},
    "status": {"message": "ஓ", "goodput": {"ratio": "0.5"}},
}


def test_only_what_nobody_reads_is_left_out() -> None:
    wanted = copy.deepcopy(JOB)
    wanted["metadata"] = {"name": "asr", "annotations": {names.ANNOTATION_SEEN: "true"}}
    given = copy.deepcopy(JOB)
    assert unpack(pack(given)) == wanted
    assert given == JOB  # others have it too


def test_a_document_without_metadata_is_one() -> None:
    assert unpack(pack({"spec": {}})) == {"spec": {}, "metadata": {}}
