"""flashy's BaseSolver under dora: the log lines of encodec's and audiocraft's solvers."""

import argparse
import tempfile

import flashy
import planted
import torch
from dora import argparse_main


class Solver(flashy.BaseSolver):
    def __init__(self) -> None:
        super().__init__()
        self.net = planted.net()
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=5e-3)
        self.loader = planted.loader(planted.STEPS // 2)

    def get_formatter(self, stage_name):
        return flashy.Formatter({"loss": ".4f"})

    def train(self):
        average = flashy.averager()
        bar = self.log_progress("train", self.loader, updates=len(self.loader))
        for x, y in bar:
            loss = planted.mean_square(self.net(x), y)
            loss.backward()
            self.optimizer.step()
            self.optimizer.zero_grad()
            metrics = average({"loss": loss.item()})
            bar.update(**metrics)
        return metrics

    def run(self) -> None:
        for _ in range(2):
            self.run_stage("train", self.train)
            self.commit(save_checkpoint=False)


@argparse_main(parser=argparse.ArgumentParser(), dir=tempfile.mkdtemp())
def main() -> None:
    flashy.setup_logging()
    Solver().run()


main()
