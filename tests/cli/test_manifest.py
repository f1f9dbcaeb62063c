"""What is wrong with a manifest is said with file, field, value and remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from speech_cli import manifest
from speech_cli.errors import UserError

GOOD = """
apiVersion: speechtrain.dev/v1alpha1
kind: SpeechTrainingJob
metadata: {name: voice}
spec: {checkpoint: {uri: run}, recipe: {vits: {preset: Debug}}, data: {train: {manifest: a}}}
"""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("spec: {a: [1", ["job.yaml:1", "is no YAML", "correct this line"]),
        ("a: b\n  c: d\n", ["job.yaml:2", "is no YAML"]),
        ("", ["holds 0 documents"]),
        (f"{GOOD}---{GOOD}", ["holds 2 documents", "a file of its own"]),
        ("- a", ["is no object", "write a mapping"]),
        (
            GOOD.replace("SpeechTrainingJob", "PyTorchJob"),
            ["kind: 'PyTorchJob'", "use one of SpeechTrainingJob"],
        ),
        (
            GOOD.replace("speechtrain.dev/v1alpha1", "v1"),
            ["apiVersion: 'v1'", "use one of speechtrain.dev/v1alpha1"],
        ),
        (GOOD.replace("kind:", "kint:"), ["kind: is missing", "did you mean kind?"]),
        (
            GOOD.replace("preset: Debug", "preset: debug, learningrate: 2e-5"),
            [
                "learningrate: '2e-5'",
                "did you mean learningRate?",
                "preset: 'debug'",
                "Debug, Base",
            ],
        ),
        (GOOD + "sepc: {}", ["sepc", "unknown field", "did you mean spec?"]),
        (GOOD.replace("metadata: {name: voice}", ""), ["metadata: is missing"]),
        (GOOD.replace("{name: voice}", "{name: 7}"), ["metadata.name"]),
        (GOOD.replace("spec: {", "spec: 3 #"), ["spec: 3 is no object"]),
        (GOOD + "kind: SpeechTrainingJob", ["'kind' is written twice", "job.yaml:6"]),
        (GOOD.replace("{uri: run}", "{uri: run, uri: other}"), ["'uri' is written twice"]),
    ],
)
def test_a_bad_manifest_is_refused_with_a_sentence(
    tmp_path: Path, text: str, words: list[str]
) -> None:
    path = tmp_path / "job.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as caught:
        manifest.load(path)
    assert caught.value.exit_code == 64
    for word in ["job.yaml", *words]:
        assert word in caught.value.message


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(UserError, match="UTF-8"):
        manifest.load(path)


def test_a_good_manifest_is_read_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_text(GOOD + "status: {}\n", encoding="utf-8")
    assert manifest.load(path)["spec"]["checkpoint"] == {"uri": "run"}


RUNTIME = """
apiVersion: speechtrain.dev/v1alpha1
kind: ClusterSpeechTrainingRuntime
metadata: {name: team}
spec: {checkpoint: {keepLast: 7}, runPolicy: {restarts: {max: 1}}}
"""
NAMING = GOOD.replace("spec: {", "spec: {runtimeRef: {name: team}, ")


def test_a_runtime_stands_in_the_same_file_or_beside_it(tmp_path: Path) -> None:
    one, job, runtime = (tmp_path / name for name in ("one.yaml", "job.yaml", "runtime.yaml"))
    one.write_text(f"{RUNTIME}---{NAMING}", encoding="utf-8")
    job.write_text(NAMING, encoding="utf-8")
    runtime.write_text(RUNTIME, encoding="utf-8")
    found = manifest.load(one)
    assert found == manifest.load(job, runtime)
    assert found["spec"]["checkpoint"] == {"uri": "run", "keepLast": 7}
    assert found["spec"]["runPolicy"] == {"restarts": {"max": 1}}


def test_a_runtime_file_without_a_runtime_is_told(tmp_path: Path) -> None:
    job, other = tmp_path / "job.yaml", tmp_path / "other.yaml"
    job.write_text(NAMING, encoding="utf-8")
    for text, held in (("kind: Deployment", "Deployment"), ("", "no document"), ("[1]", "list")):
        other.write_text(text, encoding="utf-8")
        with pytest.raises(UserError, match=rf"--runtime: .*other\.yaml holds {held}; name a file"):
            manifest.load(job, other)


def test_a_runtime_that_nobody_names_is_told(tmp_path: Path) -> None:
    job, runtime = tmp_path / "job.yaml", tmp_path / "runtime.yaml"
    job.write_text(GOOD, encoding="utf-8")
    runtime.write_text(RUNTIME, encoding="utf-8")
    with pytest.raises(UserError, match=r"--runtime: .* add spec\.runtimeRef"):
        manifest.load(job, runtime)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (NAMING, "spec.runtimeRef.name: 'team' names no ClusterSpeechTrainingRuntime here; there: none; put it"),
        (
            f"{RUNTIME.replace('team', 'other')}---{NAMING}",
            "there: ClusterSpeechTrainingRuntime other",
        ),
        (
            f"{RUNTIME.replace('keepLast', 'keeplast')}---{NAMING}",
            "ClusterSpeechTrainingRuntime team: spec.checkpoint.keeplast: 7 is an unknown field; did",
        ),
        (f"{RUNTIME}---{NAMING.replace('{name: team}', '{nam: team}')}", "did you mean name?"),
        (RUNTIME, "holds 0 documents"),
        (f"{RUNTIME}---{RUNTIME}---{NAMING}", "holds ClusterSpeechTrainingRuntime 'team' twice"),
    ],
)  # fmt: skip
def test_a_runtime_that_is_missing_or_wrong_is_told(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "job.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as caught:
        manifest.load(path)
    assert words in caught.value.message


def test_json_and_anchors_are_yaml_too(tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_text(GOOD + "status:\n  a: &x {b: 1}\n  c: {<<: *x, d: 2}\n", encoding="utf-8")
    assert manifest.load(path)["status"]["c"] == {"b": 1, "d": 2}
