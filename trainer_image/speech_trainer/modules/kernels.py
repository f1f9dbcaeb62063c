"""Guards of our Triton kernels: the answer of a kernel, or word that the torch path has to give it.

Called by `modules.alignment` and `modules.quantizer` with tensors on CUDA. Triton comes with torch on Linux, but it
compiles at the first call, with the machine's C compiler for the launcher: an image without one can't run a kernel. So
a kernel that fails is given up for the process, and a warning, which the engine's log keeps, says so once.
"""

from __future__ import annotations

import importlib
import logging
from typing import Any

import torch
from torch import Tensor

_log = logging.getLogger(__name__)


class Kernel:
    """One kernel, by the module whose `launch` starts it; triton is imported at the first call alone."""

    def __init__(self, place: str) -> None:
        self._place = place
        self.given_up = False

    def takes(self, *tensors: Tensor) -> bool:
        """Whether to ask it: float32 on CUDA, nothing empty, and it has not failed before."""
        return not self.given_up and all(
            tensor.is_cuda and tensor.dtype is torch.float32 and tensor.numel() > 0
            for tensor in tensors
        )

    def __call__(self, first: Tensor, *others: Any) -> Tensor | None:
        """Its answer; None where the torch path has to answer."""
        try:
            with torch.cuda.device_of(first):
                answer: Tensor = importlib.import_module(self._place).launch(first, *others)
        except Exception as error:  # of the import, the compiler, the driver: training goes on
            self.given_up = True
            _log.warning(
                "%s: no Triton kernel on this machine (%s: %s); the torch path answers, slower. Triton needs a C "
                "compiler beside the trainer and a folder for its cache in TRITON_CACHE_DIR or HOME",
                self._place, type(error).__name__, error,
            )  # fmt: skip
            return None
        return answer
