"""Where the model looks while it speaks, and whether its reference matters: two sections of the strategic log.

Measured on the same few held-out recordings every time, outside the step, without a trace in the model. Called by the
recipe. Shapes: H heads, L places, P places that something is predicted from, Q books, V values, G groups of places.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from speech_trainer.data.delay import IGNORED
from speech_trainer.data.sequences import Sequence as Laid
from speech_trainer.models.backbone import Backbone
from speech_trainer.models.cloner import Cloner
from speech_trainer.recipes.voice_cloning import references
from speech_trainer.recipes.voice_cloning.batch import Collate
from speech_trainer.recipes.voice_cloning.evaluation import Tally, low_end, tally_of
from speech_trainer.recipes.voice_cloning.material import Material, Sample
from speech_trainer.strategic.hearing import FIXED_SAMPLES
from speech_trainer.strategic.probes import NOISE, difference, undisturbed

HEARD: Final = "reference audio"
GROUPS: Final = ("first place", "reference text", HEARD, "text", "own past")
ONE_PLACE: Final = 0.9  # of a head's attention, on average
UNSEEN: Final = 0.01  # of what attention that is spread evenly would give the reference
NO_REFERENCE: Final = "no held-out line has a reference: nothing to look at"


class Probes:
    """Holds the recordings: of those that are evaluated and have a reference, of as many voices as there are."""

    def __init__(self, material: Material, samples: Sequence[Sample]) -> None:
        chosen = _spread(samples)[:FIXED_SAMPLES]
        self._material, self._collate = material, Collate(material)
        self._samples = [samples[number] for number in chosen]
        changed = {
            "swapped": references.swapped(material, samples),
            "muted": references.muted(material, samples),
            "shuffled": references.shuffled(material, samples),
        }
        self._variants: dict[str, list[Sample]] = {}
        for name, found in changed.items():
            others = [other for n in chosen if (other := found[n]) is not None]
            if len(others) == len(chosen):
                self._variants[name] = others

    # -- Shared attention --------------------------------------------------------------------------------------

    def attention(self, backbone: Backbone) -> Mapping[str, Any]:
        """Shares of attention of the rows that are predicted, by layer and head."""
        if not self._samples:
            return {"verdict": NO_REFERENCE}
        with undisturbed(backbone):
            looks = [self._looks(backbone, sample) for sample in self._samples]
        shares = torch.stack([look.shares for look in looks]).mean(dim=0)
        peaks = torch.stack([look.peaks for look in looks]).mean(dim=0)
        evenly = torch.stack([look.evenly for look in looks]).mean(dim=0)
        layers = {
            f"layer {n}": _layer(*both) for n, both in enumerate(zip(shares, peaks, strict=True))
        }
        return {
            "samples": len(looks),
            "evenly spread": _named(evenly),
            **layers,
            "verdict": _seen(shares[..., GROUPS.index(HEARD)], float(evenly[GROUPS.index(HEARD)])),
        }

    def _looks(self, backbone: Backbone, sample: Sample) -> _Looks:
        """One recording alone: weights are large, and nobody looks at padding."""
        batch = self._collate([sample]).to(backbone.table.weight.device)
        weights = backbone.attention(batch.columns)
        groups = _groups(sample.sequence)
        sources = (sample.sequence.labels != IGNORED).any(dim=1)
        rows = [layer[0][:, sources].float().cpu() for layer in weights]
        known = torch.arange(1, len(sources) + 1)[sources]
        seen = groups.cumsum(dim=1)[:, sources]  # places of each group that a row has behind it
        return _Looks(
            shares=torch.stack([(row @ groups.float().T).mean(dim=1) for row in rows]),
            peaks=torch.stack([row.mean(dim=1).amax(dim=1) for row in rows]),
            evenly=(seen / known).mean(dim=1),
        )

    # -- Zero-shot verification ----------------------------------------------------------------------------------

    def reference(self, cloner: Cloner, device: torch.device) -> Mapping[str, Any]:
        """What another reference, none, or one out of order changes."""
        if not self._samples:
            return {"verdict": NO_REFERENCE}
        with undisturbed(cloner):
            plain = self._ask(cloner, self._samples, device)
            changes = {
                name: _changed(plain, self._ask(cloner, others, device))
                for name, others in self._variants.items()
            }
        facts: dict[str, Any] = {"samples": len(self._samples), "nats a code": _mean(plain.nats)}
        facts |= {name: change.facts for name, change in changes.items()}
        facts["verdict"] = _verdict(changes)
        if "swapped" in changes:
            facts |= self._by_group(changes["swapped"])
        return facts

    def _ask(self, cloner: Cloner, samples: Sequence[Sample], device: torch.device) -> _Answer:
        batch = self._collate(samples).to(device)
        logits = cloner(batch.columns, predict=True)
        assert isinstance(logits, Tensor)
        owner = batch.columns.label_at // batch.columns.tokens.size(1)
        tally = tally_of(logits, batch.columns.labels, owner, self._material.grid)
        return _Answer(logits.cpu(), tally)

    def _by_group(self, swapped: _Change) -> dict[str, Any]:
        """What another voice costs, by speaker and by language, where lines name them."""
        told: dict[str, Any] = {}
        for field in ("speaker", "language"):
            groups: dict[str, list[float]] = {}
            for sample, cost in zip(self._samples, swapped.costs, strict=True):
                groups.setdefault(getattr(sample.utterance, field), []).append(cost)
            if all(groups):
                told[f"swapped, by {field}"] = {
                    name: _mean(found) for name, found in groups.items()
                }
        return told


@dataclass(frozen=True)
class _Looks:
    """`shares` [layers, H, G], `peaks` [layers, H]: the most that one place gets, `evenly` [G]."""

    shares: Tensor
    peaks: Tensor
    evenly: Tensor


@dataclass(frozen=True)
class _Answer:
    """Logits [P, Q, V] on the host, and what they come to."""

    logits: Tensor
    tally: Tally

    @property
    def nats(self) -> list[float]:
        """A code, of each recording."""
        return self.tally.by_recording()


@dataclass(frozen=True)
class _Change:
    """`moved`: as `strategic.probes.difference` tells it. `costs`: nats a code more, of each recording."""

    moved: Mapping[str, float]
    costs: list[float]

    @property
    def facts(self) -> Mapping[str, float]:
        """For the log."""
        return {"nats a code more": _mean(self.costs), **self.moved}

    @property
    def none(self) -> bool:
        """Whether nothing moved."""
        return self.moved["largest change"] < NOISE


def _spread(samples: Sequence[Sample]) -> list[int]:
    """Numbers of those with a reference: a first one of every speaker, languages in turns, then second ones."""
    speakers, languages = Counter[tuple[str, str]](), Counter[str]()
    ranked = []
    for number, sample in enumerate(samples):
        if sample.reference is not None:
            line = sample.utterance
            voice = (line.language, line.speaker)
            ranked.append((speakers[voice], languages[line.language], number))
            speakers[voice] += 1
            languages[line.language] += 1
    return [number for _, _, number in sorted(ranked)]


def _changed(plain: _Answer, other: _Answer) -> _Change:
    costs = [b - a for a, b in zip(plain.nats, other.nats, strict=True)]
    return _Change(difference(plain.logits, other.logits, plain.tally.counted), costs)


def _groups(sequence: Laid) -> Tensor:
    """[G, L] bool, in the order of GROUPS. The system prompt of v2 goes with the reference's text."""
    place = torch.arange(sequence.length)
    heard, own = torch.zeros(2, sequence.length, dtype=torch.bool)
    heard[sequence.row_at[sequence.reference]] = True
    own[sequence.row_at[~sequence.reference]] = True
    first = place == 0
    words = ~(heard | own | first)
    before = place < int(heard.int().argmax())
    return torch.stack([first, words & before, heard, words & ~before, own])


def _named(shares: Tensor) -> dict[str, float]:
    return {name: round(float(share), 4) for name, share in zip(GROUPS, shares, strict=True)}


def _layer(shares: Tensor, peaks: Tensor) -> dict[str, Any]:
    """`shares` [H, G], `peaks` [H]."""
    stuck = (peaks >= ONE_PLACE).nonzero().flatten().tolist()
    by_head = shares[:, GROUPS.index(HEARD)].tolist()
    return {
        **_named(shares.mean(dim=0)),
        f"{HEARD}, by head": [round(share, 4) for share in by_head],
        "heads on one place": stuck or "none",
    }


def _seen(heard: Tensor, evenly: float) -> str:
    """`heard` [layers, H]: the reference's share."""
    most = float(heard.max())
    if most < UNSEEN * evenly:
        return "no head looks at the reference's audio"
    layer, head = divmod(int(heard.argmax()), heard.size(1))
    return f"layer {layer}, head {head} looks at the reference's audio most: {most:.0%}"


def _verdict(changes: Mapping[str, _Change]) -> str:
    if any(math.isnan(cost) for change in changes.values() for cost in change.costs):
        return "nothing can be told: predictions are not finite"
    if all(change.none for change in changes.values()):
        return "the reference does not reach the output: it is the same without it"
    if changes["shuffled"].none:
        return "the reference's audio does not reach the output, its text does"
    if "swapped" not in changes:
        return "the reference reaches the output; there is no second voice to swap it with"
    costs = changes["swapped"].costs
    if not low_end(costs) > 0.0:
        # A mean above 0 alone is what random weights have half of the time.
        return "the reference reaches the output, and the right one does not help measurably yet"
    return f"the output follows the reference: another voice's costs {_mean(costs):.3g} nats a code"


def _mean(values: Sequence[float]) -> float:
    return round(sum(values) / len(values), 4)
