"""Programs that judge rules, queries and configurations, and what the chart renders for them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

_CLUSTER = str(Path(__file__).resolve().parents[1] / "cluster")
if _CLUSTER not in sys.path:  # `bed` and `product` are no packages of the distribution
    sys.path.insert(0, _CLUSTER)

from bed import binaries, families  # noqa: E402
from bed.cluster import log_to_stderr  # noqa: E402
from bed.layout import cache_dir  # noqa: E402
from product import chart  # noqa: E402

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def promtool() -> Run:
    """Run promtool, of the version that the test bed runs."""
    program = binaries.ensure(families.PROMETHEUS, cache_dir(), log_to_stderr)["promtool"]

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(program), *arguments], capture_output=True, text=True, check=False
        )

    return run


@pytest.fixture(scope="session")
def rules() -> dict[str, Any]:
    """The rules file that the chart renders with its defaults."""
    return chart.rules()


@pytest.fixture
def rules_file(tmp_path: Path, rules: dict[str, Any]) -> Path:
    """`rules` in a folder of its own."""
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump(rules))
    return path
