"""A small pixel cascade of DeepFloyd IF's classes, the open counterpart of Imagen: text encoder, 16 x 16, then 64 x 64.

Sources: Saharia et al. 2022 (Imagen), for a frozen text encoder, a cascade in pixels and noise on what the second stage is
given; Carlini et al. 2023, section 4.2, who audited it. Unlike Imagen's, the text encoder is trained with the first stage:
nothing is downloaded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from diffusers import DDPMScheduler, IFPipeline, IFSuperResolutionPipeline, UNet2DConditionModel
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast, T5Config, T5EncoderModel

from memcore.study.dataset import SIZE, TrainingSet
from memcore.study.planted.data import SMALL, Entries, crop, enlarge, shrink, to_model
from memcore.study.planted.recipe import Losses, StageRecipe, drop_captions, fix_variance
from memcore.study.training.descent import Descent

#: Tokens of a prompt: DeepFloyd IF's pipelines pad to as many.
TOKENS = 77
TIMESTEPS = 1000
#: Level of noise, of 1000, on the enlarged images of the first stage; the pipeline's default, 250, blurs 16 x 16 away.
NOISE_LEVEL = 50
_TEXT_WIDTH = 64


# 600 steps show the first stage each image with 200 copies about 990 times, and each other image 5 times.
FIRST = StageRecipe(steps=600, batch=16, channels=(24, 48), learning_rate=2.5e-3)
SECOND = StageRecipe(steps=600, batch=8, channels=(16, 32), learning_rate=2.5e-3, crop=32)


def train_first(
    training: TrainingSet, seed: int, say: Callable[[str], None], recipe: StageRecipe = FIRST
) -> IFPipeline:
    """Train the text encoder and the stage of 16 x 16 pixels on a set with its copies; the pipeline is in float32.

    Computed on the threads that torch is set to: with one, the same seed gives the same weights on the same machine.
    """
    torch.manual_seed(seed)
    random = torch.Generator().manual_seed(seed)
    tokenizer = word_tokenizer(training.captions())
    small = to_model(shrink(training.images))
    nets = torch.nn.ModuleDict(
        {"unet": new_unet(SMALL, 3, recipe.channels), "text": new_text_encoder(len(tokenizer))}
    )
    averaged = _train(
        "stage I", nets, tokenizer, training, recipe, random, say, lambda index: (small[index], None, None)
    )
    return IFPipeline(
        unet=averaged["unet"], scheduler=new_scheduler(), **_common(tokenizer, averaged["text"])
    )


def train_second(
    training: TrainingSet,
    first: IFPipeline,
    seed: int,
    say: Callable[[str], None],
    recipe: StageRecipe = SECOND,
) -> IFSuperResolutionPipeline:
    """Train the stage that enlarges to 64 x 64 pixels, with the first stage's text encoder, which stays as it is."""
    torch.manual_seed(seed + 1)
    random = torch.Generator().manual_seed(seed + 1)
    small, large = to_model(shrink(training.images)), to_model(training.images)
    noiser = new_scheduler()

    def draw(index: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return large images, the noisy enlarged ones, and the level of their noise."""
        given, target = enlarge(small[index]), large[index]
        if recipe.crop:
            given, target = crop(given, target, recipe.crop, random)
        level = torch.randint(2 * NOISE_LEVEL, (len(index),), generator=random)
        noise = torch.randn(given.shape, generator=random)
        return target, noiser.add_noise(given, noise, level), level

    nets = torch.nn.ModuleDict({"unet": new_unet(SIZE, 6, recipe.channels, takes_level=True)})
    text = first.text_encoder
    averaged = _train("stage II", nets, first.tokenizer, training, recipe, random, say, draw, text)
    return IFSuperResolutionPipeline(
        unet=averaged["unet"],
        scheduler=new_scheduler(),
        image_noising_scheduler=new_scheduler(),
        **_common(first.tokenizer, text),
    )


def _common(tokenizer: PreTrainedTokenizerFast, text: T5EncoderModel) -> dict[str, Any]:
    """Return what both stages' pipelines hold; neither has a safety checker or a watermark."""
    return {
        "tokenizer": tokenizer,
        "text_encoder": text,
        "safety_checker": None,
        "feature_extractor": None,
        "watermarker": None,
        "requires_safety_checker": False,
    }


def word_tokenizer(captions: Sequence[str]) -> PreTrainedTokenizerFast:
    """Return a tokenizer of T5's shape with one token for each word of the captions."""
    cut = pre_tokenizers.Whitespace()
    words = sorted({word for caption in captions for word, _ in cut.pre_tokenize_str(caption.lower())})
    vocabulary = {word: i for i, word in enumerate(["<pad>", "</s>", "<unk>", *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = cut
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        model_max_length=TOKENS,
    )


def new_text_encoder(vocabulary: int) -> T5EncoderModel:
    """Return an untrained T5 encoder of one layer."""
    return T5EncoderModel(
        T5Config(
            vocab_size=vocabulary,
            d_model=_TEXT_WIDTH,
            d_kv=16,
            d_ff=2 * _TEXT_WIDTH,
            num_layers=1,
            num_heads=4,
            dropout_rate=0.0,
            pad_token_id=0,
            eos_token_id=1,
        )
    )


def new_unet(
    side: int, inputs: int, channels: tuple[int, ...], *, takes_level: bool = False
) -> UNet2DConditionModel:
    """Return an untrained UNet of DeepFloyd IF's blocks for ``side`` x ``side`` pixels, with attention in its middle.

    Like IF's it answers with the prediction and a variance, which is not trained, as ``fix_variance`` says.
    """
    net = UNet2DConditionModel(
        sample_size=side,
        in_channels=inputs,
        out_channels=6,
        block_out_channels=channels,
        layers_per_block=1,
        down_block_types=("ResnetDownsampleBlock2D",) * len(channels),
        mid_block_type="UNetMidBlock2DSimpleCrossAttn",
        up_block_types=("ResnetUpsampleBlock2D",) * len(channels),
        cross_attention_dim=_TEXT_WIDTH,
        encoder_hid_dim=_TEXT_WIDTH,
        attention_head_dim=16,
        addition_embed_type="text",
        addition_embed_type_num_heads=2,
        cross_attention_norm="group_norm",
        resnet_time_scale_shift="scale_shift",
        act_fn="gelu",
        norm_num_groups=8,
        class_embed_type="timestep" if takes_level else None,
    )
    fix_variance(net)
    return net


def new_scheduler() -> DDPMScheduler:
    """Return IF's scheduler with zero terminal SNR, so that sampling starts from the pure noise of training.

    The nets predict the clean image, not its noise: after so short a training, copies of an image then differ less.
    """
    return DDPMScheduler(
        num_train_timesteps=TIMESTEPS,
        beta_schedule="squaredcos_cap_v2",
        variance_type="learned_range",
        prediction_type="sample",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=True,
    )


def _tokens(tokenizer: PreTrainedTokenizerFast, captions: Sequence[str]) -> dict[str, torch.Tensor]:
    """Return ids and masks of captions, padded as IF's pipelines pad them."""
    found = tokenizer(
        list(captions), padding="max_length", max_length=TOKENS, truncation=True, return_tensors="pt"
    )
    return {"input_ids": found.input_ids, "attention_mask": found.attention_mask}


def _train(
    name: str,
    nets: torch.nn.ModuleDict,
    tokenizer: PreTrainedTokenizerFast,
    training: TrainingSet,
    recipe: StageRecipe,
    random: torch.Generator,
    say: Callable[[str], None],
    draw: Callable[[torch.Tensor], tuple[Any, ...]],
    text: T5EncoderModel | None = None,
) -> torch.nn.ModuleDict:
    """Train a stage and return its averaged nets. ``draw`` answers with clean images, and what else the stage is given."""
    descent: Descent[torch.nn.ModuleDict] = Descent(nets, **recipe.descent())
    noiser, entries = new_scheduler(), Entries(training, random)
    tokens = _tokens(tokenizer, [*(item.caption for item in training.items), ""])
    losses = Losses(name, recipe.steps, say)
    for step in range(recipe.steps):
        index = entries.take(recipe.batch)
        clean, given, level = draw(index)
        caption = drop_captions(index, len(training.items), recipe, random)
        with torch.set_grad_enabled(text is None):
            encoder = nets["text"] if text is None else text
            hidden = encoder(**{key: value[caption] for key, value in tokens.items()})[0]
        times = torch.randint(TIMESTEPS, (recipe.batch,), generator=random)
        noise = torch.randn(clean.shape, generator=random)
        noisy = noiser.add_noise(clean, noise, times)
        if given is not None:
            noisy = torch.cat([noisy, given], dim=1)
        answer = nets["unet"](noisy, times, encoder_hidden_states=hidden, class_labels=level).sample[:, :3]
        losses.add(descent.take((answer - clean).square().mean(), step))
    return descent.average
