"""Are the ranks still the same? Weights and step counters compared, own gradients and waiting times sampled.

`engine.loop` calls `begin` before and `sample` after the update of every step (they act on every `everySteps`-th),
and `check` before every save, so that no checkpoint of ranks that disagree is ever written. What was found goes
to the supervisor with the next datagram of rank 0; the rule RankDivergence judges it.

DDP gives all ranks the same gradients, and fused optimizers make the same weights of them, bit by bit: one
checksum per module and one all-gather tell. A comparison waits for the device; all other steps do not.

Ranks that hold parts of the weights differ by design: compared are the counter and what is whole on all of them,
buffers and shadows. FSDP has no hook that shows a rank's own gradient: sampled are its loss, and its wait at the
start of the step, which tells who is late with data or on the host, not who computes slowly.
"""
# No `from __future__ import annotations`: DDP checks the annotations of its communication hook as objects.

import dataclasses
import math
import time
from collections.abc import Callable, Mapping

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from speech_contract.losses import headline
from speech_contract.report import MAX_PEERS
from speech_contract.report import Peers as Told
from speech_contract.thresholds import HealthMode, OnExceeded, RankDivergence
from speech_trainer.engine.distributed import World
from speech_trainer.engine.gate import Judgement
from speech_trainer.engine.layout import Layout
from speech_trainer.engine.measures import Measures
from speech_trainer.engine.recipe import Built
from speech_trainer.errors import RanksDisagree

STEP_COUNTER = "step counter"
_WORDS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
_FACTOR = (
    0x5851F42D4C957F2D  # odd, so that no bit of an earlier tensor is lost (Knuth's MMIX multiplier)
)
_SAMPLED = 3  # own gradient norm, own loss, waiting time


@torch.no_grad()
def checksum(tensors: list[Tensor], device: torch.device) -> Tensor:
    """64 bits over tensors, computed where they lie: the sum of their words, tensor by tensor in order.

    One flipped bit anywhere changes it for certain; swapped words within one tensor do not. int64 scalar.
    """
    total = torch.zeros((), dtype=torch.int64, device=device)
    for tensor in tensors:
        flat = tensor.detach().contiguous().reshape(-1)
        words = flat.view(_WORDS[flat.element_size()])
        total = total * _FACTOR + words.sum(dtype=torch.int64)
    return total


def group_equal(rows: list[list[int]]) -> list[list[int]]:
    """Ranks with equal rows, the largest group first; of equal ones the one with the lowest rank."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for rank, row in enumerate(rows):
        groups.setdefault(tuple(row), []).append(rank)
    return sorted(groups.values(), key=lambda ranks: (-len(ranks), ranks[0]))


class GradientProbe:
    """Looks into DDP's all-reduce on sampled steps: this rank's own gradient, and how long it waits for others.

    The gradient goes through DDP's own path in its own buckets, averaged as DDP averages. The wait is that of the
    last bucket of each backward pass: what is left when this rank has nothing more to compute.
    """

    def __init__(self, device: torch.device, clock: Callable[[], float]) -> None:
        self.sampling = False
        self._device, self._clock = device, clock
        self._norms: list[Tensor] = []
        self._waits: list[tuple[float | torch.cuda.Event, float | torch.cuda.Event]] = []

    def attach(self, model: nn.Module) -> None:
        """Stand in DDP's way; other models have nothing to look at."""
        if isinstance(model, DistributedDataParallel):
            model.register_comm_hook(None, self.reduce)

    def reduce(
        self,
        state: object,
        bucket: dist.GradBucket,  # type: ignore[name-defined]  # torch's stubs leave it out
    ) -> torch.futures.Future[torch.Tensor]:
        """DDP's communication hook."""
        tensor = bucket.buffer()
        sampling = self.sampling
        if sampling:
            self._norms.append(torch.linalg.vector_norm(tensor.float()))
        tensor.div_(dist.get_world_size())
        began = self._now() if sampling else 0.0
        work = dist.all_reduce(tensor, async_op=True)
        last = sampling and bucket.is_last()

        def done(future: torch.futures.Future[list[Tensor]]) -> Tensor:
            if last:
                self._waits.append((began, self._now()))
            return future.value()[0]

        assert work is not None
        reduced: torch.futures.Future[torch.Tensor] = work.get_future().then(done)
        return reduced

    def take(self) -> tuple[Tensor, float]:
        """Own gradient norm and seconds waited since the last call. The device must have caught up."""
        norms, self._norms = self._norms, []
        waits, self._waits = self._waits, []
        zero = torch.zeros((), device=self._device)
        norm = torch.linalg.vector_norm(torch.stack(norms)) if norms else zero
        return norm, sum(_seconds(*wait) for wait in waits)

    def _now(self) -> float | torch.cuda.Event:
        if self._device.type != "cuda":
            return self._clock()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event


def _seconds(began: float | torch.cuda.Event, ended: float | torch.cuda.Event) -> float:
    if isinstance(began, torch.cuda.Event) and isinstance(ended, torch.cuda.Event):
        return float(began.elapsed_time(ended)) / 1000
    assert isinstance(began, float)
    assert isinstance(ended, float)
    return max(0.0, ended - began)


@dataclasses.dataclass(frozen=True)
class Sample:
    """What this rank measured at a sampled step."""

    gradient_norm: float
    loss: float
    wait_ratio: float


class Peers:
    """One rank's half of the comparison. With one rank, or health off, it does nothing."""

    def __init__(
        self,
        built: Built,
        world: World,
        limits: RankDivergence,
        mode: HealthMode,
        layout: Layout,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._world, self._clock = world, clock
        self._every = limits.every_steps
        self._on = world.size > 1 and mode is not HealthMode.OFF
        self._acts = mode is HealthMode.ENFORCE and limits.on_exceeded is not OnExceeded.WARN
        self._modules, self._split = layout.alike(built), layout.split
        self._waited = 0.0
        self._probe = GradientProbe(world.device, clock)
        self._agreed: int | None = None
        self._compared: int | None = None
        self._differ = False

    def attach(self, models: Mapping[str, nn.Module]) -> None:
        """Look into the all-reduce of these wrapped models."""
        for model in models.values() if self._on else ():
            self._probe.attach(model)

    @property
    def distrusted(self) -> bool:
        """The ranks disagree, and the rule will end the attempt: nothing more may be saved."""
        return self._differ and self._acts

    def require_agreement(self, step: int) -> None:
        """The run ends: raises RanksDisagree when nobody could say whose weights it ends with."""
        if self.distrusted:
            raise RanksDisagree(
                f"the ranks disagree at step {step}, the last one; test the GPUs and the "
                "network of the nodes that the finding RankDivergence names"
            )

    def begin(self, step: int) -> None:
        """A step begins; on cadence its all-reduce is sampled."""
        self._probe.sampling = self._on and step % self._every == 0
        if self._probe.sampling and self._split:
            self._waited = self._wait()

    def _wait(self) -> float:
        """Seconds until every rank was here."""
        began = self._clock()
        here = torch.zeros(1, device=self._world.device)
        dist.all_reduce(here)
        here.item()
        return self._clock() - began

    def sample(self, step: int, judgement: Judgement, measures: Measures) -> Told | None:
        """After the update of the step that `measures` timed: compare on cadence; None between."""
        if not self._probe.sampling:
            return None
        self._probe.sampling = False
        if self._world.device.type == "cuda":
            torch.cuda.synchronize(self._world.device)
        norm, waited = self._probe.take()
        waited += self._waited + measures.waited
        seconds = max(self._clock() - measures.began, 1e-9)
        loss = _headline(judgement)
        norm_value, loss_value = torch.stack([norm.float(), loss.float()]).tolist()
        return self._compare(step, Sample(norm_value, loss_value, min(1.0, waited / seconds)))

    def check(self, step: int) -> Told | None:
        """Before a save: compare unless this step was compared already."""
        return self._compare(step, None) if self._on and self._compared != step else None

    def restored(self) -> None:
        """All ranks took the same checkpoint: whatever was different is gone."""
        self._differ, self._agreed, self._compared = False, None, None

    def _compare(self, step: int, sample: Sample | None) -> Told:
        table = self._gather(step, sample)
        states = table[:, :-_SAMPLED]
        groups = group_equal(states.tolist())
        self._differ, self._compared = len(groups) > 1, step
        if not self._differ:
            self._agreed = step
        differs = _first_difference(states, [STEP_COUNTER, *self._modules]) if self._differ else ""
        found = Told(step, groups, self._agreed, differs)
        if sample is None or self._world.size > MAX_PEERS:
            return found
        samples = table[:, -_SAMPLED:].contiguous().view(torch.float64).t().tolist()
        norms, losses, waits = map(_short, samples)
        norms = [] if self._split else norms
        return dataclasses.replace(found, gradient_norms=norms, losses=losses, wait_ratios=waits)

    def _gather(self, step: int, sample: Sample | None) -> Tensor:
        """[ranks, 1 + modules + _SAMPLED] int64 on the host: counter, checksums, and the bits of the samples."""
        device = self._world.device
        sums = [checksum(tensors, device) for tensors in self._modules.values()]
        values = dataclasses.astuple(sample) if sample else (math.nan,) * _SAMPLED
        counter = torch.tensor([step], dtype=torch.int64, device=device)
        measured = torch.tensor(values, dtype=torch.float64).view(torch.int64).to(device)
        row = torch.cat([counter, *(one.reshape(1) for one in sums), measured])
        rows = [torch.empty_like(row) for _ in range(self._world.size)]
        dist.all_gather(rows, row)
        return torch.stack(rows).cpu()


def _headline(judgement: Judgement) -> Tensor:
    """This rank's own loss: a scalar on the device; 0 without any."""
    name = headline(judgement.loss_names)
    if name is None:
        return torch.zeros((), device=judgement.losses.device)
    return judgement.losses[judgement.loss_names.index(name)]


def _first_difference(table: Tensor, names: list[str]) -> str:
    for column, name in enumerate(names):
        if (table[:, column] != table[0, column]).any():
            return name
    return ""


def _short(values: list[float]) -> list[float]:
    """Four digits: what goes into every rank's datagram must be small."""
    return [float(f"{value:.4g}") for value in values]
