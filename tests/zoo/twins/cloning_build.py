"""Broken twins of voice cloning, by what they build: backbone, table, adapters, schedule. Listed in twins.catalogue."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.lr_scheduler import LambdaLR
from transformers import Qwen3Model
from twins.hooks import after_build

from speech_trainer.data.sequences import Columns
from speech_trainer.engine.recipe import Built
from speech_trainer.models.higgs_v3 import HiggsV3
from speech_trainer.modules.lora import LoraLinear, LoraSettings, adapters
from speech_trainer.recipes.voice_cloning import parts
from speech_trainer.recipes.voice_cloning.recipe import VoiceCloning

WRONG_BASE = 1e4  # transformers' default
ENDS_AFTER = 20  # updates of the schedule that ends
WARM_UP = 1_000_000  # updates


def _backbone(recipe: VoiceCloning, change: Callable[[Any], None]) -> VoiceCloning:
    def changed(built: Built) -> Built:
        change(parts.backbone_of(built))
        return built

    return after_build(recipe, changed)


def table_frozen(recipe: VoiceCloning) -> VoiceCloning:
    """The table of codes is frozen by mistake: adapters alone can't teach a new voice's codes."""
    return _backbone(recipe, lambda backbone: backbone.table.requires_grad_(False))


def backbone_frozen(recipe: VoiceCloning) -> VoiceCloning:
    """The language model is frozen by mistake, and only the table moves."""
    return _backbone(recipe, lambda backbone: backbone.body.requires_grad_(False))


def table_without_optimizer(recipe: VoiceCloning) -> VoiceCloning:
    """The table gets gradients, and belongs to no optimizer: `modules_to_save` does not name it."""

    def leave_out(built: Built) -> Built:
        plan = built.optimizers[parts.MODEL]
        lost = {id(p) for p in plan.modules.pop(parts.TABLE).parameters()}
        (group,) = plan.optimizer.param_groups
        group["params"] = [p for p in group["params"] if id(p) not in lost]
        return built

    return after_build(recipe, leave_out)


def backbone_detached(recipe: VoiceCloning) -> VoiceCloning:
    """Hidden states are detached before the head: the table learns how often codes occur, and no more."""

    def cut(backbone: Any) -> None:
        original = backbone.hidden
        backbone.hidden = lambda *given: original(*given).detach()

    return _backbone(recipe, cut)


def rows_detached(recipe: VoiceCloning) -> VoiceCloning:
    """Rows are embedded under no_grad: the table learns as a head alone, and its norm does not tell."""

    def cut(backbone: Any) -> None:
        original = backbone.embed

        def embed(columns: Columns) -> Tensor:
            with torch.no_grad():
                embedded: Tensor = original(columns)
            flat = backbone.text_embedding(columns.tokens).flatten(0, 1)
            rows = embedded.flatten(0, 1).index_select(0, columns.row_at)
            return flat.index_copy(0, columns.row_at, rows).view_as(embedded)

        backbone.embed = embed

    return _backbone(recipe, cut)


def deaf_to_the_reference(recipe: VoiceCloning) -> VoiceCloning:
    """Features of the reference are empty: it stands in the prompt and says nothing, whoever speaks."""

    def deafen(backbone: Any) -> None:
        original = backbone.embed

        def embed(columns: Columns) -> Tensor:
            rows = columns.rows.masked_fill(columns.reference[:, None], 0)
            embedded: Tensor = original(dataclasses.replace(columns, rows=rows))
            return embedded

        backbone.embed = embed

    return _backbone(recipe, deafen)


def sees_the_future(recipe: VoiceCloning) -> VoiceCloning:
    """Attention without its causal mask: a label leaks into its own input, and the loss falls to nothing."""

    def unmask(backbone: Any) -> None:
        original = backbone.hidden

        def hidden(embedded: Tensor, *rest: Any) -> Tensor:
            seen = functional.pad(embedded, (0, 0, 0, 1))[:, 1:]
            found: Tensor = original(embedded + seen, *rest)
            return found

        backbone.hidden = hidden

    return _backbone(recipe, unmask)


def wrong_rope_base(recipe: VoiceCloning) -> VoiceCloning:
    """`rope_theta: null` read as transformers' default of 10,000: it loads, trains and speaks garbage."""

    def rebuild(backbone: HiggsV3) -> None:
        config = backbone.config
        config.rope_parameters = {"rope_type": "default", "rope_theta": WRONG_BASE}
        backbone.body.rotary_emb = Qwen3Model(config).rotary_emb

    return _backbone(recipe, rebuild)


class Untied(HiggsV3):
    """A head beside the table."""

    apart: nn.Parameter

    @property
    def head(self) -> Tensor:
        return self.apart


def untied_table(recipe: VoiceCloning) -> VoiceCloning:
    """`modules_to_save` lists table and head: two copies that drift apart, of which the export keeps one."""

    def untie(built: Built) -> Built:
        backbone = parts.backbone_of(built)
        backbone.__class__ = Untied
        backbone.apart = nn.Parameter(backbone.table.weight.detach().clone())
        plan = built.optimizers[parts.MODEL]
        plan.optimizer.param_groups[0]["params"].append(backbone.apart)
        plan.modules["table"] = nn.ModuleList([backbone.table, nn.ParameterList([backbone.apart])])
        return built

    return after_build(recipe, untie)


def books_too_close(recipe: VoiceCloning) -> VoiceCloning:
    """Books are offset by their codes without BOC and EOC: those of a book are the next one's first codes."""

    def crowd(backbone: Any) -> None:
        def embed(columns: Columns) -> Tensor:
            grid = backbone.grid
            offsets = torch.arange(grid.books, device=columns.rows.device) * grid.codes
            rows = functional.embedding_bag(
                columns.rows + offsets, backbone.table.weight, mode="sum"
            )
            flat = backbone.text_embedding(columns.tokens).flatten(0, 1)
            found = flat.index_copy(0, columns.row_at, rows.to(flat.dtype))
            return found.view(*columns.tokens.shape, -1)

        backbone.embed = embed

    return _backbone(recipe, crowd)


def adapters_do_nothing(recipe: VoiceCloning) -> VoiceCloning:
    """Low-rank updates are made, and the layers that run go past them: all that trains is the table."""
    settings = dataclasses.replace(recipe.settings, lora=LoraSettings(rank=4))
    recipe.material = dataclasses.replace(recipe.material, settings=settings)
    recipe.settings = settings

    def pass_by(backbone: nn.Module) -> None:
        for layer in adapters(backbone):

            def forward(x: Tensor, layer: LoraLinear = layer) -> Tensor:
                found: Tensor = layer.base(x)
                return found

            layer.forward = forward  # type: ignore[method-assign]

    return _backbone(recipe, pass_by)


def half_precision_weights(recipe: VoiceCloning) -> VoiceCloning:
    """Weights are kept in bfloat16, as the checkpoint has them: a fine-tuning rate moves next to none."""

    def rounded(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        with torch.no_grad():
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    parameter.copy_(parameter.bfloat16().float())

    def keep_rounded(built: Built) -> Built:
        for plan in built.optimizers.values():
            rounded(plan.optimizer)
            plan.optimizer.register_step_post_hook(rounded)
        return built

    return after_build(recipe, keep_rounded)


# -- schedules --------------------------------------------------------------------------------------------------------


def _schedule(recipe: VoiceCloning, share: Callable[[Any, int], float]) -> VoiceCloning:
    """Another share of the rate at each update, given the old one and the update."""

    def replan(built: Built) -> Built:
        plan = built.optimizers[parts.MODEL]
        assert isinstance(plan.schedule, LambdaLR)
        old = plan.schedule.lr_lambdas[0]
        schedule = LambdaLR(plan.optimizer, lambda update: share(old, update))
        built.optimizers[parts.MODEL] = dataclasses.replace(plan, schedule=schedule)
        return built

    return after_build(recipe, replan)


def schedule_that_ended(recipe: VoiceCloning) -> VoiceCloning:
    """A cosine of 20 updates in a run of 300: learning rate 0 while steps go on, and the log looks as before."""
    return _schedule(recipe, lambda old, update: old(update) if update < ENDS_AFTER else 0.0)


def warm_up_for_ever(recipe: VoiceCloning) -> VoiceCloning:
    """A warm-up of a million updates in a run of 300: the rate is 1e-7 and stays next to that."""
    return _schedule(recipe, lambda old, update: (update + 1) / WARM_UP)


def schedule_stepped_per_process(recipe: VoiceCloning) -> VoiceCloning:
    """The scheduler is advanced as often an update as there are processes: the plan says something else."""

    def hasten(built: Built) -> Built:
        plan = built.optimizers[parts.MODEL]
        optimizer, schedule = plan.optimizer, plan.schedule
        assert isinstance(schedule, LambdaLR)
        share = schedule.lr_lambdas[0]

        def twice(*_: Any) -> None:
            for group in optimizer.param_groups:
                rate = schedule.base_lrs[0] * share(2 * schedule.last_epoch)
                group["lr"].fill_(rate) if isinstance(group["lr"], Tensor) else group.update(
                    lr=rate
                )

        optimizer.register_step_pre_hook(twice)
        return built

    return after_build(recipe, hasten)
