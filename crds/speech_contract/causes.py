"""Errors of scripts that everybody meets, by what their exception says, and what to do about each.

One table for all outlets: the operator takes the remedy of a failed attempt from it.
"""

from __future__ import annotations

import re
from typing import Final

from speech_contract.values import Value, frozen


@frozen
class Known(Value):
    """A cause that its text names."""

    name: str
    text: re.Pattern[str]
    remedy: str


def _known(name: str, text: str, remedy: str) -> Known:
    return Known(name, re.compile(text, re.IGNORECASE), remedy)


KNOWN: Final = (
    _known(
        "CUDA out of memory",
        r"CUDA out of memory|OutOfMemoryError|"
        r"(?:CUDA|HIP|CUBLAS)\S* ?(?:error|status).{0,40}(?:out of memory|ALLOC_FAILED)",
        "lower the batch size or the length of clips, accumulate gradients, or take a GPU with more memory; "
        "look with nvidia-smi whether somebody else holds it",
    ),
    _known(
        "shared memory too small",
        r"bus error|insufficient shared memory|unable to (?:open|mmap) shared memory|/dev/shm",
        "give the pod more shared memory (an emptyDir of medium Memory at /dev/shm), or lower num_workers",
    ),
    _known(
        "no space left",
        r"No space left on device|Errno 28|Disk quota exceeded|Errno 122",
        "make room on the volume of checkpoint.uri or of the caches, or keep fewer checkpoints",
    ),
    _known(
        "module missing",
        r"ModuleNotFoundError|No module named",
        "install the module in the image, or put its folder on PYTHONPATH in trainer.env",
    ),
    _known(
        "NCCL",
        r"\bNCCL\b|ncclSystemError|ncclUnhandledCudaError|ncclRemoteError|ncclInternalError",
        "run once with NCCL_DEBUG=INFO in trainer.env; look at the rank that failed first, at NCCL_SOCKET_IFNAME "
        "and at the network between the nodes",
    ),
    _known(
        "GPU fault",
        r"device-side assert|CUDA error: (?:an illegal memory access|uncorrectable ECC|unspecified launch failure)|Xid",
        "run once with CUDA_LAUNCH_BLOCKING=1 in trainer.env; an index out of range is the usual cause, else the GPU",
    ),
    _known(
        "input/output error",
        r"Input/output error|Errno 5\b|Stale file handle|Errno 116",
        "look at the volume that holds the named file, and at its node",
    ),
)  # fmt: skip


def known(message: str) -> Known | None:
    """The first row whose text the error bears."""
    return next((row for row in KNOWN if row.text.search(message)), None)
