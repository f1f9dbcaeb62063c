"""The codec's network: transformers' DAC encoder and decoder round our quantiser, with weight norm while it trains.

Called by `recipes.codec`. Parameters are those of `DacModel`, under its names, so that a published checkpoint can be
trained on and what was trained is read by `DacModel.from_pretrained`. Shapes: B batch, T samples, F frames.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize
from transformers import DacConfig, DacModel
from transformers.models.dac.modeling_dac import DacResidualUnit, Snake1d

from speech_trainer.errors import ConfigError
from speech_trainer.modules.quantizer import (
    CodeLevel,
    Quantized,
    QuantizerSettings,
    ResidualQuantizer,
)
from speech_trainer.modules.snake import Snake

_CONVOLUTIONS: Final = (nn.Conv1d, nn.ConvTranspose1d)
_QUIET: Final = 0.1  # of the last layer: a new decoder is as loud as speech, so that there is no noise to unlearn
LIFTED: Final = 2  # dimensions more, in which a distance is an angle
LOOKUP: Final = "speechtrain_lookup"  # in an exported config.json: what the codes were trained by


class Codec(nn.Module):
    """Waveform [B, 1, T] → waveform [B, 1, T'], through codes. T' is what the decoder makes of T."""

    def __init__(self, config: DacConfig, settings: QuantizerSettings) -> None:
        super().__init__()
        model = DacModel(config)
        self.config = config
        self.encoder, self.decoder = model.encoder, model.decoder
        self.quantizer = ResidualQuantizer(config.hidden_size, settings)
        _use_own_snake(self.encoder)
        _use_own_snake(self.decoder)
        self.apply(_initialize)
        with torch.no_grad():
            self.decoder.conv2.weight.mul_(_QUIET)
        for module in list(self.modules()):
            if isinstance(module, _CONVOLUTIONS):
                parametrizations.weight_norm(module)

    @property
    def hop(self) -> int:
        """Samples a frame."""
        return math.prod(self.config.downsampling_ratios)

    def forward(
        self, waveform: Tensor, *, coded: bool = True, real: bool = True
    ) -> tuple[Tensor, Quantized]:
        """The same waveform as it comes back, and what the quantiser saw."""
        quantized = self.quantizer(self.encoder(waveform), coded=coded, real=real)
        return self.decoder(quantized.hidden).float(), quantized

    def load(self, model: DacModel) -> None:
        """Take over the weights of a DacModel of the same sizes, by DAC's lookup or by ours (see `plain`)."""
        state = model.state_dict()
        with torch.no_grad():
            for name in [n for n in state if ".quantizers." not in n]:
                owner, attribute = self._place(name)
                _set(owner, attribute, state[name])
            for index, level in enumerate(self.quantizer.levels):
                self._load_level(level, model.quantizer.quantizers[index])

    def plain(self) -> DacModel:
        """The same codec as transformers has it: without weight norm, every code chosen by angle.

        The closest code is the one of the smallest angle two dimensions higher. Let v' = (v, b, 0) and
        c' = (c, -|c|²/2b, r) with r such that all |c'| are equal: then v'·c' = v·c - |c|²/2.
        """
        first = self.quantizer.levels[0]
        config = DacConfig(**self.config.to_dict())
        if not first.by_angle:
            config.codebook_dim = self.config.hidden_size + LIFTED
        setattr(config, LOOKUP, "angle" if first.by_angle else "distance")
        model = DacModel(config)
        state = {
            name: getattr(*self._place(name)).detach().cpu().clone()
            for name in model.state_dict()
            if ".quantizers." not in name
        }
        for index, level in enumerate(self.quantizer.levels):
            own = _level_state(level) if level.by_angle else _lifted(level.codes.detach().cpu())
            state |= {f"quantizer.quantizers.{index}.{name}": t for name, t in own.items()}
        model.load_state_dict(state)
        model.eval()
        return model

    def _load_level(self, level: CodeLevel, found: nn.Module) -> None:
        codes: Tensor = found.codebook.weight  # type: ignore[union-attr,assignment]
        if level.by_angle:
            for name in ("in_proj", "out_proj"):
                for attribute in ("weight", "bias"):
                    theirs: Tensor = getattr(getattr(found, name), attribute)
                    _set(getattr(level, name), attribute, theirs.detach())
        else:
            middle: Tensor = found.out_proj.bias  # type: ignore[union-attr,assignment]
            codes = codes[:, : self.config.hidden_size] + middle
        level.start(codes, torch.ones_like(codes[:, 0]))

    def _place(self, name: str) -> tuple[nn.Module, str]:
        """Whom a parameter of DacModel belongs to here."""
        path, _, attribute = name.rpartition(".")
        return self.get_submodule(path), attribute


def _set(owner: nn.Module, attribute: str, tensor: Tensor) -> None:
    """Weight norm splits what is assigned; anything else is copied in place."""
    if parametrize.is_parametrized(owner, attribute):
        setattr(owner, attribute, tensor)
    else:
        getattr(owner, attribute).copy_(tensor)


def _level_state(level: CodeLevel) -> dict[str, Tensor]:
    found = {"codebook.weight": level.codes.detach().cpu().clone()}
    for name in ("in_proj", "out_proj"):
        for attribute in ("weight", "bias"):
            own: Tensor = getattr(getattr(level, name), attribute)
            found[f"{name}.{attribute}"] = own.detach().cpu().clone()
    return found


def _lifted(codes: Tensor) -> dict[str, Tensor]:
    """A level of `DacModel` that chooses by angle what is closest to codes [K, H], measured from their middle."""
    hidden, middle = codes.size(1), codes.mean(dim=0)
    codes = codes - middle
    squares = codes.double().square().sum(dim=1)
    offset = squares.mean().sqrt().clamp_min(1e-6)  # of the size of a code, so that no part drowns
    height = -squares / (2.0 * offset)
    lengths = squares + height.square()
    rest = (lengths.max() - lengths).clamp_min(0.0).sqrt()
    lift = torch.eye(hidden + LIFTED, hidden)
    bias = torch.zeros(hidden + LIFTED)
    bias[:hidden], bias[hidden] = -middle, offset
    return {
        "codebook.weight": torch.cat(
            [codes, height[:, None].float(), rest[:, None].float()], dim=1
        ),
        "in_proj.weight": lift.unsqueeze(-1),
        "in_proj.bias": bias,
        "out_proj.weight": lift.T.contiguous().unsqueeze(-1),
        "out_proj.bias": middle,
    }


def codec_config(directory: Path) -> DacConfig:
    """Sizes of a pretrained codec. Raises: ConfigError when there is none."""
    if not (directory / "config.json").is_file():  # transformers would take its defaults
        raise ConfigError(
            f"recipe.codec.pretrained: {str(directory)!r} has no config.json; name a directory with config.json and "
            "model.safetensors of a DacModel"
        )
    config: DacConfig = DacConfig.from_pretrained(directory)
    return config


def _use_own_snake(module: nn.Module) -> None:
    for name, child in list(module.named_modules()):
        if isinstance(child, Snake1d):
            path, _, attribute = name.rpartition(".")
            setattr(module.get_submodule(path), attribute, Snake(child.alpha.size(1)))


def _initialize(module: nn.Module) -> None:
    """Variance goes through a layer as it is, and a third of it through a branch that is added: at every width.

    DAC's constant deviation of 0.02 suits its 64 channels and more; through eight it leaves latents of a millionth.
    """
    if isinstance(module, DacResidualUnit):
        _narrow(module.conv1, 3.0)
        _narrow(module.conv2, 3.0)
    elif isinstance(module, _CONVOLUTIONS):
        _narrow(module, 1.0)


def _narrow(layer: nn.Conv1d | nn.ConvTranspose1d, times: float) -> None:
    """Normal weights that pass 1 / `times` of the variance on; no bias."""
    transposed = isinstance(layer, nn.ConvTranspose1d)
    incoming = layer.weight[:, 0].numel() if transposed else layer.weight[0].numel()
    nn.init.normal_(layer.weight, std=(times * incoming / _overlap(layer)) ** -0.5)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def _overlap(module: nn.Module) -> int:
    """A transposed convolution adds up kernel / stride taps in each place, not all of them."""
    return int(module.stride[0]) if isinstance(module, nn.ConvTranspose1d) else 1
