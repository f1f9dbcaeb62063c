"""The first process of a test cluster: it starts the daemons, restarts a dead one, reaps orphans.

The keeper runs this file by its path, for a private cluster as process 1 of fresh namespaces,
so it imports nothing but the standard library. It reads `plan.json` in the directory it is
given. Killing it as process 1 is the whole teardown: the kernel then ends every daemon, shim and
container, and takes the mounts, links and rules along.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any

_RESTART_AFTER_SECONDS = 0.3
Plan = dict[str, Any]


def main(run: Path) -> None:
    plan: Plan = json.loads((run / "plan.json").read_text())
    if plan["private"]:
        _mounts(plan)
        _network(plan, run)
    _supervise(plan, run)


def _mounts(plan: Plan) -> None:
    # kubelet, containerd and CNI have paths of their own below these, whatever their flags say.
    _command("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run")
    Path("/run/netns").mkdir()
    for folder in ("/var/lib", "/var/log"):
        _cover(Path(folder), Path("/run/bed") / Path(folder).name)
    if plan["in_memory"]:
        Path(plan["in_memory"]).mkdir(parents=True)
        _command("mount", "-t", "tmpfs", "-o", "mode=711", "tmpfs", plan["in_memory"])
    _command("mount", "--make-rshared", "/")  # volumes with mount propagation need it


def _cover(folder: Path, writes: Path) -> None:
    """Let everything that is written below `folder` land in `writes`; the host sees none of it."""
    upper, work = writes / "upper", writes / "work"
    upper.mkdir(parents=True)
    work.mkdir()
    options = f"lowerdir={folder},upperdir={upper},workdir={work}"
    _command("mount", "-t", "overlay", "-o", options, "overlay", str(folder))


def _network(plan: Plan, run: Path) -> None:
    _command("hostname", plan["hostname"])
    _command("ip", "link", "set", "lo", "up")
    # a fixed address: a bridge without one changes its own with every port, and breaks connections
    _command("ip", "link", "add", plan["bridge"], "address", "02:74:62:00:00:01", "type", "bridge")
    _command("ip", "address", "add", plan["bridge_address"], "dev", plan["bridge"])
    _command("ip", "link", "set", plan["bridge"], "up")
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    (run / "namespaces.ready").touch()
    while not (run / "link.ready").exists():  # the keeper moves one end of a link in here
        time.sleep(0.005)
    _command("ip", "address", "add", plan["inner_address"], "dev", plan["inner_link"])
    _command("ip", "link", "set", plan["inner_link"], "up")
    _command("ip", "route", "add", "default", "via", plan["gateway"])


def _supervise(plan: Plan, run: Path) -> None:
    daemons = {name: _start(plan, run, name) for name in plan["daemons"]}
    _write_pids(run, daemons)
    signal.signal(signal.SIGTERM, _stop)
    try:
        while True:
            _reap(plan, run, daemons)
    finally:
        for daemon in daemons.values():
            daemon.kill()
        for daemon in daemons.values():
            daemon.wait()


def _reap(plan: Plan, run: Path, daemons: dict[str, subprocess.Popen[bytes]]) -> None:
    pid, status = os.wait()
    for name, daemon in daemons.items():
        if daemon.pid == pid:
            _log(f"{name} ended with {os.waitstatus_to_exitcode(status)}; starting it again")
            daemon.returncode = os.waitstatus_to_exitcode(status)
            time.sleep(_RESTART_AFTER_SECONDS)
            daemons[name] = _start(plan, run, name)
            _write_pids(run, daemons)
            return


def _start(plan: Plan, run: Path, name: str) -> subprocess.Popen[bytes]:
    command: list[str] = plan["daemons"][name]
    if not plan["private"]:  # no process namespace ends it: let the kernel do so when we die
        command = ["setpriv", "--pdeathsig=KILL", *command]
    with (run / "logs" / f"{name}.log").open("ab") as log:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=run,
            env=os.environ | {"PATH": plan["path"]},
        )


def _write_pids(run: Path, daemons: dict[str, subprocess.Popen[bytes]]) -> None:
    new = run / "pids.json.new"
    new.write_text(json.dumps({name: daemon.pid for name, daemon in daemons.items()}))
    new.rename(run / "pids.json")


def _stop(signum: int, frame: FrameType | None) -> None:
    raise SystemExit(0)


def _command(*arguments: str) -> None:
    subprocess.run(arguments, check=True)


def _log(text: str) -> None:
    sys.stderr.write(f"{time.time():.3f} {text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
