"""Random-weight instances of the real diffusers pipeline classes, small enough to run in a second, without a download."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import diffusers as d
import torch
import transformers as t
from tokenizers import Tokenizer, models, pre_tokenizers

LETTERS = list("abcdefghijklmnopqrstuvwxyz")
Maker = Callable[[], Any]


def clip_tokenizer() -> Any:
    """Return an untrained tokenizer, one token a letter: trained merges differ between processes where counts tie."""
    pieces = ["<|startoftext|>", "<|endoftext|>", *LETTERS, *[f"{letter}</w>" for letter in LETTERS]]
    vocabulary = {piece: i for i, piece in enumerate(pieces)}
    return t.CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=16)


def t5_tokenizer(length: int = 16) -> Any:
    pieces = ["<pad>", "</s>", "<unk>", "\u2581", *LETTERS]
    tokenizer = Tokenizer(models.Unigram([(piece, -float(i)) for i, piece in enumerate(pieces)], unk_id=2))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    return t.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        model_max_length=length,
    )


def clip_text(vocabulary: int, projection: bool = False) -> Any:
    config = t.CLIPTextConfig(
        vocab_size=vocabulary,
        hidden_size=32,
        intermediate_size=37,
        num_hidden_layers=1,
        num_attention_heads=4,
        max_position_embeddings=16,
        projection_dim=32,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )
    return (t.CLIPTextModelWithProjection if projection else t.CLIPTextModel)(config)


def t5_text(vocabulary: int) -> Any:
    return t.T5EncoderModel(
        t.T5Config(vocab_size=vocabulary, d_model=32, d_kv=8, d_ff=37, num_layers=1, num_heads=4)
    )


def autoencoder(latent_channels: int = 4) -> Any:
    return d.AutoencoderKL(
        block_out_channels=(32,),
        down_block_types=("DownEncoderBlock2D",),
        up_block_types=("UpDecoderBlock2D",),
        latent_channels=latent_channels,
        norm_num_groups=8,
        sample_size=16,
        shift_factor=0.0,
    )


def _unet(**options: Any) -> Any:
    return d.UNet2DConditionModel(
        sample_size=16,
        block_out_channels=(32, 64),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        norm_num_groups=8,
        attention_head_dim=4,
        **options,
    )


def stable_diffusion(safety_checker: Any = None, scheduler: Any = None) -> Any:
    tokenizer = clip_tokenizer()
    extractor = (
        t.CLIPImageProcessor(size={"shortest_edge": 16}, crop_size=16) if safety_checker is not None else None
    )
    return d.StableDiffusionPipeline(
        vae=autoencoder(),
        text_encoder=clip_text(len(tokenizer)),
        tokenizer=tokenizer,
        unet=_unet(cross_attention_dim=32),
        scheduler=scheduler or d.DDIMScheduler(),
        safety_checker=safety_checker,
        feature_extractor=extractor,
        requires_safety_checker=safety_checker is not None,
    )


def stable_diffusion_2() -> Any:
    """Return Stable Diffusion 2, which predicts v."""
    return stable_diffusion(scheduler=d.EulerDiscreteScheduler(prediction_type="v_prediction"))


def stable_diffusion_xl() -> Any:
    tokenizer = clip_tokenizer()
    return d.StableDiffusionXLPipeline(
        vae=autoencoder(),
        text_encoder=clip_text(len(tokenizer)),
        text_encoder_2=clip_text(len(tokenizer), True),
        tokenizer=tokenizer,
        tokenizer_2=clip_tokenizer(),
        unet=_unet(
            cross_attention_dim=64,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            transformer_layers_per_block=(1, 1),
            projection_class_embeddings_input_dim=32 + 48,
            use_linear_projection=True,
        ),
        scheduler=d.EulerDiscreteScheduler(),
    )


def stable_diffusion_3() -> Any:
    clip, t5 = clip_tokenizer(), t5_tokenizer()
    return d.StableDiffusion3Pipeline(
        transformer=d.SD3Transformer2DModel(
            sample_size=16,
            patch_size=1,
            in_channels=16,
            num_layers=1,
            attention_head_dim=8,
            num_attention_heads=4,
            joint_attention_dim=32,
            caption_projection_dim=32,
            pooled_projection_dim=64,
            out_channels=16,
        ),
        scheduler=d.FlowMatchEulerDiscreteScheduler(),
        vae=autoencoder(16),
        text_encoder=clip_text(len(clip), True),
        tokenizer=clip,
        text_encoder_2=clip_text(len(clip), True),
        tokenizer_2=clip_tokenizer(),
        text_encoder_3=t5_text(len(t5)),
        tokenizer_3=t5,
    )


def flux() -> Any:
    clip, t5 = clip_tokenizer(), t5_tokenizer()
    return d.FluxPipeline(
        scheduler=d.FlowMatchEulerDiscreteScheduler(),
        vae=autoencoder(4),
        text_encoder=clip_text(len(clip)),
        tokenizer=clip,
        text_encoder_2=t5_text(len(t5)),
        tokenizer_2=t5,
        transformer=d.FluxTransformer2DModel(
            patch_size=1,
            in_channels=16,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=32,
            pooled_projection_dim=32,
            axes_dims_rope=[4, 4, 8],
        ),
    )


def pixart() -> Any:
    t5 = t5_tokenizer()
    return d.PixArtAlphaPipeline(
        tokenizer=t5,
        text_encoder=t5_text(len(t5)),
        vae=autoencoder(),
        transformer=d.PixArtTransformer2DModel(
            sample_size=16,
            num_layers=1,
            patch_size=2,
            attention_head_dim=8,
            num_attention_heads=4,
            caption_channels=32,
            in_channels=4,
            cross_attention_dim=32,
            out_channels=8,
        ),
        scheduler=d.DPMSolverMultistepScheduler(),
    )


def deepfloyd_if() -> Any:
    t5 = t5_tokenizer(77)
    return d.IFPipeline(
        tokenizer=t5,
        text_encoder=t5_text(len(t5)),
        unet=d.UNet2DConditionModel(
            sample_size=16,
            in_channels=3,
            out_channels=6,
            block_out_channels=(32, 64),
            layers_per_block=1,
            down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
            mid_block_type="UNetMidBlock2DSimpleCrossAttn",
            up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
            cross_attention_dim=32,
            encoder_hid_dim=32,
            attention_head_dim=8,
            addition_embed_type="text",
            addition_embed_type_num_heads=2,
            cross_attention_norm="group_norm",
            resnet_time_scale_shift="scale_shift",
            act_fn="gelu",
            norm_num_groups=8,
        ),
        scheduler=d.DDPMScheduler(variance_type="learned_range", beta_schedule="squaredcos_cap_v2"),
        safety_checker=None,
        feature_extractor=None,
        watermarker=None,
        requires_safety_checker=False,
    )


def unclip() -> Any:
    from diffusers.pipelines.deprecated.unclip.text_proj import UnCLIPTextProjModel

    tokenizer = clip_tokenizer()

    def upscaler(channels: int) -> Any:
        return d.UNet2DModel(
            sample_size=32,
            in_channels=channels,
            out_channels=3,
            block_out_channels=(32, 64),
            layers_per_block=1,
            down_block_types=("ResnetDownsampleBlock2D", "ResnetDownsampleBlock2D"),
            up_block_types=("ResnetUpsampleBlock2D", "ResnetUpsampleBlock2D"),
            norm_num_groups=8,
        )

    def scheduler(**options: Any) -> Any:
        return d.UnCLIPScheduler(num_train_timesteps=10, **options)

    return d.UnCLIPPipeline(
        prior=d.PriorTransformer(
            num_attention_heads=2,
            attention_head_dim=12,
            embedding_dim=32,
            num_layers=1,
            num_embeddings=16,
            additional_embeddings=4,
        ),
        decoder=d.UNet2DConditionModel(
            sample_size=16,
            in_channels=3,
            out_channels=6,
            block_out_channels=(32, 64),
            layers_per_block=1,
            down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
            mid_block_type="UNetMidBlock2DSimpleCrossAttn",
            up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
            cross_attention_dim=32,
            attention_head_dim=8,
            class_embed_type="identity",
            resnet_time_scale_shift="scale_shift",
            norm_num_groups=8,
        ),
        text_encoder=clip_text(len(tokenizer), True),
        tokenizer=tokenizer,
        text_proj=UnCLIPTextProjModel(clip_embeddings_dim=32, time_embed_dim=128, cross_attention_dim=32),
        super_res_first=upscaler(6),
        super_res_last=upscaler(6),
        prior_scheduler=scheduler(variance_type="fixed_small_log", prediction_type="sample"),
        decoder_scheduler=scheduler(variance_type="learned_range", prediction_type="epsilon"),
        super_res_scheduler=scheduler(variance_type="fixed_small_log", prediction_type="epsilon"),
    )


def _unconditional_unet() -> Any:
    return d.UNet2DModel(
        sample_size=16,
        block_out_channels=(32, 64),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        norm_num_groups=8,
    )


def ddpm() -> Any:
    return d.DDPMPipeline(unet=_unconditional_unet(), scheduler=d.DDPMScheduler())


def ddim() -> Any:
    return d.DDIMPipeline(unet=_unconditional_unet(), scheduler=d.DDIMScheduler())


_SIZE = {"height": 16, "width": 16}
#: name: (maker, constructor options of DiffusersSampler)
PIPELINES: dict[str, tuple[Maker, dict[str, Any]]] = {
    "stable diffusion 1": (stable_diffusion, _SIZE),
    "stable diffusion 2": (stable_diffusion_2, _SIZE),
    "stable diffusion xl": (stable_diffusion_xl, _SIZE),
    "stable diffusion 3": (stable_diffusion_3, {**_SIZE, "call_options": {"max_sequence_length": 16}}),
    "flux": (flux, {**_SIZE, "call_options": {"max_sequence_length": 16}}),
    "pixart": (
        pixart,
        {**_SIZE, "call_options": {"max_sequence_length": 16, "use_resolution_binning": False}},
    ),
    "deepfloyd if": (deepfloyd_if, _SIZE),
    "unclip": (unclip, {}),
    "ddpm": (ddpm, {"guidance_scale": None}),
    "ddim": (ddim, {"guidance_scale": None}),
}


def make(name: str, seed: int = 0) -> Any:
    """Return the pipeline with weights drawn from ``seed``."""
    torch.manual_seed(seed)
    return PIPELINES[name][0]()
