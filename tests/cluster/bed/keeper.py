"""The process outside a test cluster that owns it: makes it, waits, and takes it down whole.

`Bed` starts one keeper (`python tests/cluster keep …`) for each cluster and holds the other end
of its standard input. The pipe closes when `Bed` closes it and when the process that holds it
dies, even by kill -9; either way the keeper removes everything. A detached keeper (`make cluster`)
waits for SIGTERM alone. If the keeper itself is killed, the kernel ends the cluster with it
(parent death signal), and the next keeper sweeps what outlives processes: empty control groups
and the directory.

It speaks to `Bed` in JSON lines on standard output: stages, then `{"ready": …}` or `{"error": …}`.
"""

import json
import os
import select
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from bed import cgroups, configs, daemons, pki, slots
from bed.layout import NODE, Layout, state_dir

_UNSHARE = [
    "unshare", "--mount", "--net", "--pid", "--ipc", "--uts", "--fork", "--kill-child=SIGKILL",
    "--mount-proc", "--propagation", "slave",
]  # fmt: skip
_NAMESPACES_WITHIN_SECONDS = 30.0


@dataclass(frozen=True)
class Request:
    """What kind of cluster to keep; travels as JSON on the keeper's command line."""

    name: str
    private: bool
    node: bool
    kwok: bool
    detached: bool
    in_memory: bool
    binaries: dict[str, str]
    containerd: str = ""
    runc: str = ""

    def to_json(self) -> str:
        return json.dumps(asdict(self))


def main(request: Request) -> int:
    signal.signal(signal.SIGTERM, _exit)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the tests; they close the pipe
    slots.sweep(state_dir())
    keeper = Keeper(request, slots.claim(state_dir(), private=request.private))
    try:
        keeper.start()
        keeper.wait()
    except (OSError, RuntimeError, ValueError, subprocess.CalledProcessError) as error:
        _say({"error": f"{type(error).__name__}: {error}"})
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        left = keeper.stop()
    if left:
        _log(f"left behind: {left}")
    return 1 if left else 0


class Keeper:
    def __init__(self, request: Request, claim: slots.Claim) -> None:
        self.request = request
        self.claim = claim
        self.layout = claim.layout
        self.cluster: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        since = time.monotonic()
        self.layout.check()
        self.layout.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.layout.logs.mkdir(parents=True)
        pki.write_all(self.layout)
        _write_configs(self.request, self.layout)
        _say({"stage": "certificates and configuration", "seconds": time.monotonic() - since})
        if self.request.node:
            cgroups.make(self.layout.cgroup)
        self.cluster = _spawn(self.layout)
        first = _connect(self.layout, self.cluster) if self.layout.private else self.cluster.pid
        _say({"stage": "namespaces and links", "seconds": time.monotonic() - since})
        self._tell(first)

    def _tell(self, first: int) -> None:
        state = {
            "name": self.request.name, "slot": self.layout.slot, "private": self.layout.private,
            "keeper": os.getpid(), "first": first,
        }  # fmt: skip
        (self.layout.run / "state.json").write_text(json.dumps(state))
        _say({"ready": state})
        if self.request.detached:  # whoever reads our output is about to leave
            with (self.layout.logs / "keeper.log").open("ab") as log:
                for descriptor in (1, 2):
                    os.dup2(log.fileno(), descriptor)

    def wait(self) -> None:
        """Return when the pipe closes; raise RuntimeError when the cluster ends by itself."""
        assert self.cluster is not None
        watched = [] if self.request.detached else [sys.stdin]
        while self.cluster.poll() is None:
            if select.select(watched, [], [], 1.0)[0]:
                return  # nothing is ever written to it: readable means closed
        raise RuntimeError(f"the cluster ended by itself with {self.cluster.returncode}")

    def stop(self) -> list[str]:
        """End every process, remove everything; return what is left."""
        if self.cluster is not None and self.cluster.poll() is None:
            if self.layout.private:
                # Not `unshare`: it returns once process 1 has gone, and all that it started.
                _kill_only_child(self.cluster)
            else:
                self.cluster.terminate()
            self.cluster.wait()
        left = slots.clean(self.layout)
        self.claim.release()
        return left


def _write_configs(request: Request, layout: Layout) -> None:
    binaries = {name: Path(path) for name, path in request.binaries.items()}
    files = configs.control_plane(layout)
    commands = daemons.control_plane(layout, binaries)
    if request.node:
        files |= configs.node(layout, request.runc)
        commands |= daemons.node(layout, binaries, request.containerd)
    if request.kwok:
        commands |= daemons.kwok(layout, binaries)
    for name, content in files.items():
        path = layout.run / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    (layout.run / "plan.json").write_text(json.dumps(_plan(request, layout, commands)))


def _plan(request: Request, layout: Layout, commands: daemons.Commands) -> dict[str, Any]:
    shims = str(Path(request.containerd).parent)  # containerd looks for its shim in PATH
    path = f"{shims}:/usr/sbin:/usr/bin:/sbin:/bin" if request.node else os.environ["PATH"]
    return {
        "private": layout.private,
        "hostname": NODE,
        "bridge": layout.bridge,
        "bridge_address": f"{layout.node_ip}/24",
        "inner_link": layout.inner_link,
        "inner_address": f"{layout.inner_ip}/30",
        "gateway": layout.host_ip,
        "in_memory": f"{layout.run}/containerd" if request.in_memory else "",
        "path": path,
        "daemons": commands,
    }


def _spawn(layout: Layout) -> subprocess.Popen[bytes]:
    script = [sys.executable, str(Path(__file__).with_name("init.py")), str(layout.run)]
    command = ["setpriv", "--pdeathsig=KILL", *(_UNSHARE if layout.private else []), *script]
    with (layout.logs / "init.log").open("ab") as log:
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )


def _connect(layout: Layout, cluster: subprocess.Popen[bytes]) -> int:
    """Link the cluster's network with the host's; return the host's number of its process 1."""
    deadline = time.monotonic() + _NAMESPACES_WITHIN_SECONDS
    while not (layout.run / "namespaces.ready").exists():
        if cluster.poll() is not None or time.monotonic() > deadline:
            log = (layout.logs / "init.log").read_text().strip()
            raise RuntimeError(f"the namespaces did not come up: {log or 'no output'}")
        time.sleep(0.005)
    first = _only_child(cluster.pid)
    _ip("link", "add", layout.host_link, "type", "veth",
        "peer", "name", layout.inner_link, "netns", str(first))  # fmt: skip
    _ip("address", "add", f"{layout.host_ip}/30", "dev", layout.host_link)
    _ip("link", "set", layout.host_link, "up")
    for network in (layout.pod_network, layout.service_network):
        _ip("route", "add", network, "via", layout.inner_ip)
    (layout.run / "link.ready").touch()
    return first


def _only_child(parent: int) -> int:
    # not every kernel has /proc/PID/task/TID/children
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it ended while we looked
        if int(fields[1]) == parent:
            return int(entry.parent.name)
    raise RuntimeError(f"process {parent} has no child: the namespaces are gone again")


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")


def _kill_only_child(unshare: subprocess.Popen[bytes]) -> None:
    try:
        os.kill(_only_child(unshare.pid), signal.SIGKILL)
    except (RuntimeError, ProcessLookupError):
        unshare.kill()  # it has not forked yet, or is about to end


def _exit(signum: int, frame: FrameType | None) -> None:
    raise SystemExit(0)


def _say(message: dict[str, Any]) -> None:
    try:
        sys.stdout.write(json.dumps(message) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        _log(f"nobody hears {message}")


def _log(text: str) -> None:
    sys.stderr.write(f"keeper: {text}\n")
