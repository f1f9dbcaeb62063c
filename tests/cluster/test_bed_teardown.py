"""Nothing of a cluster is left behind, however it ends."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from bed import cgroups, slots
from bed.api import wait_for
from bed.cluster import Bed
from bed.layout import Layout, state_dir
from bed.requirement import require
from bed.system import Tier

_HERE = Path(__file__).resolve().parent
_HOLDER = f"""
import sys, time
sys.path.insert(0, {str(_HERE)!r})
from bed.cluster import Bed
bed = Bed("held", node=True)
bed.start()
print(bed.layout.slot, bed._keeper.pid, flush=True)
time.sleep(600)
"""


# what kubelet, containerd and CNI would make on the host, had they no view of their own
_HOST_FOLDERS = ("/run/netns", "/var/lib/kubelet", "/var/lib/cni", "/var/log/containers")


def left_of(layout: Layout) -> list[str]:
    """Processes, control groups, links, routes, mounts and folders of one cluster."""
    left = [str(folder) for folder in cgroups.folders(layout.cgroup) if folder.exists()]
    left += [str(path) for path in (layout.run,) if path.exists()]
    left += _lines_with(layout.host_link, "/proc/net/dev", "/proc/net/route")
    left += _lines_with(f"{layout.run}/", "/proc/self/mountinfo")
    return left + list(_processes(str(layout.run)))


def _lines_with(text: str, *files: str) -> list[str]:
    return [line for file in files for line in Path(file).read_text().splitlines() if text in line]


def _processes(text: str) -> Iterator[str]:
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue  # it ended while we looked
        if f"{text}/" in command:
            yield f"{process.name} {command}"


@pytest.fixture
def held() -> Iterator[tuple[subprocess.Popen[str], Layout, int]]:
    """A process that holds a cluster with a node: itself, the cluster's layout, its keeper."""
    require(Tier.NODE)
    command = [sys.executable, "-c", _HOLDER]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        slot, keeper = map(int, holder.stdout.readline().split())
        yield holder, Layout(slot, True, state_dir()), keeper
        holder.kill()
    slots.sweep(state_dir())


def test_a_cluster_that_ends_leaves_nothing() -> None:
    require(Tier.NODE)
    before = [path for path in _HOST_FOLDERS if Path(path).exists()]
    with Bed("short", node=True) as bed:
        layout = bed.layout
        assert len(left_of(layout)) > 5, "the look at what is there sees nothing"
    assert left_of(layout) == []
    assert [path for path in _HOST_FOLDERS if Path(path).exists()] == before


def test_kill_9_of_the_test_process_leaves_nothing(
    held: tuple[subprocess.Popen[str], Layout, int],
) -> None:
    holder, layout, _ = held
    assert len(left_of(layout)) > 5
    holder.kill()
    wait_for("everything to vanish", lambda: not left_of(layout))


def test_kill_9_of_the_keeper_ends_all_and_the_next_one_sweeps(
    held: tuple[subprocess.Popen[str], Layout, int],
) -> None:
    _, layout, keeper = held
    os.kill(keeper, signal.SIGKILL)
    wait_for("the processes to end", lambda: not list(_processes(str(layout.run))))
    assert slots.sweep(state_dir()) == []
    assert left_of(layout) == []
