"""Where one test cluster lives: its directory, its addresses, its names.

Everything that must differ between two clusters on one machine follows from the slot, a small
number that no other cluster of the machine has. Pure, except for `cache_dir` and `state_dir`, which
read the environment.
"""

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

SLOTS = 16
NODE = "bed-node"
PAUSE_IMAGE = "localhost/pause:bed"
DOMAIN = "cluster.local"
_LONGEST_SOCKET = 107  # sun_path, without its final zero byte


def cache_dir() -> Path:
    """What is costly to make and safe to keep: toolchain, binaries, root file systems."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "speechtrain"


def state_dir() -> Path:
    """The parent of the directories of all clusters of this user, below TMPDIR."""
    return Path(tempfile.gettempdir()) / f"speechtrain-beds-{os.getuid()}"


@dataclass(frozen=True)
class Layout:
    """Names and addresses of the cluster in `slot`.

    A private cluster has network, process and mount namespaces of its own and needs root.
    Otherwise (`private=False`) its daemons are plain processes on 127.0.0.1 with ports of their
    own, and it can have no node.
    """

    slot: int
    private: bool
    root: Path

    @property
    def run(self) -> Path:
        return self.root / str(self.slot)

    @property
    def pki(self) -> Path:
        return self.run / "pki"

    @property
    def logs(self) -> Path:
        return self.run / "logs"

    @property
    def cgroup(self) -> str:
        return f"speechtrain-bed{self.slot}"

    @property
    def bridge(self) -> str:
        return "bed0"

    @property
    def host_link(self) -> str:
        return f"stb{self.slot}h"

    @property
    def inner_link(self) -> str:
        return f"stb{self.slot}n"

    @property
    def pod_network(self) -> str:
        return f"10.87.{self.slot}.0/24"

    @property
    def service_network(self) -> str:
        return f"10.97.{self.slot}.0/24"

    @property
    def api_service(self) -> str:
        """The first address of the service network: the Service `kubernetes`."""
        return f"10.97.{self.slot}.1"

    @property
    def node_ip(self) -> str:
        return f"10.87.{self.slot}.1" if self.private else "127.0.0.1"

    @property
    def host_ip(self) -> str:
        """The address under which pods reach servers of the test process."""
        return f"10.87.{128 + self.slot}.1" if self.private else "127.0.0.1"

    @property
    def inner_ip(self) -> str:
        """The address under which the test process reaches the cluster."""
        return f"10.87.{128 + self.slot}.2" if self.private else "127.0.0.1"

    def port(self, usual: int) -> int:
        """The usual port in a private network; one out of a block for the slot elsewhere."""
        return usual if self.private else 21000 + 100 * self.slot + _OFFSETS[usual]

    @property
    def api_url(self) -> str:
        return f"https://{self.inner_ip}:{self.port(API)}"

    @property
    def etcd_url(self) -> str:
        return f"http://127.0.0.1:{self.port(ETCD)}"

    @property
    def etcd_peer_url(self) -> str:
        return f"http://127.0.0.1:{self.port(ETCD_PEER)}"

    @property
    def containerd_socket(self) -> Path:
        return self.run / "containerd.sock"

    def check(self) -> None:
        """Raises ValueError where a Unix socket in the directory would have too long a name."""
        path = str(self.containerd_socket)
        if len(path) > _LONGEST_SOCKET:
            raise ValueError(
                f"TMPDIR is too long for a Unix socket: {path} has {len(path)} characters, "
                f"at most {_LONGEST_SOCKET} are possible; set TMPDIR to a shorter directory"
            )


API, ETCD, ETCD_PEER, CONTROLLERS, SCHEDULER, KWOK = 6443, 2379, 2380, 10257, 10259, 10247
_OFFSETS = {port: n for n, port in enumerate((API, ETCD, ETCD_PEER, CONTROLLERS, SCHEDULER, KWOK))}
