"""Measurements on four fixed samples, outside the step: where attention goes, and whether the reference matters.

Called by `strategic.callbacks`; `recipes.voice_cloning` measures by the same words. A probe leaves no trace:
evaluation mode, no gradient, its own random numbers, and the attention implementation put back as it was.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import torch
from torch import Tensor, nn

from speech_trainer.strategic.hearing import device_of, field, is_sharded
from speech_trainer.strategic.words import IGNORED, Words

_EAGER: Final = "eager"
# Targets are no input of a probe.
_NOT_ASKED: Final = ("labels", "audio_labels", "num_items_in_batch")
NOISE: Final = 1e-4  # of probability: what reordered sums on a GPU may move without any cause
_REFERENCES: Final = ("ref", "speaker", "prompt", "input_features", "input_values")


@contextlib.contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Evaluation mode and no gradient, for a while; random numbers are drawn as if nothing had happened.

    Raises ValueError for sharded weights: a forward pass of one rank alone would hang the job.
    """
    if is_sharded(model):
        raise ValueError("the weights are sharded over ranks; probe a checkpoint instead")
    training = {module: module.training for module in model.modules()}
    device = device_of(model)
    model.eval()
    try:
        with torch.no_grad(), torch.random.fork_rng([device] if device.type == "cuda" else []):
            yield
    finally:
        for module, was in training.items():
            module.training = was


@contextlib.contextmanager
def eager(model: Any) -> Iterator[None]:
    """Attention that returns its weights. Old versions fall back to it by themselves when asked for weights."""
    config = getattr(model, "config", None)
    change = getattr(model, "set_attn_implementation", None)
    before = getattr(config, "_attn_implementation", None)
    if change is None or before in (None, _EAGER):
        yield
        return
    change(_EAGER)
    try:
        yield
    finally:
        change(before)


def ask(model: nn.Module, inputs: Mapping[str, Any], **more: Any) -> Any:
    """The model's answer to a batch without its targets."""
    device = device_of(model)
    given = {
        name: value.to(device) if isinstance(value, Tensor) else value
        for name, value in inputs.items()
        if name not in _NOT_ASKED and value is not None
    }
    return model(**{**given, **more})


def attention(model: nn.Module, inputs: Mapping[str, Any], words: Words) -> list[dict[str, float]]:
    """A row a layer: share of attention from text to audio, from audio to text, entropy in nats.

    `inputs["input_ids"]`: (samples, positions). Raises ValueError when there is no audio among the ids, or when the
    model returns no attention (sdpa and flash return none).
    """
    ids = inputs.get("input_ids")
    if not isinstance(ids, Tensor):
        raise ValueError(
            "the model takes no input_ids; attention between text and audio is not defined"
        )
    audio = words.audio_positions(ids)
    seen = _seen(inputs, ids)
    if not (audio & seen).any():
        raise ValueError("no audio ids in the fixed samples; name them with audio_ids=…")
    with undisturbed(model), eager(model):
        answer = ask(model, inputs, output_attentions=True)
    layers = _attentions(answer)
    if not layers:
        raise ValueError(
            "the model returned no attention; build it with attn_implementation='eager'"
        )
    return [_layer(weights.float().cpu(), audio, seen) for weights in layers]


def reference(model: nn.Module, inputs: Mapping[str, Any], words: Words) -> dict[str, Any]:
    """How much the answer changes when the samples' references are swapped among them, and when they are muted.

    Raises ValueError when no reference can be told from the target, or when there are fewer than two samples.
    """
    swapped, muted, where = _changed_inputs(inputs, words)
    with undisturbed(model):
        plain = _logits(ask(model, inputs))
        answers = {"swapped": ask(model, swapped), "muted": ask(model, muted)}
    places = _targets(inputs, plain)
    facts: dict[str, Any] = {"reference": where, "samples": plain.size(0)}
    for name, answer in answers.items():
        facts[name] = difference(plain, _logits(answer), places)
    alike = all(facts[name]["largest change"] < NOISE for name in answers)
    facts["verdict"] = (
        "the reference is ignored: the answer is the same without it"
        if alike
        else "the answer depends on the reference"
    )
    return facts | _by_group(inputs, plain, _logits(answers["swapped"]), places)


def _seen(inputs: Mapping[str, Any], ids: Tensor) -> Tensor:
    mask = inputs.get("attention_mask")
    fits = isinstance(mask, Tensor) and mask.shape == ids.shape
    return (
        mask.bool() if fits and isinstance(mask, Tensor) else torch.ones_like(ids, dtype=torch.bool)
    )


def _attentions(answer: Any) -> Sequence[Tensor]:
    found = answer.get("attentions") if isinstance(answer, Mapping) else None
    found = getattr(answer, "attentions", None) if found is None else found
    return [weights for weights in found or () if isinstance(weights, Tensor)]


def _layer(weights: Tensor, audio: Tensor, seen: Tensor) -> dict[str, float]:
    """`weights`: (samples, heads, from, to), rows that sum to 1."""
    row = weights.mean(dim=1)
    text = ~audio & seen
    heard = audio & seen
    entropy = -(weights * weights.clamp_min(1e-12).log()).sum(dim=-1).mean(dim=1)
    return {
        "text→audio": _share(row, text, heard),
        "audio→text": _share(row, heard, text),
        "entropy": round(float(entropy[seen].mean()), 4),
    }


def _share(row: Tensor, sources: Tensor, targets: Tensor) -> float:
    mass = (row * targets.unsqueeze(1)).sum(dim=-1)[sources]
    return round(float(mass.mean()), 4) if mass.numel() else 0.0


def _changed_inputs(
    inputs: Mapping[str, Any], words: Words
) -> tuple[dict[str, Any], dict[str, Any], str]:
    """The batch with references swapped, with references muted, and what was taken for the reference."""
    floats = [
        name
        for name, value in inputs.items()
        if isinstance(value, Tensor) and value.is_floating_point() and value.ndim > 1
        and any(part in name for part in _REFERENCES)
    ]  # fmt: skip
    if floats:
        swapped = {name: inputs[name].roll(1, dims=0) for name in floats}
        muted = {name: torch.zeros_like(inputs[name]) for name in floats}
        _at_least_two(inputs[floats[0]])
        return {**inputs, **swapped}, {**inputs, **muted}, ", ".join(floats)
    for name, labels in (("audio_input_ids", "audio_labels"), ("input_ids", "labels")):
        found = _reference_places(inputs, name, labels, words)
        if found is not None and found.any():
            _at_least_two(found)
            codes = inputs[name]
            told = f"{int(found.sum())} audio positions of {name} that are no target"
            return (
                {**inputs, name: _swap(codes, found)},
                {**inputs, name: _mute(codes, found)},
                told,
            )
    raise ValueError(
        "no reference found: neither a field of reference features nor audio ids outside the target"
    )


def _at_least_two(values: Tensor) -> None:
    if values.size(0) < 2:
        raise ValueError("one sample alone has nobody to swap references with")


def _reference_places(
    inputs: Mapping[str, Any], name: str, labels: str, words: Words
) -> Tensor | None:
    """(samples, positions): audio that the loss does not ask for."""
    codes, targets = inputs.get(name), inputs.get(labels)
    if not isinstance(codes, Tensor) or not isinstance(targets, Tensor):
        return None
    if codes.shape != targets.shape:
        return None
    if codes.ndim == 3:  # (samples, frames, books): a column without any target
        return (targets == IGNORED).all(dim=-1)
    return words.audio_positions(codes) & (targets == IGNORED)


def _swap(codes: Tensor, places: Tensor) -> Tensor:
    """Each sample gets the reference of the sample before it, repeated or cut to its own length."""
    swapped = codes.clone()
    rows = [codes[i][places[i]] for i in range(codes.size(0))]
    full = [i for i, row in enumerate(rows) if row.size(0)]
    for before, i in zip([full[-1], *full[:-1]], full, strict=True):
        wanted = rows[i].size(0)
        index = torch.arange(wanted) % rows[before].size(0)
        swapped[i, places[i]] = rows[before][index]
    return swapped


def _mute(codes: Tensor, places: Tensor) -> Tensor:
    """One and the same code all through the reference: length stays, content goes."""
    muted = codes.clone()
    for i in range(codes.size(0)):
        if places[i].any():
            muted[i, places[i]] = codes[i][places[i]][0]
    return muted


def _logits(answer: Any) -> Tensor:
    for name in ("audio_logits", "logits"):
        found = field(answer, name)
        if found is not None:
            return found.float().cpu()
    raise ValueError("the model's answer holds no logits")


def _targets(inputs: Mapping[str, Any], logits: Tensor) -> Tensor:
    """(samples, positions): where the loss asks; everywhere when labels do not fit the logits."""
    for name in ("audio_labels", "labels"):
        labels = inputs.get(name)
        if isinstance(labels, Tensor) and labels.shape == logits.shape[:-1]:
            asked = (labels != IGNORED).cpu()
            return asked.roll(-1, dims=1) if asked.ndim > 1 else asked  # what predicts a position
    return torch.ones(logits.shape[:-1], dtype=torch.bool)


def difference(plain: Tensor, other: Tensor, places: Tensor) -> dict[str, float]:
    """Of predictions at `places`: share that change, mean and largest change in probability.

    `places`: mask of logits' shape without its last dimension. Raises ValueError when it is empty.
    """
    if plain.shape != other.shape:
        return {"predictions that change": 1.0, "mean change": 1.0, "largest change": 1.0}
    moved = (plain.argmax(-1) != other.argmax(-1))[places].float()
    change = plain.softmax(-1).sub_(other.softmax(-1)).abs_().sum(-1)[places] / 2
    if not change.numel():
        raise ValueError("the fixed samples hold no target")
    return {
        "predictions that change": round(float(moved.mean()), 4),
        "mean change": round(float(change.mean()), 6),
        "largest change": round(float(change.max()), 6),
    }


def _by_group(
    inputs: Mapping[str, Any], plain: Tensor, swapped: Tensor, places: Tensor
) -> dict[str, Any]:
    """The change by speaker and by language, where the batch tells them."""
    told: dict[str, Any] = {}
    for name, value in inputs.items():
        groups = isinstance(value, Tensor) and value.shape == (plain.size(0),)
        if not groups or not name.startswith(("speaker", "language")):
            continue
        told[f"by {name}"] = {
            str(int(group)): difference(
                plain[value == group], swapped[value == group], places[value == group]
            )
            for group in value.unique()
        }
    return told
