"""Broken twins of the VITS recipe, by what they build: parameters, optimizers, schedules. See twins.catalogue."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import torch
from torch.optim.lr_scheduler import LambdaLR
from twins.hooks import after_build

from speech_trainer.engine.recipe import Built
from speech_trainer.recipes import adversarial
from speech_trainer.recipes.vits.recipe import Vits

FALLBACK_RATE = 5e-5  # what a trainer's own default puts in place of the user's rate


def frozen_module(recipe: Vits) -> Vits:
    """The text encoder is frozen by mistake: `requires_grad_(False)` left over from an experiment."""

    def freeze(built: Built) -> Built:
        built.models[adversarial.GENERATOR].vits.text_encoder.requires_grad_(False)
        return built

    return after_build(recipe, freeze)


def module_without_optimizer(recipe: Vits) -> Vits:
    """The flow gets gradients, and belongs to no optimizer: it never moves."""

    def leave_out(built: Built) -> Built:
        plan = built.optimizers[adversarial.GENERATOR]
        flow = plan.modules.pop("flow")
        lost = {id(parameter) for parameter in flow.parameters()}
        (group,) = plan.optimizer.param_groups
        group["params"] = [p for p in group["params"] if id(p) not in lost]
        return built

    return after_build(recipe, leave_out)


def optimizer_over_a_copy(recipe: Vits) -> Vits:
    """The model is copied after its optimizer was made: losses flow, and another model is updated."""

    def replace(built: Built) -> Built:
        built.models[adversarial.GENERATOR] = copy.deepcopy(built.models[adversarial.GENERATOR])
        return built

    return after_build(recipe, replace)


def half_precision_weights(recipe: Vits) -> Vits:
    """Weights are kept in bfloat16: at a fine-tuning rate an update is below half their last digit."""

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


def learning_rate_rewritten(recipe: Vits) -> Vits:
    """A default takes the place of the learning rate that was asked for."""

    def rewrite(built: Built) -> Built:
        plan = built.optimizers[adversarial.GENERATOR]
        for group in plan.optimizer.param_groups:
            group["lr"] = group["initial_lr"] = FALLBACK_RATE
        schedule = LambdaLR(plan.optimizer, plan.schedule.lr_lambdas[0])
        built.optimizers[adversarial.GENERATOR] = dataclasses.replace(plan, schedule=schedule)
        return built

    return after_build(recipe, rewrite)


def learning_rate_lost(recipe: Vits) -> Vits:
    """The schedule multiplies the rate by 0 at every update: a warm-up that counts epochs of which there is one."""

    def lose(built: Built) -> Built:
        plan = built.optimizers[adversarial.GENERATOR]
        schedule = LambdaLR(plan.optimizer, lambda update: 0.0)
        built.optimizers[adversarial.GENERATOR] = dataclasses.replace(plan, schedule=schedule)
        return built

    return after_build(recipe, lose)


def speaker_never_used(recipe: Vits) -> Vits:
    """Speakers are embedded, and nothing looks at the embedding: all voices become one."""

    def ignore(built: Built) -> Built:
        generator = built.models[adversarial.GENERATOR]
        generator.voice = lambda speakers: None
        return built

    return after_build(recipe, ignore)
