"""A recipe that nobody has written yet: its dataclass and its member of RecipeSpec are all that the product needs."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest

from speech_contract import api, codec
from speech_contract.api import crd, validation
from speech_contract.api.spec import JobSpec, SpeechTrainingJob
from speech_contract.checks import check_at_least
from speech_contract.codec import FORBID
from speech_contract.places import PATH
from speech_contract.recipes import Recipe, RecipeSpec
from speech_contract.run_config import RunConfig
from speech_contract.values import frozen
from speech_operator.cluster.local_paths import localised
from speech_operator.resources.config_map import build_run_config


@frozen
class ToyRecipe(Recipe):
    """Audio alone, and a held-out set that must be there."""

    __pydantic_config__ = FORBID
    needs_validation = True
    code_book: str = dataclasses.field(default="", metadata=PATH)
    width: int = 8

    def __post_init__(self) -> None:
        check_at_least(self, 1, "width")


@frozen
class Recipes(RecipeSpec):
    __pydantic_config__ = FORBID
    toy_codec: ToyRecipe | None = None


class Spec(JobSpec):
    recipe: Recipes


class Job(SpeechTrainingJob):
    spec: Spec


@frozen
class Config(RunConfig):
    _: dataclasses.KW_ONLY
    recipe: Recipes


ROOT = Path(__file__).resolve().parents[2]
SET = {"manifest": "/data/a.jsonl"}


def manifest(recipe: Any, **data: Any) -> dict[str, Any]:
    return {
        "apiVersion": "speechtrain.dev/v1alpha1",
        "kind": "SpeechTrainingJob",
        "metadata": {"name": "toy", "namespace": "speech"},
        "spec": {"recipe": recipe, "data": data or None, "checkpoint": {"uri": "runs/toy"}},
    }


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """The API with one more recipe in its union."""
    monkeypatch.setattr(validation, "SpeechTrainingJob", Job)
    monkeypatch.setattr(validation, "JobSpec", Spec)
    monkeypatch.setattr(crd, "JobSpec", Spec)


def test_nobody_but_the_contract_names_a_recipe() -> None:
    folders = (ROOT / "crds", ROOT / "operator")
    ours = set(RecipeSpec.names()) - {"custom"}
    # A word of its own, here and in the contract's module: of it only what can mean the recipe.
    words = ours - {"codec"}
    meant = [rf"[\"']{name}[\"']|\brecipe\.{name}\b|\b{name}Recipe\b" for name in ours]
    known = re.compile("|".join([rf"\b({'|'.join(words)})\b", *meant]), re.IGNORECASE)
    found = [
        str(path.relative_to(ROOT))
        for folder in folders
        for path in folder.rglob("*.py")
        if known.search(path.read_text(encoding="utf-8"))
    ]
    assert found == ["crds/speech_contract/recipes.py"]


@pytest.mark.parametrize(
    ("recipe", "data", "sentence"),
    [
        ({"toyCodec": {}}, {}, "spec.data.train.manifest: is missing"),
        ({"toyCodec": {}}, {"train": SET}, "spec.data.validation.manifest: is missing"),
        ({"toyCodec": {"width": 0}}, {"train": SET}, "spec.recipe.toyCodec.width: 0 is below 1"),
        ({"toyCodec": {"codebook": ""}}, {"train": SET}, "did you mean codeBook?"),
        (
            {"toyCodec": {"codeBook": "s3://b"}},
            {"train": SET, "validation": SET},
            "spec.recipe.toyCodec.codeBook: 's3://b' is no file path",
        ),
        (
            {"toyCodec": {}, "vits": {}},
            {"train": SET, "validation": SET},
            f"sets vits and toyCodec of {', '.join(Recipes.names())};",
        ),
    ],
)
def test_what_is_wrong_with_it_is_told(recipe: Any, data: Any, sentence: str) -> None:
    told = "\n".join(map(str, api.validate(manifest(recipe, **data), local=True)))
    assert sentence in told


def test_the_crd_knows_it_and_asks_for_one_of_all() -> None:
    recipe = crd.schema()["properties"]["spec"]["properties"]["recipe"]
    assert recipe["properties"]["toyCodec"]["properties"]["width"]["default"] == 8
    (rule,) = recipe["x-kubernetes-validations"]
    assert rule["message"] == f"exactly one of {', '.join(Recipes.names())} must be set"
    members = ", ".join(f"has(self.{name})" for name in Recipes.names())
    assert members.startswith("has(self.vits), ")
    assert members.endswith(", has(self.toyCodec)")
    assert rule["rule"] == f"[{members}].filter(given, given).size() == 1"


def test_its_run_config_holds_it_and_its_path_becomes_local(build: Any) -> None:
    document = manifest({"toyCodec": {"codeBook": "books/a"}}, train=SET, validation=SET)
    spec = api.parse(document, local=True).spec
    seen = build.seen(spec=spec)
    config = localised(build_run_config(seen, build.status(whole=False)), spec, Path("/jobs"), {})
    assert config.recipe.name == "toyCodec"
    assert config.run_dir == config.checkpoint.uri == "/jobs/runs/toy"
    read = codec.loads(Config, codec.dumps(config))
    assert read.recipe.toy_codec == ToyRecipe(code_book="/jobs/books/a")


def test_a_spec_alone_is_read_as_strictly() -> None:
    document = manifest({"toyCodec": {"wdth": 1}}, train=SET, validation=SET)
    with pytest.raises(api.InvalidJob, match=r"spec\.recipe\.toyCodec\.wdth: 1 is an unknown"):
        api.parse_spec(document["spec"], local=True)
    good = manifest({"toyCodec": {}}, train=SET, validation=SET)
    assert api.parse_spec(good["spec"], local=True) == api.parse(good, local=True).spec
