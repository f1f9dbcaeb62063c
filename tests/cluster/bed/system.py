"""What this machine must have for each tier of the test bed, and getting it where we may.

Debian's packages are installed by apt when we are root; elsewhere the reason names them.
"""

import functools
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from bed import configs

_SEARCH = f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin"


class Tier(StrEnum):
    CONTROL_PLANE = "control plane"
    NODE = "node"
    IMAGES = "images"
    ALERTS = "alerts"


@dataclass(frozen=True)
class Need:
    """A program, by name or by absolute path, and the Debian package that brings it."""

    program: str
    package: str

    def path(self) -> str | None:
        return shutil.which(self.program, path=_SEARCH)


_BASE = (Need("setpriv", "util-linux"), Need("unshare", "util-linux"), Need("ip", "iproute2"))
_NEEDS = {
    Tier.CONTROL_PLANE: (Need("setpriv", "util-linux"),),
    Tier.NODE: (
        *_BASE,
        Need("nsenter", "util-linux"),
        Need("containerd", "containerd"),
        Need("runc", "runc"),
        Need(f"{configs.CNI_BINARIES}/bridge", "containernetworking-plugins"),
        Need("nft", "nftables"),
    ),
    Tier.IMAGES: (Need("buildah", "buildah"), Need("mmdebstrap", "mmdebstrap")),
    Tier.ALERTS: (Need("prometheus-alertmanager", "prometheus-alertmanager"),),
}


def program(name: str) -> str:
    """The path of a program; also looks where root's programs are.

    Raises RuntimeError when it is missing: ask `obstacle` before.
    """
    if path := shutil.which(name, path=_SEARCH):
        return path
    raise RuntimeError(f"{name} is not installed")


def is_root() -> bool:
    return os.geteuid() == 0


@functools.cache
def has_namespaces() -> bool:
    """Whether we may make namespaces and mounts: root on a machine, not root in any container."""
    if not is_root() or not shutil.which("unshare"):
        return False
    probe = ["unshare", "--mount", "--net", "--pid", "--ipc", "--uts", "--fork", "true"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


def obstacle(tier: Tier) -> str:
    """Why this machine cannot carry the tier, as a sentence; "" when it can.

    Installs what is missing where it may.
    """
    if sys.platform != "linux":
        return f"the {tier} needs Linux"
    if tier is not Tier.CONTROL_PLANE and not is_root():
        return f"the {tier} needs root (namespaces, mounts, control groups); this is no root"
    if tier is Tier.NODE and not has_namespaces():
        return "the node needs new namespaces, which this container refuses even to root"
    if tier is Tier.NODE and not Path("/sys/fs/cgroup").is_dir():
        return "the node needs control groups below /sys/fs/cgroup"
    missing = packages_missing(tier)
    if missing and is_root() and shutil.which("apt-get"):
        failure = install(missing)
        missing = packages_missing(tier)
        if missing:
            return f"the {tier} needs {' '.join(missing)}; apt-get said: {failure}"
    if missing:
        return f"the {tier} needs: apt-get install --no-install-recommends {' '.join(missing)}"
    return ""


def packages_missing(tier: Tier) -> list[str]:
    return list(dict.fromkeys(need.package for need in _NEEDS[tier] if need.path() is None))


def install(packages: list[str]) -> str:
    """Install Debian packages; return what went wrong, "" when nothing did."""
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for command in (
        ["apt-get", "update"],
        ["apt-get", "install", "-y", "--no-install-recommends", *packages],
    ):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            return done.stderr.strip()[-2000:]
    return ""
