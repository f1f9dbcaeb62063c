"""What changes without a gradient (codebooks, averages), rehearsed on real batches. Called by `preflight.run`.

The recipe lets it change and looks at what it knows of it (`Expectations.rehearsal`); here is measured what holds for
any recipe: nothing has two writers, everything that moves is staged, and moves the same way on every rank. All of it
happens inside `trial.put_back`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

import torch
from torch import Tensor, nn

from speech_contract.preflight import Check, CheckResult
from speech_trainer.engine.distributed import World
from speech_trainer.engine.layout import Layout, whole_everywhere
from speech_trainer.engine.peers import checksum
from speech_trainer.engine.recipe import Built, unwrap
from speech_trainer.preflight.rows import listed, row


def rehearse(
    built: Built, act: Callable[[], list[CheckResult]], world: World, layout: Layout
) -> list[CheckResult]:
    """Together: the recipe's own rows, and what its rehearsal moved."""
    before = _sums(built, world.device, layout)
    rows = act()
    after = _sums(built, world.device, layout)
    moved = {name for name, value in after.items() if value != before.get(name)}
    return [*rows, *_writers(built, moved), *_agree(built, world)]


def _writers(built: Built, moved: Collection[str]) -> list[CheckResult]:
    """What moved without a gradient belongs to no optimizer, and can be taken back."""
    stepped = {
        id(p) for plan in built.optimizers.values() for g in plan.optimizer.param_groups for p in g["params"]
    }  # fmt: skip
    staged = {t.data_ptr() for t in (*built.staged.values(), *built.ema.values())}
    tensors = {name: tensor for name, tensor in _live(built) if name in moved}
    twice = [name for name, tensor in tensors.items() if id(tensor) in stepped]
    loose = [n for n, t in tensors.items() if n not in twice and t.data_ptr() not in staged]
    return [
        row(
            Check.CODEBOOKS, "writers", not twice, f"an optimizer steps {listed(twice)}" if twice else "one each",
            "what moves without a gradient belongs to no optimizer", "choose one: a moving average, or a gradient",
        ),
        row(
            Check.CODEBOOKS, "staged", not loose, f"{listed(loose)} not" if loose else f"all {len(tensors)} that move",
            "everything that moves without a gradient",
            "name it in Built.staged: else a NaN stays in it, and no checkpoint holds it",
        ),
    ]  # fmt: skip


def _agree(built: Built, world: World) -> list[CheckResult]:
    if world.size == 1:
        return []
    groups = whole_everywhere(built)
    sums = [int(checksum(tensors, world.device)) for tensors in groups.values()]
    everyone = world.gather(sums)
    odd = [rank for rank, theirs in enumerate(everyone) if theirs != everyone[0]]
    shown = f"ranks {odd} differ from rank 0" if odd else "the same everywhere"
    return [
        row(
            Check.CODEBOOKS, "ranks", not odd, shown, "the same on every rank",
            "sum statistics over all ranks, and draw k-means and revival from the same vectors everywhere",
        )
    ]  # fmt: skip


def _sums(built: Built, device: torch.device, layout: Layout) -> dict[str, int]:
    """Checksums by name."""
    live = [(name, layout.local(tensor)) for name, tensor in _live(built)]
    sums = [checksum([tensor], device) for _, tensor in live]
    values = torch.stack(sums).tolist() if sums else []
    return dict(zip((name for name, _ in live), values, strict=True))


def _live(built: Built) -> Iterator[tuple[str, Tensor | nn.Parameter]]:
    for model_name, model in built.models.items():
        inner = unwrap(model)
        for name, tensor in (*inner.named_parameters(), *inner.named_buffers()):
            if tensor.numel():
                yield f"{model_name}.{name}", tensor
