"""DeepFloyd IF's two stages as one sampler: the open counterpart of Imagen, which makes small images and enlarges them.

diffusers has a pipeline for each stage and none for both. Source: Saharia et al. 2022; Carlini et al. 2023, section 4.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from diffusers import DiffusionPipeline, IFPipeline, IFSuperResolutionPipeline
from numpy.typing import NDArray

from memcore.errors import ConfigError
from memcore.sampling.diffusers.loading import check_place, load_pipeline
from memcore.sampling.diffusers.sampler import DiffusersSampler
from memcore.types import Images, Request

#: What DeepFloyd IF's pipelines hold and a cascade leaves out: it makes images to be compared, not to be shown.
_NONE = {
    "safety_checker": None,
    "feature_extractor": None,
    "watermarker": None,
    "requires_safety_checker": False,
}


class IFCascade(DiffusionPipeline):  # type: ignore[misc]  # diffusers is untyped
    """A text encoder, and the nets and schedulers of two stages; safety checker and watermark are left out.

    Each image has one generator, which the second stage continues. So the first stage makes the images that it makes alone.
    """

    def __init__(
        self,
        tokenizer: Any,
        text_encoder: Any,
        unet: Any,
        scheduler: Any,
        super_res_unet: Any,
        super_res_scheduler: Any,
        image_noising_scheduler: Any,
    ) -> None:
        super().__init__()
        self.register_modules(
            tokenizer=tokenizer,
            text_encoder=text_encoder,
            unet=unet,
            scheduler=scheduler,
            super_res_unet=super_res_unet,
            super_res_scheduler=super_res_scheduler,
            image_noising_scheduler=image_noising_scheduler,
        )
        text = {"tokenizer": tokenizer, "text_encoder": text_encoder}
        self._first = IFPipeline(unet=unet, scheduler=scheduler, **text, **_NONE)
        self._second = IFSuperResolutionPipeline(
            unet=super_res_unet,
            scheduler=super_res_scheduler,
            image_noising_scheduler=image_noising_scheduler,
            **text,
            **_NONE,
        )
        #: Where the small images of each call are put, if it is a list: (N, 3, h, w) in [0, 1].
        self.kept: list[torch.Tensor] | None = None
        for stage in (self._first, self._second):
            stage.set_progress_bar_config(disable=True)

    @torch.no_grad()
    def __call__(
        self,
        prompt: Sequence[str],
        num_inference_steps: int = 50,
        super_res_num_inference_steps: int = 50,
        guidance_scale: float = 7.0,
        super_res_guidance_scale: float = 4.0,
        noise_level: int = 250,
        generator: Any = None,
        negative_prompt: Sequence[str] | None = None,
        clean_caption: bool = False,
        output_type: str = "pt",
        return_dict: bool = True,
    ) -> Any:
        """Return ``images`` (N, 3, H, W) in [0, 1] of the second stage; those of the first are put into ``kept``.

        ``noise_level``, of 1000, is that of the noise on the small images before they are enlarged.
        """
        texts = list(prompt)
        common = {
            "negative_prompt": negative_prompt,
            "generator": generator,
            "clean_caption": clean_caption,
            "output_type": "pt",
        }
        small = self._first(
            texts, num_inference_steps=num_inference_steps, guidance_scale=guidance_scale, **common
        ).images
        if self.kept is not None:
            self.kept.append(_unit(small))
        large = self._second(
            texts,
            image=small,
            num_inference_steps=super_res_num_inference_steps,
            guidance_scale=super_res_guidance_scale,
            noise_level=noise_level,
            **common,
        ).images
        return SimpleNamespace(images=_unit(large))


class CascadeSampler(DiffusersSampler):
    """Two pipelines of DeepFloyd IF's classes as one sampler, for ``memcore audit --sampler``.

    An audit of the first stage alone, with ``--model`` and the same seed, makes the small images that were enlarged here: so
    it shows whether the first stage copies already. ``sample_stages`` returns the images of both.

    Parameters
    ----------
    stage_1, stage_2
        Folders or names on the hub of an ``IFPipeline`` and an ``IFSuperResolutionPipeline``. The text encoder is the first
        one's.
    steps, guidance_scale
        Of both stages.
    super_res_steps, super_res_guidance_scale
        Of the second stage, where they differ.
    noise_level
        Noise on the small images, of 1000.
    batch_size, dtype, device
        As of ``DiffusersSampler``.

    Raises
    ------
    ConfigError
        A stage is not there, or of another class.

    Examples
    --------
    >>> CascadeSampler("model/stage_1", "model/stage_2", steps=10, guidance_scale=1.0)  # doctest: +SKIP
    """

    def __init__(
        self,
        stage_1: str,
        stage_2: str,
        *,
        steps: int,
        guidance_scale: float,
        super_res_steps: int | None = None,
        super_res_guidance_scale: float | None = None,
        noise_level: int = 250,
        batch_size: int = 16,
        dtype: str = "float32",
        device: str = "cpu",
    ) -> None:
        check_place(dtype, device)
        first = _load(stage_1, "stage_1", IFPipeline, dtype, device)
        second = _load(stage_2, "stage_2", IFSuperResolutionPipeline, dtype, device)
        if first.text_encoder is None:
            raise ConfigError(f"stage_1={stage_1} has no text encoder: give a first stage that has one")
        pipe = IFCascade(
            tokenizer=first.tokenizer,
            text_encoder=first.text_encoder,
            unet=first.unet,
            scheduler=first.scheduler,
            super_res_unet=second.unet,
            super_res_scheduler=second.scheduler,
            image_noising_scheduler=second.image_noising_scheduler,
        )
        apart: dict[str, Any] = {
            "super_res_num_inference_steps": super_res_steps,
            "super_res_guidance_scale": super_res_guidance_scale,
        }
        options = {name: value for name, value in apart.items() if value is not None}
        super().__init__(
            pipe,
            steps=steps,
            guidance_scale=guidance_scale,
            batch_size=batch_size,
            call_options={**options, "noise_level": noise_level},
        )

    def sample_stages(self, requests: Sequence[Request]) -> tuple[Images, NDArray[np.uint8]]:
        """Return what ``sample`` returns, and the first stage's images that were enlarged, (N, h, w, 3) uint8.

        Raises what ``sample`` raises. Each stage's images can then be compared with training images of its size, which says
        where a copy comes from:

        >>> images, small = sampler.sample_stages([Request(0, "lion face", 1)])  # doctest: +SKIP
        """
        parts: list[torch.Tensor] = []
        self._pipe.kept = parts
        try:
            images = self.sample(requests)
        finally:
            self._pipe.kept = None
        left = len(requests)
        own: list[torch.Tensor] = []
        for part in parts:  # a batch is filled up with repetitions
            own.append(part[:left])
            left -= len(own[-1])
        pixels = torch.round(255 * torch.cat(own).float().permute(0, 2, 3, 1)).to(torch.uint8)
        return images, pixels.cpu().numpy()


def _load(place: str, name: str, kind: type[Any], dtype: str, device: str) -> Any:
    pipe = load_pipeline(place, dtype=dtype, device=device)
    if not isinstance(pipe, kind):
        raise ConfigError(
            f"{name} must be a pipeline of the class {kind.__name__}, got {type(pipe).__name__}"
        )
    return pipe


def _unit(images: torch.Tensor) -> torch.Tensor:
    """Return images in [0, 1] of those in [-1, 1], in which values of a last step may be a little outside."""
    return (images / 2 + 0.5).clamp(0, 1)
