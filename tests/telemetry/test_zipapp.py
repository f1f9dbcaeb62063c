"""The launcher in a foreign image: no package of ours installed, an older syntax, an older Python."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import speech_contract
import speech_health
import speech_telemetry
from speech_telemetry import zipapp

SCRIPTS = Path(__file__).parent / "scripts"
CARRIED = sorted(
    path
    for package in (speech_contract, speech_health, speech_telemetry)
    for path in Path(package.__path__[0]).glob("*.py")
    if path.name != "crd.py"
)


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    directory = tmp_path_factory.mktemp("speechtrain")
    assert zipapp.main([str(directory)]) == 0
    return directory


@pytest.mark.e2e
def test_it_runs_where_nothing_of_ours_is_installed(packed, tmp_path):
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "PYTHONPATH": str(packed / zipapp.LIBRARY),
    }
    bare = [sys.executable, "-S", "-E", str(packed / zipapp.LAUNCHER), "--"]
    script = [sys.executable, "-S", str(SCRIPTS / "three_lines.py"), "100000"]
    ended = subprocess.run(
        [*bare, *script], env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 41, ended.stdout + ended.stderr
    assert "ZeroLoss" in ended.stdout


def test_the_library_is_the_reporter_alone(packed):
    files = {path.name for path in (packed / zipapp.LIBRARY).rglob("*.py")}
    assert "reporter.py" in files
    assert not files & {"launch.py", "supervisor.py", "outcome.py"}


@pytest.mark.parametrize("path", CARRIED, ids=lambda path: f"{path.parent.name}.{path.stem}")
def test_what_is_carried_keeps_to_python_3_10(path):
    ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 10))


def test_usage():
    assert zipapp.main([]) == 2
