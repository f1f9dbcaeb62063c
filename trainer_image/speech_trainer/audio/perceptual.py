"""PESQ and STOI, where the packages `pesq` and `pystoi` are installed; nothing needs them. Called by evaluations.

Both are asked one recording at a time. A silent or very short one has neither: `pesq` raises, `pystoi` answers 0, or
1e-5 with a warning. It is left out and counted: no made-up number enters a mean, no value moves to its neighbour.
"""

from __future__ import annotations

import importlib
import logging
import math
import warnings
from collections.abc import Callable, Sequence
from statistics import fmean
from types import ModuleType
from typing import Final

from torch import Tensor

from speech_contract.scores import Better, ScoreSpec
from speech_trainer.audio.resampling import resample

_WIDE_BAND: Final = 16000  # Hz; PESQ knows this rate, and half of it for telephones
SPECS: Final = {"pesq": ScoreSpec(Better.HIGHER, "MOS-LQO"), "stoi": ScoreSpec(Better.HIGHER)}
Pair = tuple[Tensor, Tensor]  # candidate and reference [T] of one length


def scores(pairs: Sequence[Pair], rate: int) -> dict[str, float]:
    """Means over the recordings that have a score; what is not installed, or has none, is absent."""
    found = {}
    for name, (package, score) in _SCORES.items():
        module = _installed(package)
        if module is None:
            continue
        audible = [pair for pair in pairs if float(pair[1].abs().max()) > 0.0]
        each = [score(module, candidate, reference, rate) for candidate, reference in audible]
        known = [value for value in each if value is not None and math.isfinite(value)]
        if len(known) < len(pairs):
            logging.getLogger(__name__).warning(
                "%s: %d of %d held-out recordings are silent or too short and not scored",
                name,
                len(pairs) - len(known),
                len(pairs),
            )
        if known:
            found[name] = fmean(known)
    return found


def _installed(package: str) -> ModuleType | None:
    try:
        return importlib.import_module(package)
    except ImportError:
        return None


def _pesq(module: ModuleType, candidate: Tensor, reference: Tensor, rate: int) -> float | None:
    """Wide band (ITU-T P.862.2), from 1.04 to 4.64."""
    recorded, decoded = (resample(t, rate, _WIDE_BAND).numpy() for t in (reference, candidate))
    try:
        return float(module.pesq(_WIDE_BAND, recorded, decoded, "wb"))
    except module.PesqError:
        return None


def _stoi(module: ModuleType, candidate: Tensor, reference: Tensor, rate: int) -> float | None:
    """Short-time objective intelligibility (Taal et al. 2011), up to 1; the package resamples."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        try:
            return float(module.stoi(reference.numpy(), candidate.numpy(), rate))
        except RuntimeWarning:
            return None


_SCORES: Final[dict[str, tuple[str, Callable[[ModuleType, Tensor, Tensor, int], float | None]]]] = {
    "pesq": ("pesq", _pesq),
    "stoi": ("pystoi", _stoi),
}
