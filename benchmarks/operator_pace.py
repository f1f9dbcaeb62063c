"""Single jobs and gangs under this build and under an earlier one, in turns. Used by accept_operator.py.

Each build has a control plane of its own with its own CRD; the operators take turns, so that what else the machine does
meets both.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import os
from pathlib import Path
from typing import Any

import yaml
from bed.cluster import Bed
from builds import environ, unpack
from operator_field import Took
from operator_load import GANGS, IN_FLIGHT, SINGLE, UNPACED, Shape, bench

CRD_FILE = "speechtrain.dev_speechtrainingjobs.yaml"


async def pace(bed: Bed, other: Bed, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """This build and an earlier one in turns, each on a cluster with its own CRD; the pods alone beside both."""
    base = options.base
    build = unpack(base, folder / base)
    crd = yaml.safe_load((build / "crds" / CRD_FILE).read_text("utf-8"))
    (folder / "this").mkdir()
    async with bench(bed, folder / "this") as ours, bench(other, folder, crd) as theirs:
        builds = {"this": (ours, os.environ), base: (theirs, environ(build))}
        pod = await ours.sample()
        await theirs.jobs(Shape(1, 1), builds[base][1], **UNPACED)  # everything warm
        took: dict[str, dict[str, list[Took]]] = {
            name: collections.defaultdict(list) for name in ("bare", *builds)
        }
        back: dict[str, list[float]] = {name: [] for name in builds}
        for number in range(options.rounds):
            took["bare"]["gangs"].append(await ours.bare(pod, GANGS.total, IN_FLIGHT))
            for name in list(builds) if number % 2 else reversed(builds):
                at, environment = builds[name]
                took[name]["single"].append(await at.jobs(SINGLE, environment, **UNPACED))
                took[name]["gangs"].append(await at.jobs(GANGS, environment, **UNPACED))
                back[name].append(await at.restart(environment))
        lives = {name: await at.lives(environment) for name, (at, environment) in builds.items()}
    return {
        "base": base,
        "took": {
            name: {
                what: [dataclasses.asdict(one) for one in rounds] for what, rounds in all_.items()
            }
            for name, all_ in took.items()
        },
        "secondsUntilAGangIsBack": back,
        "requests": lives,
    }
