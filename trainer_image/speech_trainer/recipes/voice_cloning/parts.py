"""What the recipe is made of: backbone, adapters, optimizer. Called by `recipes.voice_cloning.recipe`."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from torch import nn

from speech_trainer.engine.recipe import Built, RecipeContext, Sharding, unwrap
from speech_trainer.models.backbone import Backbone
from speech_trainer.models.cloner import Cloner
from speech_trainer.modules import lora
from speech_trainer.recipes.optimizers import adam_of, adamw_plan
from speech_trainer.recipes.voice_cloning.material import Material

MODEL: Final = "cloner"
TABLE: Final = "table"
HEAD: Final = "head"


def build(material: Material, pretrained: str, context: RecipeContext) -> Built:
    """The model on the device with its optimizer. Raises: ConfigError."""
    settings = material.settings
    backbone = _backbone(material, pretrained)
    modules = backbone.roles()
    if settings.lora is not None:
        backbone.requires_grad_(False)
        modules = {name: modules[name] for name in (TABLE, HEAD) if name in modules}
        for module in modules.values():
            module.requires_grad_(True)
        lora.adapt(backbone, settings.lora)
        modules["adapters"] = nn.ModuleList(lora.adapters(backbone))
    if settings.checkpoint_layers:
        backbone.checkpoint_layers()
    model = Cloner(backbone, settings.z_weight).to(context.device).train()
    updates = context.config.training.max_steps
    plan = adamw_plan(modules, settings.learning_rate, updates, adam_of(settings))
    sharding = Sharding(tuple(backbone.layers)) if settings.split else None
    return Built(models={MODEL: model}, optimizers={MODEL: plan}, sharding=sharding)


def frozen(built: Built, material: Material) -> list[str]:
    """Names of the parameters that are not meant to train: with adapters, all but those, table and head."""
    if material.settings.lora is None:
        return []
    backbone = backbone_of(built)
    trained = {
        id(p) for n, m in backbone.roles().items() if n in (TABLE, HEAD) for p in m.parameters()
    }
    names = {name for name, p in backbone.named_parameters() if id(p) in trained}
    return [f"{MODEL}.backbone.{name}" for name in lora.frozen_names(backbone, names)]


def cloner_of(built: Built) -> Cloner:
    """The model below its wrapper."""
    model = unwrap(built.models[MODEL])
    assert isinstance(model, Cloner)
    return model


def backbone_of(built: Built) -> Backbone:
    """The backbone below that."""
    return cloner_of(built).backbone


def _backbone(material: Material, pretrained: str) -> Backbone:
    if pretrained:
        return material.kind.load(Path(pretrained))
    assert material.settings.sizes is not None  # `presets.resolve` refuses it
    return material.kind.fresh(material.tokens, material.grid, material.settings.sizes)
