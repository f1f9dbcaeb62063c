"""Prints thirty steps; the first attempt ends at the tenth, the second goes on from there."""

import os
import sys

again = int(os.environ["SPEECHTRAIN_ATTEMPT"]) > 1
for step in range(11 if again else 1, 31):
    sys.stdout.write(f"step {step}/30 loss={3 / step:.4f}\n")
    sys.stdout.flush()
    if step == 10 and not again:
        raise RuntimeError("a worker lost its way")
