"""Both backbones against plain models of their own: equal logits, equal files, and wrong checkpoints refused."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import small_cloning
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional
from transformers import HiggsAudioV2ForConditionalGeneration

from speech_trainer.data.sequences import Columns
from speech_trainer.errors import ConfigError
from speech_trainer.models import higgs_v2, higgs_v3
from speech_trainer.models.backbone import Backbone

MADE: dict[str, Callable[[], Backbone]] = {"v3": small_cloning.v3, "v2": small_cloning.v2}


@pytest.fixture(params=list(MADE))
def model(request: pytest.FixtureRequest) -> Backbone:
    return MADE[request.param]().eval()


def test_facts_are_measured_on_what_runs(model: Backbone) -> None:
    assert [fact.name for fact in model.facts() if fact.found != fact.wanted] == []
    rotary = next(m for m in model.modules() if "inv_freq" in dict(m.named_buffers(recurse=False)))
    slower = rotary.get_buffer("inv_freq") ** 0.5  # of the root of the base
    rotary.register_buffer("inv_freq", slower, persistent=False)
    (wrong,) = (fact for fact in model.facts() if fact.found != fact.wanted)
    assert (wrong.name, wrong.found) == (
        "rope base",
        float(f"{float(str(wrong.wanted)) ** 0.5:.3g}"),
    )


# -- v3: what is published about its forward pass, from its file alone --------------------------------------------


def plain_v3(folder: Path, row: Tensor, rows: Tensor, places: Tensor) -> Tensor:
    """Logits [L, Q, V] of one sequence of tokens [L] with rows [N, Q] of codes at places [N]."""
    document = json.loads((folder / "config.json").read_text("utf-8"))
    text, audio = document["text_config"], document["audio_encoder_config"]
    found = load_file(folder / "model.safetensors")
    table = found["tied.embedding.modality_embeddings.0.embedding.weight"]
    x = found["tied.embedding.text_embedding.weight"][row]
    for place, codes in zip(places.tolist(), rows.tolist(), strict=True):
        x[place] = sum(table[code + book * audio["vocab_size"]] for book, code in enumerate(codes))
    for layer in range(text["num_hidden_layers"]):
        part = {
            name.removeprefix(f"body.layers.{layer}."): tensor
            for name, tensor in found.items()
            if name.startswith(f"body.layers.{layer}.")
        }
        x = x + plain_attention(rms(x, part["input_layernorm.weight"]), part, text)
        y = rms(x, part["post_attention_layernorm.weight"])
        gate = functional.silu(y @ part["mlp.gate_proj.weight"].T)
        x = x + (gate * (y @ part["mlp.up_proj.weight"].T)) @ part["mlp.down_proj.weight"].T
    x = rms(x, found["body.norm.weight"])
    return (x @ table.T).view(len(row), audio["num_codebooks"], audio["vocab_size"])


def plain_attention(x: Tensor, part: dict[str, Tensor], sizes: dict[str, Any]) -> Tensor:
    length, width = len(x), sizes["head_dim"]
    heads = {
        name: (x @ part[f"self_attn.{name}_proj.weight"].T).view(length, -1, width)
        for name in "qkv"
    }
    q = turned(rms(heads["q"], part["self_attn.q_norm.weight"]), 1e6)
    k = turned(rms(heads["k"], part["self_attn.k_norm.weight"]), 1e6)
    shared = q.size(1) // k.size(1)
    k, v = (t.repeat_interleave(shared, dim=1) for t in (k, heads["v"]))
    scores = torch.einsum("qhd,khd->hqk", q, k) / math.sqrt(width)
    later = torch.ones(length, length, dtype=torch.bool).triu(1)
    weights = scores.masked_fill(later, -math.inf).softmax(-1)
    return torch.einsum("hqk,khd->qhd", weights, v).flatten(1) @ part["self_attn.o_proj.weight"].T


def turned(x: Tensor, base: float) -> Tensor:
    half = x.size(-1) // 2
    angles = torch.arange(len(x))[:, None] * base ** (-torch.arange(half) / half)
    cos, sin = angles.cos()[:, None], angles.sin()[:, None]
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1)


def rms(x: Tensor, weight: Tensor) -> Tensor:
    return x * (x.square().mean(-1, keepdim=True) + 1e-6).rsqrt() * weight


@torch.no_grad()
def test_v3_equals_a_plain_model_that_reads_its_file(tmp_path: Path) -> None:
    model = small_cloning.v3().eval()
    model.save(tmp_path, None)
    columns = small_cloning.columns(model)
    own = dict(zip(columns.label_at.tolist(), model.logits(model(columns)), strict=True))
    length = columns.tokens.size(1)
    for number, row in enumerate(columns.tokens):
        mine = (columns.row_at // length) == number
        places = columns.row_at[mine] - number * length
        logits = plain_v3(tmp_path, row, columns.rows[mine], places)
        for place in (p for p in own if p // length == number):
            torch.testing.assert_close(own[place], logits[place % length], atol=1e-5, rtol=1e-5)


# -- v2: transformers ---------------------------------------------------------------------------------------------


def stock_v2(folder: Path, columns: Columns) -> tuple[HiggsAudioV2ForConditionalGeneration, Tensor]:
    """Logits [B · L, Q, V] of the stock model, to which rows are handed batch-wise."""
    stock = HiggsAudioV2ForConditionalGeneration.from_pretrained(folder).eval()
    length = columns.tokens.size(1)
    owners = columns.row_at // length
    most = int(torch.bincount(owners).max())
    shape = (len(columns.tokens), most, columns.rows.size(1))
    rows, real = torch.zeros(shape, dtype=torch.long), torch.zeros(shape[:2], dtype=torch.bool)
    for number in range(len(columns.tokens)):
        mine = columns.rows[owners == number]
        rows[number, : len(mine)], real[number, : len(mine)] = mine, True
    out = stock(input_ids=columns.tokens, audio_input_ids=rows, audio_input_ids_mask=real)
    return stock, out.logits.flatten(0, 1).unflatten(1, (shape[2], -1))


@torch.no_grad()
def test_v2_equals_the_stock_model(tmp_path: Path) -> None:
    model = small_cloning.v2().eval()
    model.save(tmp_path, None)
    columns = small_cloning.columns(model)
    _, logits = stock_v2(tmp_path, columns)
    own = model.logits(model(columns))
    torch.testing.assert_close(own, logits[columns.label_at], atol=1e-5, rtol=1e-5)


def test_v2_has_the_stock_model_s_gradients(tmp_path: Path) -> None:
    model = small_cloning.v2()
    model.save(tmp_path, None)
    columns = small_cloning.columns(model)
    model.logits(model(columns)).square().sum().backward()
    stock, logits = stock_v2(tmp_path, columns)
    logits[columns.label_at].square().sum().backward()
    own = dict(model.stock.named_parameters())
    for name, parameter in stock.named_parameters():
        assert own[name].grad is not None, name
        torch.testing.assert_close(own[name].grad, parameter.grad, atol=1e-4, rtol=1e-4)


# -- both ---------------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_what_is_saved_is_loaded(model: Backbone, tmp_path: Path) -> None:
    model.save(tmp_path, None)
    again = type(model).load(tmp_path).eval()
    columns = small_cloning.columns(model)
    assert torch.equal(again(columns), model(columns))
    assert again.grid == model.grid


@torch.no_grad()
def test_a_row_of_a_batch_is_what_it_is_alone(model: Backbone) -> None:
    tokens = small_cloning.tokens_of(type(model))
    pieces = model.prompt(tokens, model.grid, "hi", None, small_cloning.codes(3, 3))
    alone = small_cloning.collate([small_cloning.lay(pieces, model.grid)], padding=0)
    together = small_cloning.columns(model)
    found = model(together)[-len(alone.label_at) :]
    torch.testing.assert_close(found, model(alone), atol=1e-5, rtol=1e-5)


def test_roles_hold_every_parameter_once(model: Backbone) -> None:
    owned = [id(p) for module in model.roles().values() for p in module.parameters()]
    assert sorted(owned) == sorted(id(p) for p in model.parameters())


def test_attention_is_told_on_demand_and_looks_back_alone(model: Backbone) -> None:
    columns = small_cloning.columns(model)
    found = model.attention(columns)
    length = columns.tokens.size(1)
    assert [weights.shape for weights in found] == [(2, 2, length, length)] * 2
    for weights in found:
        torch.testing.assert_close(weights.sum(-1), torch.ones(2, 2, length))
        assert not bool(weights.triu(1).any())
    assert not model.training


def test_layers_that_are_computed_again_have_the_same_gradients(model: Backbone) -> None:
    columns = small_cloning.columns(model)
    model.train()
    model(columns).square().sum().backward()
    before = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    model.zero_grad()
    model.checkpoint_layers()
    model(columns).square().sum().backward()
    after = [p.grad for p in model.parameters() if p.grad is not None]
    assert len(before) == len(after)
    for one, other in zip(before, after, strict=True):
        torch.testing.assert_close(one, other)


# -- checkpoints that would load and speak garbage ------------------------------------------------------------------


def spoil(folder: Path, *path: str, value: object) -> None:
    document = json.loads((folder / "config.json").read_text("utf-8"))
    *parents, last = path
    inner = document
    for name in parents:
        inner = inner[name]
    inner[last] = value
    (folder / "config.json").write_text(json.dumps(document), "utf-8")


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("model_type",), "qwen3", "model_type: 'qwen3'"),
        (("text_config", "rope_parameters", "rope_theta"), 10000.0, "rope_theta: 10000.0"),
        (("audio_encoder_config", "tie_word_embeddings"), False, "tie_word_embeddings: False"),
        (("audio_encoder_config", "vocab_size"), small_cloning.CODES, "modality_embeddings"),
        (("audio_encoder_config", "out_dim"), 31, "out_dim: 31"),
    ],
)  # fmt: skip
def test_a_v3_with_a_wrong_config_is_refused(
    path: tuple[str, ...], value: object, said: str, tmp_path: Path
) -> None:
    small_cloning.v3().save(tmp_path, None)
    spoil(tmp_path, *path, value=value)
    with pytest.raises(ConfigError, match=said):
        higgs_v3.HiggsV3.load(tmp_path)


def test_the_published_null_is_qwen3_s_own_base(tmp_path: Path) -> None:
    small_cloning.v3().save(tmp_path, None)
    document = json.loads((tmp_path / "config.json").read_text("utf-8"))
    document["text_config"] |= {"rope_theta": None, "rope_parameters": None}
    config, _ = higgs_v3.read_settings(document)
    assert config.rope_parameters["rope_theta"] == 1e6


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("model_type",), "llama", "model_type: 'llama'"),
        (("codebook_size",), 16, "codebook_size: 16"),
        (("rope_parameters", "rope_theta"), 10000.0, "rope_theta: 10000.0"),
    ],
)
def test_a_v2_with_a_wrong_config_is_refused(
    path: tuple[str, ...], value: object, said: str, tmp_path: Path
) -> None:
    small_cloning.v2().save(tmp_path, None)
    spoil(tmp_path, *path, value=value)
    with pytest.raises(ConfigError, match=said):
        higgs_v2.HiggsV2.load(tmp_path)


def test_a_head_that_drifted_from_its_table_is_refused_and_an_equal_one_is_not(
    tmp_path: Path,
) -> None:
    model = small_cloning.v3()
    model.save(tmp_path, None)
    tensors = load_file(tmp_path / "model.safetensors")
    head = tensors[higgs_v3.TABLE].clone()
    save_file({**tensors, higgs_v3.HEAD: head}, tmp_path / "model.safetensors")
    higgs_v3.HiggsV3.load(tmp_path)
    save_file({**tensors, higgs_v3.HEAD: head + 1e-3}, tmp_path / "model.safetensors")
    with pytest.raises(ConfigError, match="modules_to_save"):
        higgs_v3.HiggsV3.load(tmp_path)


@pytest.mark.parametrize("change", ["lacks", "holds"])
def test_a_checkpoint_of_other_tensors_is_refused(change: str, tmp_path: Path) -> None:
    small_cloning.v3().save(tmp_path, None)
    tensors = load_file(tmp_path / "model.safetensors")
    if change == "lacks":
        del tensors["body.norm.weight"]
    else:
        tensors["body.layers.0.self_attn.q_proj.lora_A.weight"] = torch.zeros(2)
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(ConfigError, match=change):
        higgs_v3.HiggsV3.load(tmp_path)


def test_the_bundled_codec_goes_along(tmp_path: Path) -> None:
    model, codec = small_cloning.v3(), higgs_v3.CARRIED[0] + "encoder.weight"
    model.save(tmp_path / "a", None)
    tensors = load_file(tmp_path / "a" / "model.safetensors")
    save_file({**tensors, codec: torch.ones(3)}, tmp_path / "a" / "model.safetensors")
    higgs_v3.HiggsV3.load(tmp_path / "a").save(tmp_path / "b", tmp_path / "a")
    assert load_file(tmp_path / "b" / "model.safetensors")[codec].tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("kind", [higgs_v3.HiggsV3, higgs_v2.HiggsV2])
def test_an_empty_folder_is_named(kind: type[Backbone], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"has no readable config\.json"):
        kind.load(tmp_path)
