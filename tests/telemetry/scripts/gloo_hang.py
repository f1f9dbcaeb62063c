"""Two real ranks: rank 1 goes to sleep in step 4 while its peer waits for it inside all_reduce."""

import time

import torch
import torch.distributed as dist

from speech_telemetry.reporter import Reporter

report = Reporter()
report.phase("Rendezvous")
dist.init_process_group("gloo")
rank = dist.get_rank()


def fetch_batch(step: int) -> torch.Tensor:
    if rank == 1 and step == 4:
        time.sleep(3600)
    return torch.ones(4)


for step in range(1, 100):
    batch = fetch_batch(step)
    dist.all_reduce(batch)
    report.step(step, loss=2.0 / step, grad_norm=1.0, learning_rate=1e-3)
