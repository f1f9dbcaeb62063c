"""Paths are found by their mark, wherever they stand."""

from __future__ import annotations

import dataclasses

from speech_contract.places import PATH, paths_of, with_paths
from speech_contract.run_config import Checkpoint, Data, DataSet


@dataclasses.dataclass(frozen=True)
class Inner:
    weights_file: str = dataclasses.field(default="", metadata=PATH)
    title: str = "no/path"


@dataclasses.dataclass(frozen=True)
class Outer:
    root: str = dataclasses.field(metadata=PATH)
    inner: Inner | None = None


def test_an_optional_path_counts_when_it_is_set_and_a_required_one_always() -> None:
    assert list(paths_of(Outer("", Inner()), "x")) == [("x.root", "")]
    assert list(paths_of(Outer("a", Inner("b")), "x")) == [
        ("x.root", "a"),
        ("x.inner.weightsFile", "b"),
    ]


def test_only_paths_that_are_set_are_changed_and_nothing_else() -> None:
    assert with_paths(Outer("a"), str.upper) == Outer("A")
    assert with_paths(Outer("", Inner("b", "c")), str.upper) == Outer("", Inner("B", "c"))


def test_every_path_of_a_manifest_is_marked() -> None:
    data = Data(DataSet("a"), DataSet(folder="b"))
    assert dict(paths_of(data, "data")) == {
        "data.train.manifest": "a",
        "data.validation.folder": "b",
    }
    assert with_paths(data, str.upper) == Data(DataSet("A"), DataSet(folder="B"))
    assert dict(paths_of(Checkpoint("c"), "checkpoint")) == {"checkpoint.uri": "c"}
