"""Control groups of both versions are made where they belong, and removed whole."""

from pathlib import Path

import pytest
from bed import cgroups


@pytest.fixture
def version_1(tmp_path: Path) -> Path:
    for name in ("cpu", "cpuset", "memory"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "cgroup.procs").touch()
    (tmp_path / "cpuset" / "cpuset.cpus").write_text("0-1")
    (tmp_path / "cpuset" / "cpuset.mems").write_text("0")
    (tmp_path / "cpuacct").symlink_to("cpu")
    (tmp_path / "not-a-hierarchy").mkdir()
    return tmp_path


@pytest.fixture
def version_2(tmp_path: Path) -> Path:
    (tmp_path / "cgroup.controllers").write_text("cpuset cpu memory rdma pids\n")
    (tmp_path / "cgroup.subtree_control").write_text("")
    return tmp_path


def test_version_1_has_one_folder_in_each_hierarchy(version_1: Path) -> None:
    cgroups.make("bed", version_1)
    made = [folder.parent.name for folder in cgroups.folders("bed", version_1)]
    assert made == ["cpu", "cpuset", "memory"]
    assert all((version_1 / name / "bed").is_dir() for name in made)
    assert (version_1 / "cpuset" / "bed" / "cpuset.cpus").read_text() == "0-1"


def test_version_2_has_one_folder_with_the_controllers_that_there_are(version_2: Path) -> None:
    cgroups.make("bed", version_2)
    assert (version_2 / "bed").is_dir()
    assert (version_2 / "cgroup.subtree_control").read_text() == "+cpuset +cpu +memory +pids"


def test_removal_takes_the_groups_of_pods_along(version_2: Path) -> None:
    cgroups.make("bed", version_2)
    (version_2 / "bed" / "pods" / "one").mkdir(parents=True)
    assert cgroups.remove("bed", version_2) == []
    assert not (version_2 / "bed").exists()


def test_what_cannot_be_removed_is_named(version_2: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroups, "_GONE_WITHIN_SECONDS", 0.0)
    cgroups.make("bed", version_2)
    (version_2 / "bed" / "busy").touch()  # stands for a group with a process in it
    assert cgroups.remove("bed", version_2) == [version_2 / "bed"]
