"""What a manifest may say of a recipe: names and member fields. Preset *values* live with the recipe."""

from __future__ import annotations

import dataclasses
import enum
from typing import Any

from speech_contract.checks import check_at_least, check_number
from speech_contract.codec import camel

FORBID: dict[str, Any] = {"extra": "forbid", "alias_generator": camel, "populate_by_name": True}


class Preset(str, enum.Enum):
    """Debug trains on two CPU cores in minutes; Base is the H200 default."""

    DEBUG = "Debug"
    BASE = "Base"


class Launcher(str, enum.Enum):
    """How our supervisor comes into a custom image."""

    INJECTED = "Injected"
    IMAGE = "Image"
    NONE = "None"


class Copies(str, enum.Enum):
    """PerRank = we start one process a rank; One = the command starts its own (torchrun wraps itself)."""

    PER_RANK = "PerRank"
    ONE = "One"


@dataclasses.dataclass(frozen=True)
class VitsRecipe:
    """`spec.recipe.vits`. Empty or None means: the preset's value."""

    __pydantic_config__ = FORBID
    preset: Preset = Preset.BASE
    pretrained: str = ""  # directory with config.json and model.safetensors of a VitsModel
    learning_rate: str | None = None
    discriminator_learning_rate: str | None = None
    adversarial_start_step: int | None = None  # step from which the discriminators train and judge

    def __post_init__(self) -> None:
        for name in ("learning_rate", "discriminator_learning_rate"):
            value = getattr(self, name)
            if value is not None:
                check_number(camel(name), value, above=0.0)
        check_at_least(self, 0, "adversarial_start_step")


@dataclasses.dataclass(frozen=True)
class CustomRecipe:
    """`spec.recipe.custom`: any command, watched by the supervisor. The command is `trainer.command`."""

    __pydantic_config__ = FORBID
    launcher: Launcher = Launcher.INJECTED
    copies: Copies = Copies.PER_RANK


@dataclasses.dataclass(frozen=True)
class RecipeSpec:
    """`spec.recipe`: exactly one member is set."""

    __pydantic_config__ = FORBID
    vits: VitsRecipe | None = None
    custom: CustomRecipe | None = None

    @property
    def name(self) -> str:
        """The member that is set."""
        return next(f.name for f in dataclasses.fields(self) if getattr(self, f.name) is not None)
