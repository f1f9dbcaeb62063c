"""The chart, rendered by the Helm of the test bed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

_CLUSTER = str(Path(__file__).resolve().parents[1] / "cluster")
if _CLUSTER not in sys.path:  # `bed` and `product` are no packages of the distribution
    sys.path.insert(0, _CLUSTER)

from product import chart  # noqa: E402

Object = dict[str, Any]


@pytest.fixture(scope="session")
def helm() -> Callable[..., Any]:
    """Run helm on the chart; `values=` are its values."""
    return chart.helm


@pytest.fixture(scope="session")
def render() -> Callable[..., list[Object]]:
    """The objects that these values give."""
    return lambda **values: chart.render(values)
