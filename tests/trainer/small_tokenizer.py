"""The tokenizer of Higgs Audio v2, tiny and with random weights. Used by tests that encode."""

from __future__ import annotations

from pathlib import Path

from transformers import HiggsAudioV2TokenizerConfig, HiggsAudioV2TokenizerModel

HOP = 960  # of the tokenizer, and of its published size
SPREAD = 0.5  # about that of the tiny tokenizer's latents


def save_tokenizer(folder: Path) -> Path:
    """Tiny, with random weights: two books of 16, 25 frames a second."""
    ratios = [8, 5, 4, 2, 3]
    acoustic = {
        "model_type": "dac", "encoder_hidden_size": 2, "decoder_hidden_size": 64, "hidden_size": 64,
        "downsampling_ratios": ratios, "upsampling_ratios": ratios,
    }  # fmt: skip
    semantic = {
        "model_type": "hubert", "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
        "intermediate_size": 16, "conv_dim": [8] * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2,
        "feat_extract_norm": "group",
    }  # fmt: skip
    config = HiggsAudioV2TokenizerConfig(
        acoustic_model_config=acoustic, semantic_model_config=semantic, codebook_size=16, codebook_dim=8,
        target_bandwidths=[0.1, 0.2],
    )  # fmt: skip
    model = HiggsAudioV2TokenizerModel(config)
    for name, buffer in model.named_buffers():
        if name.endswith("codebook.embed"):  # all zeros when it is new: every code would be 0
            buffer.normal_(std=SPREAD)
    model.save_pretrained(folder)
    return folder
