"""The backbones that a manifest can name, a line each. Called by `recipes.voice_cloning.material`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from speech_contract.recipes import CloningBackbone
from speech_trainer.models.backbone import Backbone
from speech_trainer.models.higgs_v2 import HiggsV2
from speech_trainer.models.higgs_v3 import HiggsV3

BACKBONES: Final[Mapping[CloningBackbone, type[Backbone]]] = {
    CloningBackbone.V3: HiggsV3,
    CloningBackbone.V2: HiggsV2,
}
