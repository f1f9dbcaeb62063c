"""What every test shares: no network, few threads, no timed assertions, GPU tests skipped aloud."""

from __future__ import annotations

import os

# Before anything imports torch or the hub client: tests never reach for a network, and several workers and their ranks
# on one small machine must not fight over its cores, nor spin while they wait for them.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import functools
from typing import Any

import hypothesis
import pytest

# A busy machine is no fault of the code: no deadline, slow drawing is fine; and the same examples on every run.
hypothesis.settings.register_profile(
    "house",
    deadline=None,
    derandomize=True,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("house")


@functools.cache
def _why_no_gpu() -> str:
    """The reason for skipping GPU tests, or an empty string where there is a device."""
    try:
        import torch
    except ImportError:
        return "torch is not installed"
    return "" if torch.cuda.is_available() else "torch sees no CUDA device"


# Rooms whose tests share a cluster or a voice, made once a process, and those that want a node of this machine's own,
# which are not to fight over it; elsewhere a file is what stays together.
_WHOLE_ROOMS = {"api": "api", "local": "local", "e2e": "node", "cluster": "node"}


def _unit(nodeid: str) -> str:
    """What one worker runs by itself: a room or two, or a file."""
    path = nodeid.partition("::")[0]
    return _WHOLE_ROOMS.get(path.split("/")[1], path)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Hand out whole units, in the order of `testpaths`.

    Marks of `--dist loadgroup` would say the same; with pytest 9.2, xdist 3.8 passes over them in silence.
    """
    from xdist.scheduler import LoadScopeScheduling

    class Units(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return _unit(nodeid)

    return Units(config, log)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu") is not None and _why_no_gpu():
        pytest.skip(_why_no_gpu())
