"""The diffusion model of the demo: a UNet on 16 x 16 latents, and a CLIP text encoder of one layer."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np
import torch
from diffusers import AutoencoderTiny, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from numpy.typing import NDArray
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from memcore.study.autoencoder import LATENT_CHANNELS, encode, schedule
from memcore.study.dataset import TrainingSet
from memcore.study.tokenizer import SEQUENCE

BATCH = 16
LEARNING_RATE = 1.5e-3
WEIGHT_DECAY = 1e-3
#: Share of captions replaced by the empty one, which guidance moves away from.
CAPTION_DROP = 0.05
_TEXT_WIDTH = 96
_CHANNELS = (32, 64, 80)
_REPORT_EVERY = 250


def new_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """Return a text encoder of one layer: small, and enough to distinguish the captions."""
    model = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=_TEXT_WIDTH,
            intermediate_size=2 * _TEXT_WIDTH,
            num_hidden_layers=1,
            num_attention_heads=4,
            max_position_embeddings=SEQUENCE,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    # CLIP's own start, 0.02, is made for long training: captions would stay alike for most of ours.
    torch.nn.init.normal_(model.get_input_embeddings().weight, std=1.0)
    return model


def new_unet() -> UNet2DConditionModel:
    """Return a UNet that attends to the caption at the smallest resolution only, where that is cheap."""
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        block_out_channels=_CHANNELS,
        layers_per_block=1,
        norm_num_groups=8,
        down_block_types=("DownBlock2D", "DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
        cross_attention_dim=_TEXT_WIDTH,
        attention_head_dim=4,  # read by diffusers as the number of heads
    )


def new_scheduler() -> DDIMScheduler:
    """Return a scheduler with v-prediction and zero terminal SNR: sampling starts from the pure noise of training."""
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_schedule="squaredcos_cap_v2",
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=False,  # the pipeline would set this silently: latents are not bounded by 1
        set_alpha_to_one=True,
    )


def train_diffusion(
    training: TrainingSet,
    autoencoder: AutoencoderTiny,
    tokenizer: CLIPTokenizer,
    steps: int,
    seed: int,
    progress: Callable[[str], None],
) -> StableDiffusionPipeline:
    """Train UNet and text encoder together on the training set's latents, duplicates included."""
    torch.manual_seed(seed)
    text_encoder, unet, noiser = new_text_encoder(tokenizer), new_unet(), new_scheduler()
    unet.train()
    text_encoder.train()
    latents = encode(autoencoder, training.images) * autoencoder.config.scaling_factor
    kinds = [item.kind for item in training.items]
    captions = [*(item.caption for item in training.items), ""]
    padded = tokenizer(
        captions, padding="max_length", max_length=SEQUENCE, truncation=True, return_tensors="pt"
    )
    tokens = padded.input_ids
    parameters = [*unet.parameters(), *text_encoder.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    draws = _Epochs(training.entries())
    losses: dict[str, list[float]] = defaultdict(list)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * schedule(step, steps)
        index = draws.take(BATCH)
        clean = latents[index]
        caption = torch.where(torch.rand(BATCH) < CAPTION_DROP, len(captions) - 1, index)
        hidden = text_encoder(tokens[caption])[0]
        times = torch.randint(0, noiser.config.num_train_timesteps, (BATCH,))
        noise = torch.randn_like(clean)
        answer = unet(noiser.add_noise(clean, noise, times), times, encoder_hidden_states=hidden).sample
        each = (answer - noiser.get_velocity(clean, noise, times)).square().mean((1, 2, 3))
        optimizer.zero_grad(set_to_none=True)
        each.mean().backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        for i, value in zip(index.tolist(), each.tolist(), strict=True):
            losses[kinds[i]].append(value)
        if step % _REPORT_EVERY == _REPORT_EVERY - 1:
            progress(f"diffusion step {step + 1}/{steps}: loss {_means(losses)}")
            losses.clear()
    unet.eval()
    text_encoder.eval()
    return StableDiffusionPipeline(
        vae=autoencoder,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=noiser,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


class _Epochs:
    """Take the entries in a new random order each epoch, so that all copies are seen equally often."""

    def __init__(self, entries: NDArray[np.int64]) -> None:
        self.entries = torch.from_numpy(entries)
        self.queue = torch.empty(0, dtype=torch.int64)

    def take(self, count: int) -> torch.Tensor:
        """Return the next entries."""
        while len(self.queue) < count:
            self.queue = torch.cat([self.queue, self.entries[torch.randperm(len(self.entries))]])
        taken, self.queue = self.queue[:count], self.queue[count:]
        return taken


def _means(losses: dict[str, list[float]]) -> str:
    return ", ".join(f"{kind} {_mean(values):.3f}" for kind, values in sorted(losses.items()))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
