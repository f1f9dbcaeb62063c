"""Careless and hostile input, one row each: 50 manifests and 30 command lines, as a person meets the answer.

Each row says what the answer must name: the field, the value where it is one word, and what to do. A row without
one of them, an answer over many lines, or a traceback fails. What the API server refuses by itself is
tests/api/test_bad_manifests.py's matter; here the same rules speak through `speechtrain`.
"""

from __future__ import annotations

import copy
import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from speech_cli import manifest
from speech_cli.errors import UserError
from speech_cli.main import cli

GOOD: dict[str, Any] = {
    "apiVersion": "speechtrain.dev/v1alpha1",
    "kind": "SpeechTrainingJob",
    "metadata": {"name": "voice"},
    "spec": {
        "recipe": {"vits": {"preset": "Debug"}},
        "data": {"train": {"manifest": "/data/train.jsonl"}},
        "training": {"maxSteps": 10},
        "checkpoint": {"uri": "/checkpoints/voice"},
        "trainer": {"volumeMounts": [{"name": "data", "mountPath": "/data"}]},
        "pod": {"volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]},
    },
}
CUSTOM = {"custom": {}}
HUGE = "x" * 100_000

# path, value (DELETE takes the field away), what the answer names
DELETE = object()
FIELDS: list[tuple[str, Any, tuple[str, ...]]] = [
    ("metadata.name", DELETE, ("metadata.name", "missing")),
    ("metadata.name", "Voice_1", ("metadata.name", "'Voice_1'", "lower")),
    ("metadata.name", "a" * 64, ("metadata.name", "63")),
    ("metadata.name", "../../etc", ("metadata.name", "'../../etc'", "lower")),
    ("metadata.name", 7, ("metadata.name", "7 is no text", "put it in quotes")),
    ("metadata", [], ("metadata", "[]")),
    ("apiVersion", "v1", ("apiVersion", "'v1'", "use one of speechtrain.dev/v1alpha1")),
    ("kind", "PyTorchJob", ("kind", "'PyTorchJob'", "use one of SpeechTrainingJob")),
    ("spec", DELETE, ("spec", "missing")),
    ("spec", None, ("spec",)),
    ("spec.recipe", DELETE, ("spec.recipe", "missing")),
    ("spec.recipe", {}, ("spec.recipe", "exactly one")),
    ("spec.recipe.custom", {}, ("spec.recipe", "exactly one")),
    ("spec.recipe.melody", {}, ("spec.recipe.melody", "unknown field")),
    ("spec.recipe.vits.preset", "Huge", ("vits.preset", "'Huge'", "Debug, Base")),
    ("spec.recipe.vits.learningRate", "fast", ("learningRate", "'fast'", "number")),
    ("spec.recipe.vits.learningRate", "nan", ("learningRate", "'nan'")),
    ("spec.recipe.vits.learningRate", "-1e-4", ("learningRate", "'-1e-4'")),
    ("spec.recipe.vits.learningrate", "2e-4", ("learningrate", "'2e-4'", "did you mean learningRate?")),
    ("spec.training.maxSteps", 0, ("training.maxSteps", "0", "1")),
    ("spec.training.maxSteps", -5, ("training.maxSteps", "-5", "1")),
    ("spec.training.maxSteps", 1.5, ("training.maxSteps", "1.5", "whole")),
    ("spec.training.maxSteps", "ten", ("training.maxSteps", "'ten'")),
    ("spec.training.maxSteps", True, ("training.maxSteps", "True")),
    ("spec.training.precision", "FP8", ("training.precision", "'FP8'", "BF16")),
    ("spec.maxSteps", 5, ("spec.maxSteps", "5", "training.maxSteps")),
    ("spec.data", DELETE, ("spec.data", "missing")),
    ("spec.data.train.manifest", "s3://bucket/a.jsonl", ("train.manifest", "'s3://bucket/a.jsonl'")),
    ("spec.data.train.manifest", "", ("train.manifest", "''")),
    ("spec.data.train.folder", "/data", ("data.train", "manifest and folder", "exactly one")),
    ("spec.checkpoint", DELETE, ("spec.checkpoint", "missing")),
    ("spec.checkpoint.uri", "", ("checkpoint.uri", "''")),
    ("spec.checkpoint.uri", "s3://bucket/run", ("checkpoint.uri", "'s3://bucket/run'")),
    ("spec.checkpoint.everySteps", 0, ("checkpoint.everySteps", "0", "1")),
    ("spec.checkpoint.everystep", 5, ("checkpoint.everystep", "5", "did you mean everySteps?")),
    ("spec.numNodes", 0, ("spec.numNodes", "0", "1")),
    ("spec.numNodes", 10**9, ("spec.numNodes", "1000000000", "4096")),
    ("spec.nprocPerNode", "all", ("spec.nprocPerNode", "'all'")),
    ("spec.trainer.command", ["sleep"], ("trainer.command", "custom")),
    ("spec.trainer.env", [{"name": "MASTER_ADDR", "value": "x"}], ("env[0].name", "'MASTER_ADDR'")),
    ("spec.trainer.env", [{"name": "A", "value": 1}], ("env[0].value", "1")),
    ("spec.trainer.env", "A=1", ("trainer.env", "'A=1'")),
    ("spec.trainer.securityContext", {"privileged": True}, ("securityContext", "unknown field")),
    ("spec.trainer.resourcesPerNode", {"limits": {"memory": "9 gigs"}}, ("memory", "'9 gigs'")),
    ("spec.trainer.volumeMounts", [{"name": "nowhere", "mountPath": "/d"}], ("volumeMounts[0].name", "'nowhere'")),
    ("spec.pod.hostNetwork", True, ("pod.hostNetwork", "unknown field")),
    ("spec.pod.volumes", [{"name": "data", "hostPath": {"path": "/"}}], ("hostPath", "unknown field")),
    ("spec.health.zeroloss", {"forSteps": 1}, ("health.zeroloss", "did you mean zeroLoss?")),
    ("spec.health.stall", {"floorSeconds": "soon"}, ("stall.floorSeconds", "'soon'")),
    ("spec.runPolicy.restarts", {"max": -1}, ("restarts.max", "-1")),
    ("spec.runPolicy.backoffLimit", 3, ("runPolicy.backoffLimit", "3", "unknown field")),
    ("spec.recipe.vits.preset", HUGE, ("vits.preset", "x…", "shorten it")),
]  # fmt: skip

# text of the file, what the answer names
FILES: list[tuple[bytes, tuple[str, ...]]] = [
    (b"", ("holds 0 documents", "exactly one SpeechTrainingJob")),
    (b"spec: {a: [1", ("job.yaml:1", "is no YAML", "correct this line")),
    (b"a: b\n\tc: d\n", ("job.yaml:2", "is no YAML", "correct this line")),
    (b"\xff\xfe\x00", ("is no YAML", "write UTF-8 text")),
    (b"- a\n- b\n", ("is no object", "write a mapping")),
    (b"just a sentence\n", ("is no object", "write a mapping")),
    (b"a: 1\na: 2\n", ("job.yaml:2", "'a' is written twice")),
    (b"!!python/object/apply:os.system ['true']\n", ("is no YAML", "python/object/apply")),
    (b"[" * 3000 + b"]" * 3000, ("nested too deep", "write a flatter manifest")),
    (b"&a [*a]\n", ("nested too deep", "shorten it")),
    (
        b"- &a0 [x, x]\n"
        + b"".join(
            b"- &a%d [%s]\n" % (i, b", ".join([b"*a%d" % (i - 1)] * 10)) for i in range(1, 10)
        ),
        ("too large a document", "shorten it"),
    ),
]


def changed(path: str, value: Any) -> dict[str, Any]:
    """A good manifest with one field changed."""
    document = copy.deepcopy(GOOD)
    *parents, last = path.split(".")
    node = document
    for name in parents:
        node = node.setdefault(name, {})
    if value is DELETE:
        del node[last]
    else:
        node[last] = value
    return document


def refusal(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        manifest.load(path)
    return str(caught.value.message)


def test_the_tables_are_as_long_as_they_claim() -> None:
    assert len(FIELDS) + len(FILES) >= 50
    assert len(CALLS) >= 30


def test_the_manifest_that_they_bend_is_sound(tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_text(json.dumps(GOOD), encoding="utf-8")
    assert manifest.load(path) == GOOD


@pytest.mark.parametrize(("field", "value", "words"), FIELDS)
def test_a_field_is_refused_by_name_with_its_value_and_a_remedy(
    tmp_path: Path, field: str, value: Any, words: tuple[str, ...]
) -> None:
    path = tmp_path / "job.yaml"
    path.write_text(json.dumps(changed(field, value)), encoding="utf-8")
    said = refusal(path)
    assert [word for word in words if word not in said] == [], said
    assert all("; " in line for line in said.splitlines()), said  # what to do
    assert len(said) < 1000


@pytest.mark.parametrize(("text", "words"), FILES)
def test_a_file_is_refused_with_its_place(
    tmp_path: Path, text: bytes, words: tuple[str, ...]
) -> None:
    path = tmp_path / "job.yaml"
    path.write_bytes(text)
    said = refusal(path)
    assert said.startswith(str(path))
    assert [word for word in words if word not in said] == [], said
    assert len(said) < 1000


# command line, exit code, what the answer names
CALLS: list[tuple[str, int, tuple[str, ...]]] = [
    ("rnu", 2, ("'rnu'", "did you mean run?")),
    ("--verison", 2, ("--verison", "--version")),
    ("run", 2, ("FILE",)),
    ("run nothere.yaml", 2, ("'nothere.yaml'", "check the path")),
    ("run jbo.yaml", 2, ("'jbo.yaml'", "did you mean job.yaml?")),
    ("run .", 2, ("'.'", "directory")),
    ("run job.yaml --nwe", 2, ("--nwe", "--new")),
    ("run job.yaml -o yml", 2, ("'yml'", "'json'")),
    ("run job.yaml extra", 2, ("extra",)),
    ("run job.yaml --volume data", 64, ("--volume", "'data'", "--volume data=./data")),
    ("run job.yaml --volume a=x --volume a=y", 64, ("--volume", "'a'", "keep one")),
    ("preflight job.yaml --ranks 0", 2, ("--ranks", "0", "1<=x<=64")),
    ("status nothere", 64, ("job", "'nothere'", "jobs there: none")),
    ("status -A voice", 2, ("-A", "no JOB")),
    ("status -A -n x", 2, ("-A", "no -n")),
    ("status --local --cluster", 2, ("--local", "give one of them")),
    ("status --context nowhere", 1, ("kubeconfig", "--kubeconfig FILE")),
    ("status --kubeconfig nofile", 1, ("nofile", "--kubeconfig FILE")),
    ("why", 2, ("give JOB",)),
    ("why voice --attempt 0", 2, ("--attempt", "0", "x>=1")),
    ("why --replay-batch", 2, ("--replay-batch", "--run-dir PATH")),
    ("logs voice --rank -1", 2, ("--rank", "-1", "x>=0")),
    ("logs voice --tail -4", 2, ("--tail", "-4", "x>=0")),
    ("logs voice --rank 1 --node-rank 1", 2, ("--rank", "--node-rank", "give one of them")),
    ("wait voice --for=Complet", 2, ("--for", "'Complet'", "did you mean condition=Complete?")),
    ("wait voice --timeout soon", 2, ("--timeout", "'soon'", "10m")),
    ("top --every 0", 2, ("--every", "0", "x>=0.5")),
    ("completion tcsh", 2, ("'tcsh'", "'bash', 'zsh', 'fish'")),
    ("speak nothere --text hi", 64, ("RUN", "'nothere'", "no folder")),
    ("speak nothere", 2, ("--text",)),
    ("replay nothere.csv", 65, ("nothere.csv", "name a file that can be read")),
    ("data sintesize", 2, ("'sintesize'", "'synthesize'")),
    ("data synthesize --sentences -3 --out d", 2, ("--sentences", "-3", "x>=1")),
    ("data synthesize --language xx --out d", 2, ("--language", "'xx'", "te, hi, en, de")),
    ("convert job.yaml", 64, ("PyTorchJob", "SpeechTrainingJob")),
    ("crd --chek", 2, ("--chek", "--check")),
]


@pytest.mark.parametrize(("line", "code", "words"), CALLS)
def test_a_command_line_is_refused_with_a_sentence(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, code: int,
    words: tuple[str, ...],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "job.yaml").write_text(json.dumps(GOOD), encoding="utf-8")
    answer = CliRunner().invoke(cli, shlex.split(line))
    assert answer.exit_code == code, answer.output
    assert isinstance(answer.exception, SystemExit)
    said = answer.stderr.rpartition("Error: ")[2]
    assert [word for word in words if word not in said] == [], answer.stderr
    assert said.count("\n") == 1
    assert answer.stdout == ""


@pytest.mark.parametrize(
    "line", ["status", "status bad", "top", "why bad", "why other", "wait bad", "logs bad"]
)
def test_a_broken_file_of_the_state_is_named(
    state: Path, call: Callable[..., Result], line: str
) -> None:
    path = state / "default" / "bad" / "job.json"
    path.parent.mkdir(parents=True)
    path.write_text("half of a", encoding="utf-8")
    answer = call(*line.split(), "--local")
    assert answer.exit_code == 64
    assert isinstance(answer.exception, SystemExit)
    assert answer.stderr.startswith(f"Error: {path} is no JSON")
    assert "move the folder away" in answer.stderr


def test_nothing_is_left_behind_by_a_refusal(
    state: Path, tmp_path: Path, call: Callable[..., Result]
) -> None:
    path = tmp_path / "job.yaml"
    path.write_text(json.dumps(changed("spec.numNodes", 0)), encoding="utf-8")
    assert call("run", path).exit_code == 64
    assert not state.exists()
