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
from speech_contract import env, outcome
from speech_telemetry import zipapp

SCRIPTS = Path(__file__).parent / "scripts"
CARRIED = sorted(
    path
    for package in (speech_contract, speech_health, speech_telemetry)
    for pattern in ("*.py", "report/*.py", "printed/*.py")
    for path in Path(package.__path__[0]).glob(pattern)
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
    assert (tmp_path / "speechtrain-run" / "report.html").is_file(), ended.stdout


def test_the_library_is_the_reporter_alone(packed):
    files = {path.name for path in (packed / zipapp.LIBRARY).rglob("*.py")}
    assert "reporter.py" in files
    assert not files & {"launch.py", "supervisor.py", "outcome.py"}


def test_the_library_holds_all_that_callbacks_and_reporter_import(packed):
    modules = "speech_telemetry.reporter, speech_telemetry.huggingface, speech_telemetry.lightning"
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(packed / zipapp.LIBRARY)}
    command = [sys.executable, "-S", "-c", f"import {modules}"]
    ended = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr


def test_an_image_that_has_ours_installed_keeps_all_of_it(packed, tmp_path):
    """The trainer's own image does, and a job may run our command line in it: `speechtrain data encode`."""
    roots = dict.fromkeys(str(Path(p.__path__[0]).parent) for p in (speech_contract, speech_health))
    library = str(packed / zipapp.LIBRARY)
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join([library, *roots])}
    code = (
        "import speech_contract.exit_codes, speech_telemetry.outcome\n"
        "from speech_telemetry import reporter\n"
        "print(reporter.__file__)"
    )
    ended = subprocess.run(
        [sys.executable, "-S", "-c", code],
        env=environ,
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith(library)  # of the launcher's version


@pytest.mark.parametrize("path", CARRIED, ids=lambda path: f"{path.parent.name}.{path.stem}")
def test_what_is_carried_keeps_to_python_3_10(path):
    ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 10))


def test_ranks_find_the_reporter_and_keep_their_own_path(packed, tmp_path):
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": "theirs"}
    code = "import os; print('path', os.environ['PYTHONPATH'])"
    command = [
        sys.executable,
        "-S",
        str(packed / zipapp.LAUNCHER),
        "--",
        sys.executable,
        "-c",
        code,
    ]
    ended = subprocess.run(
        command, env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert f"path {packed / zipapp.LIBRARY}{os.pathsep}theirs\n" in ended.stdout


def test_an_older_python_is_told_so(tmp_path):
    (tmp_path / "main.py").write_text(zipapp.main_source())
    ast.parse(zipapp.main_source(), feature_version=(3, 7))
    pretend = "import runpy, sys; sys.version_info = (3, 9, 1); runpy.run_path(sys.argv[1])"
    log = tmp_path / "termination.json"
    for place in (log, tmp_path):  # a folder can't be written: the code and the line are left
        ended = subprocess.run(
            [sys.executable, "-c", pretend, str(tmp_path / "main.py")],
            env={env.TERMINATION_LOG: str(place)}, capture_output=True, text=True,
        )  # fmt: skip
        assert ended.returncode == outcome.EXIT_BAD_CONFIG
        assert ended.stderr == zipapp.TOO_OLD + "\n"
    told = outcome.decode(log.read_text())
    assert (told.exit_code, told.message) == (outcome.EXIT_BAD_CONFIG, zipapp.TOO_OLD)


def test_usage():
    assert zipapp.main([]) == 2
