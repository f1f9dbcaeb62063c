"""`python tests/cluster up|down|list|image|load|enter|binaries`: the test bed for hand work.

`keep` is for the bed itself: it is the process that owns one cluster.
"""

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bed import binaries, families, keeper, rootfs, slots, system
from bed.cluster import Bed, log_to_stderr, namespaces_of
from bed.commands import run
from bed.dockerfile import Builder
from bed.images import Images
from bed.layout import Layout, cache_dir, state_dir

_DOWN_WITHIN_SECONDS = 60.0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python tests/cluster", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb, text in _HELP.items():
        sub = verbs.add_parser(verb, help=text)
        if verb in ("up", "down", "image", "load", "enter"):
            sub.add_argument("--name", default="hand", help="of the cluster; default: hand")
        if verb == "up":
            sub.add_argument("--no-node", action="store_true", help="a control plane alone")
            sub.add_argument("--kwok", action="store_true", help="room for fake nodes")
            sub.add_argument(
                "--product",
                action="store_true",
                help="with our images, and a namespace to train in",
            )
        if verb == "image":
            sub.add_argument("reference", help="such as localhost/speechtrain-operator:dev")
            sub.add_argument("dockerfile", type=Path)
            sub.add_argument("context", type=Path)
            sub.add_argument("--build-arg", action="append", default=[], metavar="NAME=VALUE")
        if verb == "load":
            sub.add_argument("archive", type=Path, nargs="+")
        if verb == "enter":
            sub.add_argument("command", nargs=argparse.REMAINDER)
        if verb == "keep":
            sub.add_argument("request")
    arguments = parser.parse_args()
    return int(_VERBS[arguments.verb](arguments))


def _up(arguments: argparse.Namespace) -> int:
    if _find(arguments.name):
        return _complain(f"a cluster {arguments.name} is up already: `down` ends it")
    node = not arguments.no_node
    tiers = [system.Tier.NODE if node else system.Tier.CONTROL_PLANE]
    tiers += [system.Tier.IMAGES] if arguments.product else []
    if reason := next(filter(None, map(system.obstacle, tiers)), ""):
        return _complain(f"{reason}; `up --no-node` gives a control plane alone")
    wanted = (families.KUBERNETES, families.HELM)
    for family in wanted:
        binaries.ensure(family, cache_dir(), log_to_stderr)
    bed = Bed(arguments.name, node=node, kwok=arguments.kwok, detached=True)
    bed.start()
    if node:
        bed.advertise("nvidia.com/gpu", 8, {"nvidia.com/gpu.product": "NVIDIA-H200"})
    for what, seconds in bed.timeline:
        log_to_stderr(f"{seconds:6.2f} s  {what}")
    if arguments.product:
        _furnish(bed)
    bed.release()
    programs = [binaries.folder(family, cache_dir()) for family in wanted]
    _print(f"export KUBECONFIG={bed.kubeconfig}")
    _print(f"export PATH={':'.join(map(str, programs))}:$PATH")
    return 0


def _furnish(bed: Bed) -> None:
    from product.hand import furnish  # every keeper starts here and needs none of it

    log_to_stderr("images of operator and trainer: minutes at the first time, seconds later")
    furnish(bed, bed.layout.run / "volumes")


def _down(arguments: argparse.Namespace) -> int:
    state = _find(arguments.name)
    if state is not None:
        os.kill(state["keeper"], signal.SIGTERM)
        deadline = time.monotonic() + _DOWN_WITHIN_SECONDS
        while _layout(state).run.exists():
            if time.monotonic() > deadline:
                return _complain(f"the keeper {state['keeper']} does not end")
            time.sleep(0.05)
    left = slots.sweep(state_dir())
    return _complain(f"left behind: {left}") if left else 0


def _list(arguments: argparse.Namespace) -> int:
    for state in slots.states(state_dir()):
        _print(f"{state['name']}  {_layout(state).api_url}  {_layout(state).run}")
    return 0


def _image(arguments: argparse.Namespace) -> int:
    """Build a Dockerfile upon the small Python root, and load what comes out."""
    if reason := system.obstacle(system.Tier.IMAGES):
        return _complain(reason)
    if (images := _images(arguments.name)) is None:
        return _complain(f"no cluster {arguments.name} with a node is up")
    builder = Builder(cache_dir() / "buildah")
    builder.load(rootfs.python_image(cache_dir(), log_to_stderr))
    settings = {"BASE_IMAGE": rootfs.PYTHON_IMAGE}
    settings |= dict(text.split("=", 1) for text in arguments.build_arg)
    with tempfile.TemporaryDirectory() as scratch:
        archive = Path(scratch) / "image.tar"
        builder.build(
            arguments.dockerfile, arguments.context, arguments.reference, archive, settings
        )
        images.load(archive)
    return 0


def _load(arguments: argparse.Namespace) -> int:
    if (images := _images(arguments.name)) is None:
        return _complain(f"no cluster {arguments.name} with a node is up")
    for archive in arguments.archive:
        images.load(archive)
    return 0


def _images(name: str) -> Images | None:
    """The images of the node of a running cluster, None when it has no node."""
    state = _find(name)
    if state is None or not _layout(state).containerd_socket.exists():
        return None

    def enter(*command: str) -> str:
        return run([*namespaces_of(state["first"]), *command])

    ctr = str(Path(system.program("containerd")).parent / "ctr")
    return Images(enter, ctr, _layout(state).containerd_socket)


def _enter(arguments: argparse.Namespace) -> int:
    state = _find(arguments.name)
    if state is None or not state["private"]:
        return _complain(f"no cluster {arguments.name} with namespaces of its own is up")
    into = namespaces_of(state["first"])
    os.execvp(into[0], [*into, *arguments.command])


def _binaries(arguments: argparse.Namespace) -> int:
    for family in families.ALL.values():
        since = time.monotonic()
        binaries.ensure(family, cache_dir(), log_to_stderr)
        seconds = time.monotonic() - since
        _print(f"{family.name}  {seconds:.0f} s  {binaries.folder(family, cache_dir())}")
    return 0


def _keep(arguments: argparse.Namespace) -> int:
    return keeper.main(keeper.Request(**json.loads(arguments.request)))


def _find(name: str) -> dict[str, Any] | None:
    return next((one for one in slots.states(state_dir()) if one["name"] == name), None)


def _layout(state: dict[str, Any]) -> Layout:
    return Layout(state["slot"], state["private"], state_dir())


def _complain(text: str) -> int:
    log_to_stderr(text)
    return 1


def _print(text: str) -> None:
    sys.stdout.write(text + "\n")


_HELP = {
    "up": "bring a cluster up and print what to export",
    "down": "take it down; nothing is left of it",
    "list": "name the clusters that are up",
    "image": "build a Dockerfile and load it into a cluster",
    "load": "load archives of images into a cluster",
    "enter": "run a command inside the namespaces of a cluster",
    "binaries": "build every program of the test bed",
    "keep": "(for the bed itself) own one cluster",
}
_VERBS = {
    "up": _up,
    "down": _down,
    "list": _list,
    "image": _image,
    "load": _load,
    "enter": _enter,
    "binaries": _binaries,
    "keep": _keep,
}

if __name__ == "__main__":
    sys.exit(main())
