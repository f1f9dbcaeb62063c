"""A loop that saves by itself, and whose weight turns NaN for good at some positions of its data.

One position a step, a save every five steps. `--nan FIRST:LAST` poisons these positions; `--mute` leaves out what
data a step is trained on; `--silent` prints, and calls nothing of ours; `--kill` ends its supervisor in the first
attempt, once that one has decided what follows.
"""

import argparse
import json
import math
import os
import signal
import time
from pathlib import Path

from speech_telemetry.reporter import Reporter

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--steps", type=int, default=30)
parser.add_argument("--nan", default="0:0")
parser.add_argument("--mute", action="store_true")
parser.add_argument("--silent", action="store_true")
parser.add_argument("--kill", action="store_true")
chosen = parser.parse_args()
first, last = map(int, chosen.nan.split(":"))
folder = Path(os.environ["SPEECHTRAIN_RUN_DIR"], "mine")
folder.mkdir(parents=True, exist_ok=True)


def kill() -> None:
    while not list(Path(os.environ["SPEECHTRAIN_RUN_DIR"], "skips").glob("*.json")):
        time.sleep(0.01)
    os.kill(os.getppid(), signal.SIGKILL)


if chosen.kill:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # asked to end meanwhile, it does not
report = Reporter({} if chosen.silent else None)
state = {"step": 0, "position": 0, "weight": 1.0}
start = report.resume_from()
if start:
    state = json.loads(Path(start.path).read_text())
    report.resumed(state["step"])
trained = []
while state["step"] < chosen.steps:
    position, state["position"] = state["position"], state["position"] + 1
    if report.skips(position):
        continue
    trained.append(position)
    state["step"] += 1
    state["weight"] *= math.nan if first <= position < last else 0.99
    window = None if chosen.mute else (position, position + 1)
    report.step(state["step"], loss=state["weight"], grad_norm=state["weight"], window=window)
    if chosen.silent:
        print(f"step {state['step']} loss={state['weight']}", flush=True)
    time.sleep(0.02)  # the kernel queues ten reports; what comes faster than they are read is lost
    if chosen.kill and state["step"] == 15 and os.environ["SPEECHTRAIN_ATTEMPT"] == "1":
        kill()
    if state["step"] % 5 == 0:
        place = folder / f"{state['step']}.json"
        place.write_text(json.dumps(state))
        report.checkpoint(state["step"], place)
print("trained on", json.dumps(trained))
