"""Small facts about tensors and sequences, in JSON values. Called by the recipes' sections."""

from collections.abc import Sequence
from typing import Any, Final

from torch import Tensor

ENDS: Final = 10  # values shown from either end


def ends(values: Sequence[Any], count: int = ENDS) -> dict[str, list[Any]]:
    """First and last values of a sequence; a short one is shown once."""
    shown = [round(v, 4) if isinstance(v, float) else v for v in values]
    if len(shown) <= 2 * count:
        return {"all": shown}
    return {"first": shown[:count], "last": shown[-count:]}


def statistics(tensor: Tensor) -> dict[str, float]:
    """Mean, spread and range of a tensor, and how much of it is not finite."""
    values = tensor.detach().float()
    finite = values.isfinite()
    kept = values[finite]
    if kept.numel() == 0:
        return {"finite_share": 0.0}
    return {
        "mean": round(float(kept.mean()), 4),
        "std": round(float(kept.std(correction=0)), 4),
        "min": round(float(kept.min()), 4),
        "max": round(float(kept.max()), 4),
        "finite_share": round(float(finite.float().mean()), 4),
    }


def shape(tensor: Tensor, axes: str) -> str:
    """Sizes by name: `shape(x, "batch samples")` → "batch 8 × samples 40960"."""
    return " × ".join(
        f"{name} {size}" for name, size in zip(axes.split(), tensor.shape, strict=True)
    )
