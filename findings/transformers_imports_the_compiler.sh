#!/bin/sh
# transformers 5.23.0 with torch 2.11.0: the class of one model, VITS, which compiles nothing and shards nothing, brings
# torch's compiler, its sharded tensors and sympy into the process. The way there is an activation function:
# transformers.activations → integrations.hub_kernels → integrations.flash_attention → generation.continuous_batching →
# torch._dynamo, and → conversion_mapping → distributed.sharding_utils → torch.distributed.tensor → sympy. Each process of
# a training job pays for it at its start, more than for torch itself (1.7 times its CPU time when this was written):
#   torch.nn alone:       torch._dynamo False, torch.distributed.tensor False, sympy False
#   one activation:       torch._dynamo True, torch.distributed.tensor True, sympy True
packages="transformers==5.23.0 torch==2.11.0"
. "$(dirname "$0")/environment.sh"
cat > probe.py <<'PY'
import sys
import time

HEAVY = ("torch._dynamo", "torch.distributed.tensor", "sympy")


def shown(what):
    loaded = [name in sys.modules for name in HEAVY]
    print(f"{what}: " + ", ".join(f"{n} {there}" for n, there in zip(HEAVY, loaded)))
    return loaded


began = time.process_time()
import torch.nn

torch_took = time.process_time() - began
before = shown("torch.nn alone")
began = time.process_time()
from transformers.activations import ACT2FN

took = time.process_time() - began
after = shown("one activation")
print(f"CPU time of the import: {took / torch_took:.1f} of torch's; the activation: {ACT2FN['relu']}")
sys.exit(0 if not any(before) and all(after) else 1)
PY
"$python" probe.py
