#!/bin/sh
# SpeechBrain 1.1.2, Brain.fit: a loss that is not finite is left out of the running average, and the average is all that
# the bar and the end of the stage are told. Here 8 of 10 losses are NaN, within `nonfinite_patience`: the loss shown is
# that of the first two steps, "nan" is printed nowhere, and the only trace is a warning that does not name the loss:
#   Patience not yet exhausted.
packages="speechbrain==1.1.2 torch==2.11.0 torchaudio==2.11.0"
. "$(dirname "$0")/environment.sh"
cat > probe.py <<'PY'
import speechbrain
import torch


class Probe(speechbrain.Brain):
    def compute_forward(self, batch, stage):
        return self.modules.net(batch)

    def compute_objectives(self, predictions, batch, stage):
        loss = predictions.square().mean()
        return loss * float("nan") if self.step > 2 else loss

    def on_stage_end(self, stage, stage_loss, epoch=None):
        print("stage loss", stage_loss)


options = {"device": "cpu", "nonfinite_patience": 20}
brain = Probe({"net": torch.nn.Linear(4, 1)}, lambda p: torch.optim.SGD(p, lr=0.01), run_opts=options)
brain.fit(range(1), [torch.ones(2, 4) for _ in range(10)])
PY
"$python" probe.py >said.txt 2>&1
grep "stage loss" said.txt
warned=$(grep -c "Patience not yet exhausted" said.txt)
shown=$(grep -ci "nan" said.txt || true)
echo "warnings: $warned; lines with nan: $shown"
[ "$warned" -gt 0 ] && [ "$shown" -eq 0 ] && grep -Eq "stage loss [0-9]" said.txt
