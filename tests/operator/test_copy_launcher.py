"""The init container's one step."""

from __future__ import annotations

from pathlib import Path

from speech_contract import paths
from speech_operator import copy_launcher

ROOT = Path(__file__).resolve().parents[2]


def test_everything_arrives_and_the_mount_keeps_its_mode(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "lib" / "package").mkdir(parents=True)
    (source / "launch.pyz").write_text("x")
    (source / "lib" / "package" / "module.py").write_text("y")
    target.mkdir()
    target.chmod(0o777)
    copy_launcher.copy(source, target)
    copy_launcher.copy(source, target)  # the kubelet may start an init container again
    assert (target / "launch.pyz").read_text() == "x"
    assert (target / "lib" / "package" / "module.py").read_text() == "y"
    assert target.stat().st_mode & 0o777 == 0o777


def test_the_image_holds_it_where_it_is_looked_for() -> None:
    dockerfile = (ROOT / "operator" / "Dockerfile").read_text(encoding="utf-8")
    assert f"COPY --from=build {copy_launcher.SOURCE} {copy_launcher.SOURCE}\n" in dockerfile
    assert str(copy_launcher.SOURCE) != paths.LAUNCHER_DIR
