"""Runs Triton kernels on the CPU, in Triton's interpreter: `TRITON_INTERPRET=1 python kernels_worker.py IN OUT`.

The variable counts when triton is imported, so this is a process of its own. IN holds a list of (module, arguments of
its `launch`), OUT the answers. Called by test_kernels.py.
"""

import importlib
import sys
from typing import Any

import torch
from triton.runtime import interpreter

as_shipped = interpreter._patch_lang_tensor


def patched(tensor: Any, scope: Any) -> None:
    """NumPy 2.4 takes no array of one element for a number, as Triton 3.6.0 has it (triton-lang/triton#9171)."""
    as_shipped(tensor, scope)
    scope.set_attr(tensor, "__index__", lambda self: int(self.handle.data.item()))


interpreter._patch_lang_tensor = patched
cases = torch.load(sys.argv[1], weights_only=True)
torch.save(
    [importlib.import_module(place).launch(*arguments) for place, arguments in cases], sys.argv[2]
)
