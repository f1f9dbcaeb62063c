"""What a training step costs, stage by stage, and its peak memory. Used by step_*.py, which each make one.

    python step_watch.py step_ours|step_dac|step_cloner|step_stock BATCH OUT --steps N

One process, one build: it makes the step, takes two to warm up, times the others. It imports torch alone, for it runs
in the environment of another package too. Writes JSON: CPU seconds of each step and of each stage (mean of a step),
wall seconds beside them, what the steps gave back where that is a number, peak resident memory above what the imports
took. CPU seconds, since a machine that is shared gives one thread a share that nobody chose.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

SAMPLE_RATE = 24000
WARM = 2  # steps: TorchScript, which DAC's Snake is, watches one and compiles at the next
Step = Callable[[], object]


class Watch:
    """Adds up CPU seconds by stage. On a CPU what autograd runs is over when it returns, so a clock is enough."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._began: dict[str, float] = {}
        self._wayback, self._since = "", 0.0  # the stage of a backward pass, and since when

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Everything inside is this stage's."""
        began = time.process_time()
        yield
        self.seconds[name] += time.process_time() - began

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The same function as a stage."""

        def run(*arguments: Any, **named: Any) -> Any:
            with self.stage(name):
                return function(*arguments, **named)

        return run

    def module(self, name: str, module: nn.Module, pick: Callable[[Any], Tensor]) -> None:
        """A module's forward as a stage, and its way back as another. `pick`: the tensor of its output."""

        def before(_: nn.Module, inputs: object) -> None:
            self._began[name] = time.process_time()

        def after(_: nn.Module, inputs: object, output: Any) -> None:
            self.seconds[f"{name}, forward"] += time.process_time() - self._began[name]
            picked = pick(output)
            if picked.requires_grad:
                picked.register_hook(lambda _: self._arrive(f"{name}, backward"))

        module.register_forward_pre_hook(before)
        module.register_forward_hook(after)

    def begins(self, name: str) -> None:
        """A backward pass: it starts in stage `name` and goes on in those of the modules that it reaches."""
        self._arrive(name)

    def ends(self) -> None:
        """It is over."""
        self._arrive("")

    def _arrive(self, name: str) -> None:
        now = time.process_time()
        if self._wayback:
            self.seconds[self._wayback] += now - self._since
        self._wayback, self._since = name, now


def resident(field: str) -> int:
    """Bytes of this process: VmRSS now, VmHWM at its highest."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))


def measure(make: Callable[[Any, Watch], Step], batch: Any, steps: int) -> dict[str, Any]:
    """The figures of one build."""
    before = resident("VmRSS")
    watch = Watch()
    step = make(batch, watch)
    for _ in range(WARM):
        step()
    watch.seconds.clear()
    seconds, wall, given = [], [], []
    for _ in range(steps):
        began, at = time.process_time(), time.monotonic()
        given.append(step())
        seconds.append(time.process_time() - began)
        wall.append(time.monotonic() - at)
    stages = {name: total / steps for name, total in watch.seconds.items()}
    return {
        "seconds": seconds,
        "wallSeconds": wall,
        "given": [one for one in given if isinstance(one, int)],
        "stages": stages,
        "peakBytes": resident("VmHWM") - before,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def main() -> None:
    """One build, as the command line names it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("build", help="module with `make`")
    parser.add_argument("batch", type=Path, help="tensors that `make` takes, saved by torch")
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=2)
    asked = parser.parse_args()
    torch.manual_seed(0)
    make = importlib.import_module(asked.build).make
    found = measure(make, torch.load(asked.batch, weights_only=True), asked.steps)
    asked.out.write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    sys.modules["step_watch"] = sys.modules["__main__"]  # the builds import it by its name
    main()
