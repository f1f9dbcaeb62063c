"""The launcher for images that are not ours: what is in it, and that it runs with nothing else installed."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from speech_contract import env, outcome
from speech_telemetry import zipapp

SCRIPT = """
from speech_telemetry.reporter import Reporter
import speech_telemetry
print("reporter from", speech_telemetry.__file__)
try:
    import speech_health
except ImportError:
    print("nothing else")
for step in range(1, 31):
    print(f"step {step} loss: 0.0", flush=True)
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("launcher")
    zipapp.build(directory)
    return directory


def run(built: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Start the launcher isolated from this environment's packages: standard library alone."""
    environ = {"PATH": os.environ["PATH"], env.TERMINATION_LOG: str(folder / "termination.json")}
    return subprocess.run(
        [sys.executable, "-S", str(built / zipapp.LAUNCHER), *arguments],
        env=environ, cwd=folder, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def members(built: Path) -> dict[str, str]:
    with zipfile.ZipFile(built / zipapp.LAUNCHER) as archive:
        return {name: archive.read(name).decode() for name in archive.namelist()}


def test_it_watches_a_loop_that_learns_nothing(built: Path, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(SCRIPT)
    done = run(built, tmp_path, "--", sys.executable, "-S", "train.py")
    assert done.returncode == outcome.EXIT_NOT_LEARNING, done.stdout + done.stderr
    told = json.loads((tmp_path / "termination.json").read_text())
    assert "ZeroLoss" in json.dumps(told)
    assert f"reporter from {built / zipapp.LIBRARY}" in done.stdout
    assert "nothing else" in done.stdout


def test_the_exit_code_is_the_scripts(built: Path, tmp_path: Path) -> None:
    done = run(built, tmp_path, "--", sys.executable, "-S", "-c", "raise SystemExit(17)")
    assert done.returncode == 17, done.stdout + done.stderr


def test_every_member_is_python_that_the_oldest_can_read(built: Path) -> None:
    for name, source in members(built).items():
        ast.parse(source, name, feature_version=zipapp.OLDEST)
    ast.parse(members(built)["__main__.py"], feature_version=(3, 7))


def test_what_only_the_operator_needs_stays_behind(built: Path) -> None:
    names = set(members(built))
    assert "speech_telemetry/launch.py" in names
    assert "speech_contract/run_config.py" in names
    assert "prometheus_client/openmetrics/exposition.py" in names
    assert not [name for name in names if name.startswith("speech_contract/api")]
    assert not names & {"speech_contract/crd.py", "speech_telemetry/zipapp.py"}
    assert not [name for name, text in members(built).items() if "import pydantic" in text]


def test_scripts_get_to_see_the_reporter_alone(built: Path) -> None:
    library = built / zipapp.LIBRARY
    assert {path.name for path in library.iterdir()} == {"speech_contract", "speech_telemetry"}
    assert {path.name for path in (library / "speech_telemetry").glob("*.py")} == {
        "__init__.py",
        "reporter.py",
    }
    code = "import sys; import speech_telemetry.reporter; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], env={"PYTHONPATH": str(library)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert loaded - {"speech_contract", "speech_telemetry", "__main__"} <= sys.stdlib_module_names


def test_the_same_sources_make_the_same_file(built: Path, tmp_path: Path) -> None:
    zipapp.build(tmp_path)
    assert (tmp_path / zipapp.LAUNCHER).read_bytes() == (built / zipapp.LAUNCHER).read_bytes()
    zipapp.build(tmp_path)  # over an older one


def test_an_older_python_is_told_so(tmp_path: Path) -> None:
    main = tmp_path / "main.py"
    main.write_text(zipapp.main_source())
    pretend = "import runpy, sys; sys.version_info = (3, 9, 1); runpy.run_path(sys.argv[1])"
    log = tmp_path / "termination.json"
    done = subprocess.run(
        [sys.executable, "-c", pretend, str(main)], env={env.TERMINATION_LOG: str(log)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == outcome.EXIT_BAD_CONFIG
    assert done.stderr == zipapp.SENTENCE + "\n"
    told = outcome.decode(log.read_text())
    assert told is not None
    assert (told.exit_code, told.message) == (outcome.EXIT_BAD_CONFIG, zipapp.SENTENCE)
    done = subprocess.run(
        [sys.executable, "-c", pretend, str(main)], env={env.TERMINATION_LOG: str(tmp_path)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == outcome.EXIT_BAD_CONFIG, "a log that can't be written changes nothing"
