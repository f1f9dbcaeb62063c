"""Random generators as JSON values: torch (CPU and the current CUDA device), numpy, python.

Saved per rank with every checkpoint, and put back around whatever may not disturb training (evaluation,
strategic logs). Used by `engine.state` and `engine.cadence`.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch


def seed_all(seed: int) -> None:
    """Seed every generator of this process."""
    torch.manual_seed(seed)
    np.random.seed(seed % (1 << 32))
    random.seed(seed)


def random_state(device: torch.device) -> dict[str, Any]:
    """All generators as JSON values."""
    numpy_state: Any = np.random.get_state(legacy=True)
    return {
        "torch": bytes(torch.get_rng_state().tolist()).hex(),
        "cuda": _cuda_state(device),
        "numpy": [numpy_state[0], numpy_state[1].tolist(), *numpy_state[2:]],
        "python": random.getstate(),
    }


def _cuda_state(device: torch.device) -> str | None:
    if device.type != "cuda":
        return None
    return bytes(torch.cuda.get_rng_state(device).tolist()).hex()


def set_random_state(state: Mapping[str, Any], device: torch.device) -> None:
    """Put back what `random_state` returned, also after a trip through JSON."""
    torch.set_rng_state(_tensor(state["torch"]))
    if device.type == "cuda" and state["cuda"]:
        torch.cuda.set_rng_state(_tensor(state["cuda"]), device)
    name, keys, position, has_gauss, gauss = state["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), position, has_gauss, gauss))
    version, internal, gauss_next = state["python"]
    random.setstate((version, tuple(internal), gauss_next))


def _tensor(text: str) -> torch.Tensor:
    return torch.tensor(list(bytes.fromhex(text)), dtype=torch.uint8)


@contextlib.contextmanager
def undisturbed(device: torch.device) -> Iterator[None]:
    """Whatever runs inside leaves the generators as they were."""
    before = random_state(device)
    try:
        yield
    finally:
        set_random_state(before, device)
