"""Renders the chart by real Helm, built by the test bed; no cluster is asked."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [p for p in [str(ROOT / "tests" / "cluster")] if p not in sys.path]

from bed import binaries, families  # noqa: E402
from bed.cluster import log_to_stderr  # noqa: E402
from bed.layout import cache_dir  # noqa: E402

Object = dict[str, Any]
Helm = Callable[..., subprocess.CompletedProcess[str]]
Render = Callable[..., list[Object]]
CHART = ROOT / "charts" / "speechtrain"


@pytest.fixture(scope="session")
def helm() -> Helm:
    """Run helm; `values` are given as a file on standard input."""
    program = binaries.ensure(families.HELM, cache_dir(), log_to_stderr)["helm"]

    def run(*arguments: str, values: Object | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(program), *arguments, str(CHART), "--values", "-"],
            input=yaml.safe_dump(values or {}), capture_output=True, text=True, check=False,
        )  # fmt: skip

    return run


@pytest.fixture(scope="session")
def render(helm: Helm) -> Render:
    """The objects of release `st` in namespace `system`, in the order Helm applies them."""

    def run(**values: Any) -> list[Object]:
        done = helm("template", "st", "--namespace", "system", values=values)
        assert done.returncode == 0, done.stderr
        return [document for document in yaml.safe_load_all(done.stdout) if document]

    return run
