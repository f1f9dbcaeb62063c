#!/bin/sh
# pyloudnorm 0.2.0: a clip below the absolute gate of -70 LUFS has a loudness of -inf, and normalising it to a target takes
# the gain from that. Silence becomes NaN at every sample, a very quiet recording ±inf at every sample; nothing raises, there
# are warnings alone, and that of the second speaks of clipping. One such clip in a set makes the loss of its batch NaN.
# Checked are the numbers of samples that are not finite:
#   silence: loudness -inf, 24000 of 24000 samples NaN
#   quiet noise, -100 dB: loudness -inf, 24000 of 24000 samples infinite
#   noise, -40 dB: all samples finite
packages="pyloudnorm==0.2.0 numpy==2.3.5"
. "$(dirname "$0")/environment.sh"
cat > probe.py <<'PY'
import warnings

import numpy as np
import pyloudnorm

RATE = 24000


def normalised(name, samples):
    loudness = pyloudnorm.Meter(RATE).integrated_loudness(samples)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        found = pyloudnorm.normalize.loudness(samples, loudness, -16.0)
    counts = int(np.isnan(found).sum()), int(np.isinf(found).sum())
    print(f"{name}: loudness {loudness:.1f}, NaN {counts[0]}, infinite {counts[1]} of {found.size}; warned:",
          [str(one.message) for one in said])
    return counts


noise = np.random.default_rng(0).standard_normal(RATE)
assert normalised("silence", np.zeros(RATE)) == (RATE, 0)
assert normalised("quiet noise, -100 dB", 1e-5 * noise) == (0, RATE)
assert normalised("noise, -40 dB", 1e-2 * noise) == (0, 0)
PY
"$python" probe.py
