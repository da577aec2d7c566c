"""Random-weight instances of pipelines that make an image in two stages of one call: Kandinsky and Stable Cascade."""

from __future__ import annotations

from typing import Any

import diffusers as d
import torch
import transformers as t

from tests.support.tiny_pipelines import clip_text, clip_tokenizer, t5_text, t5_tokenizer


def _movq() -> Any:
    return d.VQModel(
        block_out_channels=[32, 64],
        down_block_types=["DownEncoderBlock2D", "AttnDownEncoderBlock2D"],
        up_block_types=["AttnUpDecoderBlock2D", "UpDecoderBlock2D"],
        latent_channels=4,
        norm_num_groups=8,
        norm_type="spatial",
        num_vq_embeddings=12,
        vq_embed_dim=4,
    )


def kandinsky_2_2() -> Any:
    tokenizer = clip_tokenizer()
    vision = t.CLIPVisionConfig(
        hidden_size=32,
        image_size=28,
        projection_dim=32,
        intermediate_size=37,
        num_attention_heads=4,
        num_hidden_layers=1,
        patch_size=14,
    )
    prior = d.PriorTransformer(
        num_attention_heads=2, attention_head_dim=12, embedding_dim=32, num_layers=1, num_embeddings=16
    )
    prior.clip_std = torch.nn.Parameter(
        torch.ones_like(prior.clip_std)
    )  # zero by default: all images would be one
    return d.KandinskyV22CombinedPipeline(
        unet=d.UNet2DConditionModel(
            in_channels=4,
            out_channels=8,
            addition_embed_type="image",
            down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
            up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
            mid_block_type="UNetMidBlock2DSimpleCrossAttn",
            block_out_channels=(32, 64),
            layers_per_block=1,
            encoder_hid_dim=32,
            encoder_hid_dim_type="image_proj",
            cross_attention_dim=32,
            attention_head_dim=4,
            resnet_time_scale_shift="scale_shift",
        ),
        scheduler=d.DDIMScheduler(clip_sample=False),
        movq=_movq(),
        prior_prior=prior,
        prior_image_encoder=t.CLIPVisionModelWithProjection(vision),
        prior_text_encoder=clip_text(len(tokenizer), True),
        prior_tokenizer=tokenizer,
        prior_scheduler=d.UnCLIPScheduler(
            variance_type="fixed_small_log",
            prediction_type="sample",
            clip_sample=True,
            clip_sample_range=10.0,
        ),
        prior_image_processor=t.CLIPImageProcessor(size=28, crop_size=28),
    )


def kandinsky_3() -> Any:
    t5 = t5_tokenizer()
    return d.Kandinsky3Pipeline(
        tokenizer=t5,
        text_encoder=t5_text(len(t5)),
        unet=d.Kandinsky3UNet(
            in_channels=4,
            time_embedding_dim=4,
            groups=2,
            attention_head_dim=4,
            layers_per_block=3,
            block_out_channels=(32, 64),
            cross_attention_dim=4,
            encoder_hid_dim=32,
        ),
        scheduler=d.DDPMScheduler(beta_schedule="squaredcos_cap_v2"),
        movq=_movq(),
    )


def stable_cascade() -> Any:
    from diffusers.pipelines.deprecated.wuerstchen import PaellaVQModel

    tokenizer = clip_tokenizer()
    plain = ("SDCascadeResBlock", "SDCascadeTimestepBlock")
    attentive = (*plain, "SDCascadeAttnBlock")
    return d.StableCascadeCombinedPipeline(
        tokenizer=tokenizer,
        text_encoder=clip_text(len(tokenizer), True),
        decoder=d.StableCascadeUNet(
            in_channels=4,
            out_channels=4,
            conditioning_dim=32,
            block_out_channels=(8, 16, 16, 32),
            num_attention_heads=(-1, -1, 1, 2),
            down_num_layers_per_block=(1, 1, 1, 1),
            up_num_layers_per_block=(1, 1, 1, 1),
            down_blocks_repeat_mappers=(1, 1, 1, 1),
            up_blocks_repeat_mappers=(1, 1, 1, 1),
            block_types_per_layer=(plain, plain, attentive, attentive),
            switch_level=None,
            clip_text_pooled_in_channels=32,
            dropout=(0.1, 0.1, 0.1, 0.1),
        ),
        scheduler=d.DDPMWuerstchenScheduler(),
        vqgan=PaellaVQModel(bottleneck_blocks=1, num_vq_embeddings=2),
        prior_prior=d.StableCascadeUNet(
            conditioning_dim=32,
            block_out_channels=(32, 32),
            num_attention_heads=(2, 2),
            down_num_layers_per_block=(1, 1),
            up_num_layers_per_block=(1, 1),
            clip_image_in_channels=768,
            switch_level=(False,),
            clip_text_in_channels=32,
            clip_text_pooled_in_channels=32,
        ),
        prior_text_encoder=clip_text(len(tokenizer), True),
        prior_tokenizer=tokenizer,
        prior_scheduler=d.DDPMWuerstchenScheduler(),
    )


#: name: (maker, constructor options of DiffusersSampler)
MULTISTAGE: dict[str, Any] = {
    "kandinsky 2.2": (kandinsky_2_2, {"height": 64, "width": 64}),
    "kandinsky 3": (kandinsky_3, {"height": 16, "width": 16}),
    "stable cascade": (stable_cascade, {"height": 128, "width": 128}),
}
