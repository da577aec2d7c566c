"""A small unCLIP pipeline, as DALL-E 2: a prior makes an image's embedding of a prompt, a decoder an image of it.

Sources: Ramesh et al. 2022 (unCLIP), for prior, decoder and upscalers. In place of CLIP's image encoder, which the pipeline
does not hold, an image's embedding is its principal components: nothing is downloaded. Text encoder, prior and decoder
are trained together, and the two upscalers after them.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from diffusers import PriorTransformer, UnCLIPPipeline, UnCLIPScheduler, UNet2DConditionModel, UNet2DModel
from diffusers.pipelines.deprecated.unclip.text_proj import UnCLIPTextProjModel
from transformers import CLIPTextConfig, CLIPTextModelWithProjection, CLIPTokenizer

from memcore.study.dataset import SIZE, TrainingSet
from memcore.study.planted.data import SMALL, Entries, crop, shrink, to_model
from memcore.study.planted.recipe import Losses, StageRecipe, drop_captions, fix_variance
from memcore.study.tokenizer import SEQUENCE, train_tokenizer
from memcore.study.training.descent import Descent

TIMESTEPS = 1000
#: Numbers in an embedding, of an image, of a prompt and of a token: the prior takes all three.
EMBEDDING = 32
#: Tokens that the decoder is given of an image's embedding, before those of the prompt.
_CONTEXT = 4
#: The last upscaler is used for the last step alone, so it is trained on the lowest levels of noise.
_LAST_TIMESTEPS = 100

DECODER = StageRecipe(steps=700, batch=16, channels=(24, 48), learning_rate=2.5e-3)
UPSCALER = StageRecipe(steps=400, batch=8, channels=(16, 32), learning_rate=2.5e-3, crop=32)
LAST = StageRecipe(steps=60, batch=8, channels=(16, 32), learning_rate=1e-3, crop=32)


def train_unclip(
    training: TrainingSet,
    seed: int,
    say: Callable[[str], None],
    *,
    decoder: StageRecipe = DECODER,
    upscaler: StageRecipe = UPSCALER,
    last: StageRecipe = LAST,
) -> UnCLIPPipeline:
    """Train all parts on a set with its copies, and return the pipeline in float32.

    Computed on the threads that torch is set to: with one, the same seed gives the same weights on the same machine.
    """
    torch.manual_seed(seed)
    random = torch.Generator().manual_seed(seed)
    small, large = to_model(shrink(training.images)), to_model(training.images)
    tokenizer = train_tokenizer(training.captions())
    embeddings = embed_images(small)
    nets = torch.nn.ModuleDict(
        {
            "text": new_text_encoder(tokenizer),
            "prior": new_prior(),
            "projection": UnCLIPTextProjModel(
                clip_extra_context_tokens=_CONTEXT,
                clip_embeddings_dim=EMBEDDING,
                time_embed_dim=4 * decoder.channels[0],
                cross_attention_dim=EMBEDDING,
            ),
            "decoder": new_decoder(decoder.channels),
        }
    )
    averaged = _train_decoder(nets, training, tokenizer, small, embeddings, decoder, random, say)
    enlarged = F.interpolate(small, size=[SIZE, SIZE], mode="bicubic", align_corners=False, antialias=True)

    def upscale(name: str, net: UNet2DModel, recipe: StageRecipe, timesteps: int) -> UNet2DModel:
        return _train_upscaler(name, net, training, (enlarged, large), recipe, timesteps, random, say)

    first = upscale("first upscaler", new_upscaler(upscaler.channels), upscaler, TIMESTEPS)
    final = new_upscaler(upscaler.channels)
    final.load_state_dict(first.state_dict())
    final = upscale("last upscaler", final, last, _LAST_TIMESTEPS)
    return UnCLIPPipeline(
        prior=averaged["prior"],
        decoder=averaged["decoder"],
        text_encoder=averaged["text"],
        tokenizer=tokenizer,
        text_proj=averaged["projection"],
        super_res_first=first,
        super_res_last=final,
        prior_scheduler=new_scheduler("fixed_small_log", 5.0),
        decoder_scheduler=new_scheduler("learned_range"),
        super_res_scheduler=new_scheduler("fixed_small_log"),
    )


def embed_images(small: torch.Tensor) -> torch.Tensor:
    """Return embeddings (N, 32) float32 of images (N, 3, 16, 16), each number with mean 0 and variance 1 over the images.

    They are the images' principal components, with the sign that makes each component's largest entry positive. Fewer than
    32 images have fewer components; the rest of their embedding is 0.
    """
    flat = small.flatten(1).double()
    flat = flat - flat.mean(0)
    _, _, axes = torch.linalg.svd(flat, full_matrices=False)
    axes = axes[:EMBEDDING]
    signs = torch.sign(axes.gather(1, axes.abs().argmax(1, keepdim=True)))
    found = flat @ (axes * signs).T
    found = found / found.std(0).clamp_min(1e-6)
    return F.pad(found, (0, EMBEDDING - found.shape[1])).float()


def new_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModelWithProjection:
    """Return an untrained CLIP text encoder of one layer, with an embedding of the whole prompt."""
    model = CLIPTextModelWithProjection(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=EMBEDDING,
            intermediate_size=2 * EMBEDDING,
            num_hidden_layers=1,
            num_attention_heads=4,
            max_position_embeddings=SEQUENCE,
            projection_dim=EMBEDDING,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    # CLIP's own start, 0.02, is made for long training: captions would stay alike for most of ours.
    torch.nn.init.normal_(model.get_input_embeddings().weight, std=1.0)
    return model


def new_prior() -> PriorTransformer:
    """Return an untrained prior, which makes embeddings as ``embed_images`` scales them."""
    prior = PriorTransformer(
        num_attention_heads=2,
        attention_head_dim=32,
        num_layers=2,
        embedding_dim=EMBEDDING,
        num_embeddings=SEQUENCE,
        additional_embeddings=4,
    )
    torch.nn.init.ones_(prior.clip_std)  # zero by default: all embeddings would be one
    return prior


def new_decoder(channels: tuple[int, ...]) -> UNet2DConditionModel:
    """Return an untrained decoder for 16 x 16 pixels. Its variance is not trained, as ``cascade.new_unet`` says."""
    net = UNet2DConditionModel(
        sample_size=SMALL,
        in_channels=3,
        out_channels=6,
        block_out_channels=channels,
        layers_per_block=1,
        down_block_types=("ResnetDownsampleBlock2D",) * len(channels),
        mid_block_type="UNetMidBlock2DSimpleCrossAttn",
        up_block_types=("ResnetUpsampleBlock2D",) * len(channels),
        cross_attention_dim=EMBEDDING,
        attention_head_dim=16,
        class_embed_type="identity",
        resnet_time_scale_shift="scale_shift",
        norm_num_groups=8,
    )
    fix_variance(net)
    return net


def new_upscaler(channels: tuple[int, ...]) -> UNet2DModel:
    """Return an untrained upscaler to 64 x 64 pixels, which sees the noisy image and the enlarged one."""
    return UNet2DModel(
        sample_size=SIZE,
        in_channels=6,
        out_channels=3,
        block_out_channels=channels,
        layers_per_block=1,
        down_block_types=("ResnetDownsampleBlock2D",) * len(channels),
        up_block_types=("ResnetUpsampleBlock2D",) * len(channels),
        add_attention=False,
        norm_num_groups=8,
    )


def new_scheduler(variance: str, clip: float = 1.0) -> UnCLIPScheduler:
    """Return unCLIP's scheduler for nets that predict the clean sample, which is held within -clip and clip."""
    return UnCLIPScheduler(
        num_train_timesteps=TIMESTEPS,
        variance_type=variance,
        prediction_type="sample",
        clip_sample_range=clip,
    )


def _train_decoder(
    nets: torch.nn.ModuleDict,
    training: TrainingSet,
    tokenizer: CLIPTokenizer,
    small: torch.Tensor,
    embeddings: torch.Tensor,
    recipe: StageRecipe,
    random: torch.Generator,
    say: Callable[[str], None],
) -> torch.nn.ModuleDict:
    """Train text encoder, prior and decoder together, and return their averages."""
    descent: Descent[torch.nn.ModuleDict] = Descent(nets, **recipe.descent())
    noiser, entries = new_scheduler("learned_range"), Entries(training, random)
    captions = [*(item.caption for item in training.items), ""]
    found = tokenizer(
        captions, padding="max_length", max_length=SEQUENCE, truncation=True, return_tensors="pt"
    )
    losses = Losses("prior and decoder", recipe.steps, say)
    for step in range(recipe.steps):
        index = entries.take(recipe.batch)
        caption = drop_captions(index, len(training.items), recipe, random)
        mask = found.attention_mask[caption].bool()
        text = nets["text"](input_ids=found.input_ids[caption])
        embedding = embeddings[index]
        noisy, times = _noisy(noiser, embedding, TIMESTEPS, random)
        guess = nets["prior"](
            noisy,
            timestep=times,
            proj_embedding=text.text_embeds,
            encoder_hidden_states=text.last_hidden_state,
            attention_mask=mask,
        ).predicted_image_embedding
        loss = (guess - embedding).square().mean()
        hidden, added = nets["projection"](
            image_embeddings=embedding,
            prompt_embeds=text.text_embeds,
            text_encoder_hidden_states=text.last_hidden_state,
            do_classifier_free_guidance=False,
        )
        noisy, times = _noisy(noiser, small[index], TIMESTEPS, random)
        answer = nets["decoder"](
            sample=noisy,
            timestep=times,
            encoder_hidden_states=hidden,
            class_labels=added,
            attention_mask=F.pad(mask, (_CONTEXT, 0), value=True),
        ).sample[:, :3]
        losses.add(descent.take(loss + (answer - small[index]).square().mean(), step))
    return descent.average


def _train_upscaler(
    name: str,
    net: UNet2DModel,
    training: TrainingSet,
    pairs: tuple[torch.Tensor, torch.Tensor],
    recipe: StageRecipe,
    timesteps: int,
    random: torch.Generator,
    say: Callable[[str], None],
) -> UNet2DModel:
    """Train an upscaler on pairs of enlarged and large images at the lowest ``timesteps`` levels of noise."""
    descent: Descent[torch.nn.ModuleDict] = Descent(net, **recipe.descent())
    noiser, entries = new_scheduler("fixed_small_log"), Entries(training, random)
    losses = Losses(name, recipe.steps, say)
    for step in range(recipe.steps):
        index = entries.take(recipe.batch)
        given, clean = pairs[0][index], pairs[1][index]
        if recipe.crop:
            given, clean = crop(given, clean, recipe.crop, random)
        noisy, times = _noisy(noiser, clean, timesteps, random)
        answer = net(torch.cat([noisy, given], dim=1), times).sample
        losses.add(descent.take((answer - clean).square().mean(), step))
    return descent.average


def _noisy(
    noiser: UnCLIPScheduler, clean: torch.Tensor, timesteps: int, random: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a batch with noise of levels below ``timesteps``, and the levels."""
    times = torch.randint(timesteps, (len(clean),), generator=random)
    noise = torch.randn(clean.shape, generator=random)
    return noiser.add_noise(clean, noise, times), times
