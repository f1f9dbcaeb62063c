"""`Bed`: one real Kubernetes cluster on this machine, for as long as a `with` block lasts.

    with Bed(node=True) as bed:
        bed.load_image(archive)
        bed.kubectl("apply", "-f", "-", stdin=manifest)

Tests take it from the fixtures in `tests/cluster/conftest.py`, hand work from `make cluster`.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bed import binaries, bootstrap, families, oci, slots, system
from bed.api import JSON_PATCH, Api
from bed.binaries import Progress
from bed.commands import run
from bed.images import Images
from bed.keeper import Request
from bed.layout import NODE, Layout, cache_dir, state_dir

_ENTRY = Path(__file__).resolve().parent.parent  # `python tests/cluster`
_DOWN_WITHIN_SECONDS = 60.0


def log_to_stderr(text: str) -> None:
    sys.stderr.write(f"bed: {text}\n")
    sys.stderr.flush()


def namespaces_of(first: int) -> list[str]:
    """What to put before a command to run it beside the cluster's process 1."""
    return ["nsenter", "-t", str(first), "-m", "-n", "-p", "-i", "-u", "--"]


class Bed:
    """A control plane; with `node` a real node as well (root), with `kwok` room for fake ones.

    Images live in memory, which is many times faster to fill and to empty than a disk; `on_disk`
    is for those of gigabytes (its TMPDIR must be able to carry overlays: no overlay itself).

    Attributes: `layout` (addresses, directory), `api` (as cluster admin), `images` (of the node),
    `timeline` (what came up, and after how many seconds).
    """

    def __init__(
        self,
        name: str = "test",
        *,
        node: bool = False,
        kwok: bool = False,
        on_disk: bool = False,
        detached: bool = False,
        cache: Path | None = None,
        tell: Progress = log_to_stderr,
    ) -> None:
        self._tell = tell
        self._cache = cache or cache_dir()
        tools = {tool: system.program(tool) for tool in ("containerd", "runc") if node}
        self._request = Request(
            name=name,
            private=system.has_namespaces(),
            node=node,
            kwok=kwok,
            detached=detached,
            in_memory=node and not on_disk,
            binaries=self._binaries(kwok),
            **tools,
        )
        self._keeper: subprocess.Popen[str] | None = None
        self._since = 0.0
        self.timeline: list[tuple[str, float]] = []

    def _binaries(self, kwok: bool) -> dict[str, str]:
        wanted = [families.KUBERNETES, *([families.KWOK] if kwok else [])]
        built = [binaries.ensure(family, self._cache, self._tell) for family in wanted]
        return {name: str(path) for paths in built for name, path in paths.items()}

    # ------------------------------------------------------------------ up and down

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Return when everything that was asked for answers. Raises TimeoutError, RuntimeError."""
        self._since = time.monotonic()
        command = [sys.executable, str(_ENTRY), "keep", self._request.to_json()]
        self._keeper = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL if self._request.detached else subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C reaches the tests alone; they close the pipe
        )
        try:
            self._attach(self._read_state())
            self._bring_up()
        except BaseException:
            self.stop()
            raise

    def _bring_up(self) -> None:
        try:
            bootstrap.control_plane(self.api, self._stage)
            if self._request.node:
                pause = Path(self._request.binaries["pause"])
                bootstrap.node(self.api, self.enter, self.images, pause, self._stage)
        except Exception as error:
            error.add_note(self.last_words())  # the logs go with the cluster
            raise

    def _read_state(self) -> dict[str, Any]:
        assert self._keeper is not None
        assert self._keeper.stdout is not None
        for line in self._keeper.stdout:
            message = json.loads(line)
            if "error" in message:
                raise RuntimeError(message["error"])
            if "ready" in message:
                state: dict[str, Any] = message["ready"]
                return state
            self._stage(message["stage"])
        raise RuntimeError("the keeper of the cluster ended without a word; see above")

    def _attach(self, state: Mapping[str, Any]) -> None:
        self.layout = Layout(state["slot"], state["private"], state_dir())
        self._first = int(state["first"])
        self.api = Api(self.layout.api_url, self.layout.pki)
        ctr = str(Path(self._request.containerd).parent / "ctr")  # of the same version
        self.images = Images(self.enter, ctr, self.layout.containerd_socket)

    def _stage(self, what: str) -> None:
        self.timeline.append((what, round(time.monotonic() - self._since, 2)))

    def stop(self) -> None:
        """Take everything down; nothing is left of it. Raises RuntimeError where something is."""
        keeper, self._keeper = self._keeper, None
        if keeper is None:
            return
        if keeper.stdin is not None:
            keeper.stdin.close()
        else:
            keeper.terminate()
        try:
            code = keeper.wait(_DOWN_WITHIN_SECONDS)
        except subprocess.TimeoutExpired:
            keeper.kill()  # the kernel ends the cluster with it; the sweep below does the rest
            code = keeper.wait()
        if keeper.stdout is not None:
            keeper.stdout.close()
        left = slots.sweep(state_dir())  # the keeper may have been killed
        if code or left:
            raise RuntimeError(f"the keeper of the cluster ended with {code}; left: {left}")

    def release(self) -> None:
        """Leave a detached cluster running; `down` ends it."""
        assert self._request.detached
        keeper, self._keeper = self._keeper, None
        if keeper is not None and keeper.stdout is not None:
            keeper.stdout.close()
            keeper.returncode = 0  # it goes on without us: no "still running" warning

    # ------------------------------------------------------------------ use

    @property
    def name(self) -> str:
        return self._request.name

    @property
    def first(self) -> int:
        """The host's number of the cluster's process 1: see `namespaces_of`."""
        return self._first

    @property
    def kubeconfig(self) -> Path:
        return self.layout.pki / "admin.kubeconfig"

    @property
    def api_url(self) -> str:
        return self.layout.api_url

    @property
    def host_ip(self) -> str:
        """Where pods reach a server that a test runs."""
        return self.layout.host_ip

    def last_words(self, lines: int = 5) -> str:
        """The end of every daemon's log: for the message of a test that fails."""
        ends = [
            f"== {log.name}\n{''.join(log.read_text().splitlines(keepends=True)[-lines:])}"
            for log in sorted(self.layout.logs.glob("*.log"))
        ]
        return "\n".join(ends)

    def kubectl(self, *arguments: str, stdin: str | None = None, seconds: float = 120.0) -> str:
        """What kubectl prints. Raises CommandFailed with what it says."""
        command = [self._request.binaries["kubectl"], *arguments]
        return self._command(command, stdin, seconds)

    def helm(self, *arguments: str, stdin: str | None = None, seconds: float = 300.0) -> str:
        """What helm prints; builds helm at the first call."""
        path = binaries.ensure(families.HELM, self._cache, self._tell)["helm"]
        return self._command([str(path), *arguments], stdin, seconds)

    def _command(self, command: list[str], stdin: str | None, seconds: float) -> str:
        home = self.layout.run / "home"  # no cache, plugin or setting of the user plays a part
        environment = os.environ | {"KUBECONFIG": str(self.kubeconfig), "HOME": str(home)}
        return run(command, stdin=stdin, seconds=seconds, environment=environment)

    def enter(self, *command: str) -> str:
        """Run a command inside the namespaces of a private cluster, such as `ip` or `nft`."""
        return run([*namespaces_of(self._first), *command])

    def restart(self, daemon: str) -> None:
        """Kill a daemon by its name in `daemons.py`; the first process starts it again."""
        pids = json.loads((self.layout.run / "pids.json").read_text())
        self.enter("kill", "-KILL", str(pids[daemon]))

    def load_image(self, archive: Path) -> None:
        self.images.load(archive)

    def snapshot_image(
        self, reference: str, layers: Sequence[Path], config: oci.Config, below: Path | None = None
    ) -> None:
        """An image made of folders of this machine without a copy; see `Images.snapshot`."""
        self.images.snapshot(reference, layers, config, below)

    def advertise(self, resource: str, count: int, labels: Mapping[str, str]) -> None:
        """Let the node offer an extended resource, as a device plugin would."""
        path = f"/api/v1/nodes/{NODE}"
        self.api.patch(path, {"metadata": {"labels": dict(labels)}})
        place = f"/status/capacity/{resource.replace('/', '~1')}"
        patch = [{"op": "add", "path": place, "value": str(count)}]
        self.api.patch(f"{path}/status", patch, JSON_PATCH)
        bootstrap.resource_is_offered(self.api, resource, count)

    def local_volume(
        self,
        name: str,
        folder: Path,
        size: str,
        modes: Sequence[str],
        claim: Mapping[str, str] | None = None,
    ) -> None:
        """A volume that is a folder of the node, for `claim` alone where one is named.

        As with a disk, and unlike hostPath, the kubelet gives it to the pod's fsGroup.
        """
        own = {"key": "kubernetes.io/hostname", "operator": "In", "values": [NODE]}
        spec = {
            "storageClassName": "",
            "accessModes": list(modes),
            "capacity": {"storage": size},
            "local": {"path": str(folder)},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [own]}]}},
            **({"claimRef": dict(claim)} if claim else {}),
        }
        self.api.post("/api/v1/persistentvolumes", {"metadata": {"name": name}, "spec": spec})

    def audit(self, user: str = "") -> Iterator[dict[str, Any]]:
        """The requests that the API server answered so far, oldest first, one dict each.

        Those of the control plane itself are left out; `user` selects by the start of the name,
        such as `system:serviceaccount:speechtrain:`.
        """
        with (self.layout.run / "audit.log").open() as log:
            yield from requests_of(log, user)


def requests_of(log: Iterable[str], user: str) -> Iterator[dict[str, Any]]:
    """The events of an audit log whose user's name starts so."""
    for line in log:
        if not line.endswith("\n"):  # it is still being written
            return
        event: dict[str, Any] = json.loads(line)
        if event["user"].get("username", "").startswith(user):  # a refused stranger has no name
            yield event
