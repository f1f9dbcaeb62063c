"""What is written by temporary file and rename is as readable as umask and directory say."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
import toy
from safetensors.torch import save_file

from speech_contract import paths
from speech_trainer.engine.files import Files, as_ordinary


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def modes(folder: Path) -> set[int]:
    return {stat.S_IMODE(p.stat().st_mode) for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o002, 0o664)])
def test_every_file_of_a_run_has_the_mode_of_an_ordinary_one(
    tmp_path: Path, mask: int, mode: int
) -> None:
    class Exports(toy.ToyRecipe):
        def export(self, built: object, directory: Path) -> None:
            (directory / "voice").mkdir()
            save_file({"x": torch.zeros(1)}, directory / "voice" / "model.safetensors")

    with umask(mask):
        toy.make(toy.make_config(tmp_path), recipe=Exports).run()
    assert modes(tmp_path / paths.CHECKPOINTS) == {mode}
    assert modes(tmp_path / paths.EXPORT) == {mode}
    assert modes(tmp_path) == {mode}


def test_a_directory_keeps_its_group_and_links_are_left_alone(tmp_path: Path) -> None:
    shared, elsewhere = tmp_path / "shared", tmp_path / "cache.bin"
    shared.mkdir()
    elsewhere.write_text("not ours to change")
    elsewhere.chmod(0o600)
    groups = [g for g in os.getgroups() if g != shared.stat().st_gid] or [4242]
    try:
        os.chown(shared, -1, groups[0])
    except PermissionError:
        pytest.skip("this user is in one group alone")
    shared.chmod(0o2775)
    with umask(0o002):
        Files().write_tensors(shared / "x.safetensors", {"x": torch.zeros(2)})
        (shared / "link").symlink_to(elsewhere)
        as_ordinary(shared)
    found = (shared / "x.safetensors").stat()
    assert (found.st_gid, stat.S_IMODE(found.st_mode)) == (groups[0], 0o664)
    assert stat.S_IMODE(elsewhere.stat().st_mode) == 0o600
    assert sorted(p.name for p in shared.iterdir()) == ["link", "x.safetensors"]
