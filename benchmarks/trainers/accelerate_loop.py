"""A loop on accelerate with a bar of tqdm, as its examples have it."""

import planted
import torch
from accelerate import Accelerator
from tqdm.auto import tqdm

accelerator = Accelerator(cpu=True)
net = planted.net()
optimizer = torch.optim.AdamW(net.parameters(), lr=5e-3)
net, optimizer, loader = accelerator.prepare(net, optimizer, planted.loader(planted.STEPS))
progress_bar = tqdm(range(planted.STEPS), disable=not accelerator.is_local_main_process)
for x, y in loader:
    loss = planted.mean_square(net(x), y)
    accelerator.backward(loss)
    accelerator.clip_grad_norm_(net.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    progress_bar.update(1)
    progress_bar.set_postfix(loss=loss.detach().item(), lr=5e-3)
progress_bar.close()
