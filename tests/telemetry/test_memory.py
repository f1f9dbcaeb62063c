"""Memory as the supervisor reads it: which processes count, and which limit is the closest."""

from __future__ import annotations

import os

import pytest

from speech_contract.report import Memory
from speech_telemetry.memory import MemoryReader

MIB = 2**20


@pytest.fixture
def root(tmp_path):
    """A machine with 1 GiB available, and no control group that limits it."""
    write(tmp_path, "proc/meminfo", "MemTotal: 4194304 kB\nMemAvailable: 1048576 kB\n")
    write(tmp_path, "proc/self/cgroup", "0::/\n")
    return tmp_path


def write(root, path, text):
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)


def process(root, pid, session, resident, shared, name="python3"):
    write(root, f"proc/{pid}/stat", f"{pid} ({name}) S 1 {pid} {session} 0 -1 0 0\n")
    write(root, f"proc/{pid}/statm", f"9999 {resident} {shared} 1 0 1 0\n")


def test_a_rank_and_its_workers_count_without_mapped_files(root):
    process(root, 10, 10, 300, 44)
    process(root, 11, 10, 200, 0, name="a (b) c")
    process(root, 12, 12, 5000, 0)
    assert MemoryReader(root, 4096).read([10]) == Memory(456 * 4096, 1024 * MIB)


def test_the_closest_limit_above_this_process_is_the_room(root):
    process(root, 10, 10, 300, 0)
    write(root, "proc/self/cgroup", "0::/pods/mine\n")
    group = "sys/fs/cgroup/pods"
    write(root, f"{group}/mine/memory.max", "max\n")
    write(root, f"{group}/mine/memory.current", f"{100 * MIB}\n")
    write(root, f"{group}/memory.max", f"{500 * MIB}\n")
    write(root, f"{group}/memory.current", f"{450 * MIB}\n")
    write(
        root, f"{group}/memory.stat", f"anon 1\nactive_file {30 * MIB}\ninactive_file {20 * MIB}\n"
    )
    assert MemoryReader(root, 4096).read([10]) == Memory(300 * 4096, 100 * MIB)


def test_what_cannot_be_told_is_none(root, tmp_path):
    assert MemoryReader(root, 4096).read([10]) is None
    assert MemoryReader(tmp_path / "elsewhere", 4096).read([10]) is None


def test_a_process_that_ends_while_it_is_read_counts_nothing(root):
    process(root, 10, 10, 300, 0)
    process(root, 11, 10, 300, 0)
    (root / "proc/11/statm").unlink()
    assert MemoryReader(root, 4096).read([10]).used == 300 * 4096


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="there is no /proc on this machine")
def test_this_very_process_is_read():
    read = MemoryReader().read([os.getsid(0)])
    assert read is not None
    assert read.used > MIB
    assert read.room > 0
