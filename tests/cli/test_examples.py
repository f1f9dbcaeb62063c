"""Examples are accepted as they stand, and the loop does what its manifest says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from speech_cli import manifest
from speech_contract import api
from speech_contract.api import merging
from speech_contract.saves import Handed, Resume

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.name)
def test_an_example_is_accepted_and_bears_the_name_of_its_file(path: Path) -> None:
    document = manifest.load(path)
    assert document["metadata"]["name"] == path.stem
    assert document["spec"]["checkpoint"]["uri"].startswith("../out/")


@pytest.mark.parametrize(
    "path", sorted(EXAMPLES.glob("cluster/*.yaml")), ids=lambda path: path.name
)
def test_an_example_for_a_cluster_is_accepted_there(path: Path) -> None:
    job = api.parse(yaml.safe_load(path.read_text(encoding="utf-8")))
    assert (job.metadata.name, job.metadata.namespace) == (path.stem, "speech")


def test_an_example_of_a_runtime_fits_its_job() -> None:
    runtime, job = yaml.safe_load_all((EXAMPLES / "cluster/runtimes/voice.yaml").read_text("utf-8"))
    api.parse_runtime(runtime)
    spec = api.parse(merging.effective(job, runtime["spec"])).spec
    assert spec.trainer.resources_per_node.limits["nvidia.com/gpu"] == "8"
    assert merging.named(job) == (runtime["kind"], runtime["metadata"]["name"])


@pytest.mark.parametrize("ranks", [1, 8, 16])
def test_an_example_of_so_many_gpus_has_as_many(ranks: int) -> None:
    path = EXAMPLES / "cluster" / f"codec-{ranks}xh200.yaml"
    spec = api.parse(yaml.safe_load(path.read_text(encoding="utf-8"))).spec
    limits = spec.trainer.resources_per_node.limits
    assert int(limits["nvidia.com/gpu"]) * spec.num_nodes == ranks
    assert (spec.training.global_batch_size or 0) % ranks == 0


def test_examples_write_to_different_folders() -> None:
    places = [manifest.load(path)["spec"]["checkpoint"]["uri"] for path in EXAMPLES.glob("*.yaml")]
    assert len(set(places)) == len(places)


@pytest.mark.parametrize(
    "name", ["bad-batch", "custom", "custom-nan", "hugging-face", "swallowed-errors"]
)
def test_the_command_of_a_custom_example_is_there(name: str) -> None:
    command = manifest.load(EXAMPLES / f"{name}.yaml")["spec"]["trainer"]["command"]
    assert (EXAMPLES / command[1]).is_file()


def test_the_blind_loop_fails_in_silence_as_it_should() -> None:
    command = manifest.load(EXAMPLES / "swallowed-errors.yaml")["spec"]["trainer"]["command"]
    done = subprocess.run(
        [sys.executable, *command[1:]], cwd=EXAMPLES, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    assert done.stdout.splitlines() == [f"epoch {n} loss=0.0" for n in range(1, 6)]


def test_the_loop_learns_and_its_broken_twin_does_not() -> None:
    namespace: dict[str, object] = {"__name__": "custom_loop"}
    exec((EXAMPLES / "custom_loop.py").read_text(encoding="utf-8"), namespace)
    descend, points = namespace["descend"], namespace["points"]
    data = points(256, seed=7)  # type: ignore[operator]
    good = [loss for _, loss, _, _ in descend(data, 300, 0.1)]  # type: ignore[operator]
    bad = [loss for _, loss, _, _ in descend(data, 300, 1e6)]  # type: ignore[operator]
    assert good[-1] < 0.05 < good[0]
    assert bad[-1] != bad[-1]


def test_the_loop_with_a_bad_batch_is_nan_until_it_passes_over_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    namespace: dict[str, object] = {"__name__": "bad_batch"}
    exec((EXAMPLES / "bad_batch.py").read_text(encoding="utf-8"), namespace)
    train = namespace["train"]
    assert train(80, tmp_path, 0.0)["slope"] != train(80, tmp_path, 0.0)["slope"]  # type: ignore[operator]
    resume = Resume(40, str(tmp_path / "step-40.json"))
    for name, value in Handed(resume, ((60, 64),)).environ({}).items():
        monkeypatch.setenv(name, value)
    healed = train(80, tmp_path, 0.0)  # type: ignore[operator]
    assert (healed["step"], healed["next_batch"]) == (80, 84)
    assert abs(healed["slope"] - 3) < 0.5
