"""What a manifest may say of a recipe: names and member fields. Preset *values* live with the recipe.

A recipe enters the contract here alone: its dataclass, and its member of RecipeSpec. Validation, the CRD, the
run config and the paths of one machine follow from those two.
"""

from __future__ import annotations

import dataclasses
import enum
from typing import ClassVar

from speech_contract.checks import check_at_least, check_number
from speech_contract.codec import FORBID, camel
from speech_contract.places import PATH
from speech_contract.values import Value, frozen


class Preset(str, enum.Enum):
    """Debug trains on two CPU cores in minutes; Base is the H200 default."""

    DEBUG = "Debug"
    BASE = "Base"


class CodecPreset(str, enum.Enum):
    """Debug trains on two CPU cores in minutes; the others are for a data-centre GPU."""

    DEBUG = "Debug"
    SPEECH_16K = "Speech16k"
    SPEECH_24K = "Speech24k"


class CloningPreset(str, enum.Enum):
    """Debug trains a tiny model from random weights on two CPU cores; the others adapt a published one."""

    DEBUG = "Debug"
    LORA_4B = "Lora4B"
    FULL_4B = "Full4B"


class CloningBackbone(str, enum.Enum):
    """V3: Qwen3 with one table of codes; V2: Llama with a feed-forward of its own for codes."""

    V3 = "V3"
    V2 = "V2"


class Adapters(str, enum.Enum):
    """Lora trains low-rank updates beside frozen layers, and the table of codes; None trains every weight."""

    LORA = "Lora"
    NONE = "None"


class Launcher(str, enum.Enum):
    """How our supervisor comes into a custom image."""

    INJECTED = "Injected"
    IMAGE = "Image"
    NONE = "None"


class Copies(str, enum.Enum):
    """PerRank = we start one process a rank; One = the command starts its own (torchrun wraps itself)."""

    PER_RANK = "PerRank"
    ONE = "One"


@frozen
class Recipe(Value):
    """What every recipe says of itself. Its fields hold numbers as strings and paths marked by `places.PATH`."""

    needs_data: ClassVar[bool] = True  # `spec.data` must be there
    needs_validation: ClassVar[bool] = False  # and so must `spec.data.validation`
    needs_text: ClassVar[bool] = False  # each line of a manifest must say what is spoken


@frozen
class VitsRecipe(Recipe):
    """`spec.recipe.vits`. Empty or None means: the preset's value."""

    __pydantic_config__ = FORBID
    needs_text = True
    preset: Preset = Preset.BASE
    """Settings to start from: Debug trains on two CPU cores in minutes, Base is for a data-centre GPU."""
    pretrained: str = dataclasses.field(default="", metadata=PATH)
    """Directory with config.json and model.safetensors of a VitsModel; empty trains from random weights."""
    learning_rate: str | None = None
    """Peak learning rate of the generator, as a string ("2e-4"); unset means the preset's."""
    discriminator_learning_rate: str | None = None
    """Peak learning rate of the discriminators, as a string; unset means the preset's."""
    adversarial_start_step: int | None = None
    """Step from which the discriminators train and judge; unset means the preset's."""

    def __post_init__(self) -> None:
        for name in ("learning_rate", "discriminator_learning_rate"):
            value = getattr(self, name)
            if value is not None:
                check_number(camel(name), value, above=0.0)
        check_at_least(self, 0, "adversarial_start_step")


@frozen
class CodecRecipe(Recipe):
    """`spec.recipe.codec`. Empty or None means: the preset's value."""

    __pydantic_config__ = FORBID
    preset: CodecPreset = CodecPreset.SPEECH_24K
    """Settings to start from: Debug trains on two CPU cores in minutes, Speech16k and Speech24k are for a data-centre
    GPU; Speech24k has the sizes of the published 24 kHz DAC."""
    pretrained: str = dataclasses.field(default="", metadata=PATH)
    """Directory with config.json and model.safetensors of a DacModel; empty trains from random weights."""
    learning_rate: str | None = None
    """Peak learning rate of encoder and decoder, as a string ("1e-4"); unset means the preset's."""
    discriminator_learning_rate: str | None = None
    """Peak learning rate of the discriminators, as a string; unset means the preset's."""
    adversarial_start_step: int | None = None
    """Step from which the discriminators train and judge; unset means the preset's."""
    goal_snr: str | None = None
    """Signal-to-noise ratio in dB that the codec is meant to reach, as a string ("8"); a goal that no codec has at
    this bit rate is told before step 1. Unset means: no goal."""

    def __post_init__(self) -> None:
        for name in ("learning_rate", "discriminator_learning_rate"):
            value = getattr(self, name)
            if value is not None:
                check_number(camel(name), value, above=0.0)
        if self.goal_snr is not None:
            check_number("goalSnr", self.goal_snr)
        check_at_least(self, 0, "adversarial_start_step")


@frozen
class VoiceCloningRecipe(Recipe):
    """`spec.recipe.voiceCloning`. Empty or None means: the preset's value."""

    __pydantic_config__ = FORBID
    needs_text = True
    needs_validation = (
        True  # a model that learns its voices by heart looks well until it is asked for another one
    )
    preset: CloningPreset = CloningPreset.LORA_4B
    """Settings to start from: Debug trains on two CPU cores in minutes, Lora4B and Full4B adapt a pretrained model on
    data-centre GPUs."""
    backbone: CloningBackbone = CloningBackbone.V3
    """The language model: V3 is Higgs Audio v3 (Qwen3), V2 is Higgs Audio v2 (Llama)."""
    pretrained: str = dataclasses.field(default="", metadata=PATH)
    """Directory with config.json, tokenizer.json and the safetensors of that model; empty, for Debug alone, trains from
    random weights."""
    codec: str = dataclasses.field(default="", metadata=PATH)
    """Directory of the codec that wrote the codes, a DacModel or a HiggsAudioV2TokenizerModel: evaluations write speech
    to listen to, and it goes into the export, so that `speechtrain speak` can be used; empty does without."""
    recognizer: str = dataclasses.field(default="", metadata=PATH)
    """Directory of a speech recogniser of transformers, with its tokenizer and feature extractor: evaluations tell the
    character error rate of generated speech; needs a codec. Empty does without."""
    adapters: Adapters | None = None
    """Lora trains low-rank updates of every layer and the table of codes, None trains every weight; unset means the
    preset's."""
    learning_rate: str | None = None
    """Peak learning rate, as a string ("1e-4"); unset means the preset's."""
    z_loss: str | None = None
    """Weight of the z-loss, which keeps logits from drifting, as a string ("1e-4"); unset means 0: none."""
    micro_batch_tokens: int | None = None
    """Tokens and rows of codes that a rank takes through the model at once, padding counted; it bounds memory, and a
    step takes as many micro-batches as it needs. Unset means the preset's; training.microBatchSize bounds them too."""

    def __post_init__(self) -> None:
        if self.learning_rate is not None:
            check_number("learningRate", self.learning_rate, above=0.0)
        if self.z_loss is not None:
            check_number("zLoss", self.z_loss)
        check_at_least(self, 1, "micro_batch_tokens")


@frozen
class CustomRecipe(Recipe):
    """`spec.recipe.custom`: any command, watched by the supervisor. The command is `trainer.command`."""

    __pydantic_config__ = FORBID
    needs_data = False  # a command reads what it likes
    launcher: Launcher = Launcher.INJECTED
    """How our supervisor comes into the image: Injected copies it in, Image finds it there, None does without."""
    copies: Copies = Copies.PER_RANK
    """PerRank starts the command once a rank; One starts it once a pod, and it starts its ranks itself."""


@frozen
class RecipeSpec(Value):
    """`spec.recipe`: exactly one member is set."""

    __pydantic_config__ = FORBID
    vits: VitsRecipe | None = None
    """VITS, end-to-end text to speech: our own trainer."""
    codec: CodecRecipe | None = None
    """A neural codec of speech with residual vector quantisation: our own trainer."""
    voice_cloning: VoiceCloningRecipe | None = None
    """Speech in the voice of a reference, by a language model over codes: our own trainer."""
    custom: CustomRecipe | None = None
    """Any command, watched from outside; what runs is `trainer.command`."""

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Every member, as a manifest writes it."""
        return tuple(camel(field.name) for field in dataclasses.fields(cls))

    @property
    def given(self) -> dict[str, Recipe]:
        """The members that are set, by name: one, once the manifest is accepted."""
        members = {camel(f.name): getattr(self, f.name) for f in dataclasses.fields(self)}
        return {name: member for name, member in members.items() if member is not None}

    @property
    def name(self) -> str:
        """The member that is set."""
        return next(iter(self.given))

    @property
    def watched(self) -> bool:
        """Whether our launcher starts its ranks and a supervisor stands beside them."""
        return self.custom is None or self.custom.launcher is not Launcher.NONE
