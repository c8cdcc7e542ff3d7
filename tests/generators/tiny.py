"""Generators, tiny: pipelines of the same classes as the real ones, saved as their makers save them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from scripts.write_tiny_pipeline import BETAS, TEXT, VAE, make_tokenizer
from transformers import CLIPConfig, CLIPImageProcessor, CLIPTextConfig, CLIPTokenizer

from changeling.generators.hub import silence_libraries

SIDE = 64  # of what is drawn, in pixels
_UNET = {
    "block_out_channels": (32, 64),
    "layers_per_block": 1,
    "sample_size": SIDE // 8,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    "norm_num_groups": 8,
}


def save_pipelines(folder: Path) -> Path:
    """Write some pipelines below `folder`.

    They are:

    - sd: like Stable Diffusion 1, with a safety checker that never objects; strict: one that always does; picky: one
      that objects to about a third;
    - sd2: like Stable Diffusion 2, without a safety checker;
    - sdxl: like Stable Diffusion XL, with two text encoders;
    - vae: an autoencoder alone, the one of `sd`.
    """
    silence_libraries()
    torch.manual_seed(0)
    tokenizer = make_tokenizer()
    vae = AutoencoderKL(**VAE).eval()
    parts: dict[str, Any] = {
        "vae": vae,
        "text_encoder": transformers.CLIPTextModel(_text(tokenizer)).eval(),
        "tokenizer": tokenizer,
        "unet": UNet2DConditionModel(**_UNET, cross_attention_dim=32).eval(),
        "feature_extractor": CLIPImageProcessor(
            size={"shortest_edge": 30}, crop_size={"height": 30, "width": 30}, do_convert_rgb=True
        ),
        "scheduler": diffusers.PNDMScheduler(**BETAS, skip_prk_steps=True),
    }
    checker = _checker()
    pipeline = diffusers.StableDiffusionPipeline(**parts, safety_checker=checker)
    pipeline.save_pretrained(folder / "sd")
    limits = {"strict": (-1.5, -1.5), "picky": (_usual(pipeline, checker), 1.5)}
    for name, (first, others) in limits.items():
        shutil.copytree(folder / "sd", folder / name)
        _object(checker, first, others).save_pretrained(folder / name / "safety_checker")
    bare = diffusers.StableDiffusionPipeline(**parts, safety_checker=None, requires_safety_checker=False)
    bare.save_pretrained(folder / "sd2")
    vae.save_pretrained(folder / "vae")
    _large(parts, tokenizer).save_pretrained(folder / "sdxl")
    return folder


def changed(source: Path, target: Path, **index: Any) -> Path:
    """Copy a pipeline's folder and say something else in its model_index.json."""
    shutil.copytree(source, target)
    path = target / "model_index.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | index))
    return target


def _text(tokenizer: CLIPTokenizer) -> CLIPTextConfig:
    marks = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    return CLIPTextConfig(vocab_size=len(tokenizer), max_position_embeddings=77, projection_dim=32, **TEXT, **marks)


def _checker() -> StableDiffusionSafetyChecker:
    seeing = TEXT | {"image_size": 30, "patch_size": 6, "projection_dim": 16}
    config = CLIPConfig(projection_dim=16, vision_config=seeing, text_config=TEXT | {"projection_dim": 16})
    checker = StableDiffusionSafetyChecker(config).eval()
    with torch.no_grad():
        for embeds in (checker.concept_embeds, checker.special_care_embeds):
            embeds.normal_()
        checker.visual_projection.weight.normal_()
    return _object(checker, 1.5, 1.5)


def _object(checker: StableDiffusionSafetyChecker, first: float, others: float) -> StableDiffusionSafetyChecker:
    """Set how near to its first concept, and to all others, an image may come: cosines."""
    with torch.no_grad():
        checker.concept_embeds_weights.fill_(others)
        checker.concept_embeds_weights[0] = first
        checker.special_care_embeds_weights.fill_(others)
    return checker


@torch.no_grad()
def _usual(pipeline: Any, checker: StableDiffusionSafetyChecker) -> float:
    """How near to the first concept a third of what the pipeline draws comes."""
    pipeline.set_progress_bar_config(disable=True)
    draws = [torch.Generator("cpu").manual_seed(seed) for seed in range(24)]
    words = [f"a picture of {seed}" for seed in range(24)]
    images = pipeline(words, generator=draws, height=SIDE, width=SIDE, num_inference_steps=1).images
    seen = pipeline.feature_extractor(images, return_tensors="pt").pixel_values
    embeds = checker.visual_projection(checker.vision_model(seen)[1])
    near = torch.nn.functional.cosine_similarity(embeds, checker.concept_embeds[:1])
    return float(near.quantile(2 / 3))


def _large(parts: dict[str, Any], tokenizer: CLIPTokenizer) -> Any:
    unet = UNet2DConditionModel(
        **_UNET,
        cross_attention_dim=64,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + 32,
        use_linear_projection=True,
    )
    return diffusers.StableDiffusionXLPipeline(
        vae=parts["vae"],
        text_encoder=parts["text_encoder"],
        text_encoder_2=transformers.CLIPTextModelWithProjection(_text(tokenizer)).eval(),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        unet=unet.eval(),
        scheduler=diffusers.EulerDiscreteScheduler(**BETAS),
        add_watermarker=False,
    )
