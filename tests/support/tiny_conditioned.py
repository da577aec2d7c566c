"""Random-weight pipelines of diffusers that make images of labels and of given images, small enough to run in a second."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import diffusers as d
import torch

from memcore.conditions import Condition
from tests.support import tiny_multistage
from tests.support import tiny_pipelines as tiny
from tests.support.given_pictures import SIDE, picture, upper_half

SIZE = {"height": SIDE, "width": SIDE}
CLASSES = 10


def dit() -> Any:
    """Return a DiT, whose prompts are classes: 1,000 of them, since the pipeline takes class 1,000 for none."""
    return d.DiTPipeline(
        transformer=d.DiTTransformer2DModel(
            sample_size=SIDE,
            num_layers=1,
            patch_size=4,
            attention_head_dim=8,
            num_attention_heads=2,
            in_channels=4,
            out_channels=8,
        ),
        vae=tiny.autoencoder(),
        scheduler=d.DDIMScheduler(),
        id2label={0: "tabby, cat", 1: "dog"},
    )


def class_conditional(pipeline: type[Any] = d.DDIMPipeline, scheduler: Any = None) -> Any:
    """Return an unconditional pipeline around a UNet with classes."""
    unet = d.UNet2DModel(
        sample_size=SIDE,
        block_out_channels=(32, 64),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        norm_num_groups=8,
        num_class_embeds=CLASSES,
    )
    return pipeline(unet=unet, scheduler=scheduler or d.DDIMScheduler())


def consistency() -> Any:
    """Return a consistency model with classes, which draws them by chance where none are given."""
    return class_conditional(d.ConsistencyModelPipeline, d.CMStochasticIterativeScheduler())


def image_to_image() -> Any:
    return d.StableDiffusionImg2ImgPipeline(
        **tiny.stable_diffusion().components, requires_safety_checker=False
    )


def inpainting(channels: int = 9) -> Any:
    """Return Stable Diffusion's inpainting: with 9 channels the UNet sees mask and masked image, with 4 it does not."""
    components = tiny.stable_diffusion().components
    if channels == 9:
        components["unet"] = tiny._unet(cross_attention_dim=32, in_channels=9, out_channels=4)
    return d.StableDiffusionInpaintPipeline(**components, requires_safety_checker=False)


def if_image_to_image() -> Any:
    return d.IFImg2ImgPipeline(**tiny.deepfloyd_if().components, requires_safety_checker=False)


def like(text_to_image: Callable[[], Any], pipeline: type[Any], **changed: Any) -> Callable[[], Any]:
    """Return what makes a pipeline of the components of a text-to-image one of its family."""
    return lambda: pipeline(**{**text_to_image().components, **changed})


def xl_inpainting() -> Any:
    """Return SDXL's inpainting with a UNet of 4 channels, which does not see the mask."""
    return d.StableDiffusionXLInpaintPipeline(
        **tiny.stable_diffusion_xl().components, requires_aesthetics_score=False
    )


def repaint() -> Any:
    return d.RePaintPipeline(unet=tiny._unconditional_unet(), scheduler=d.RePaintScheduler())


def _labels() -> list[Condition]:
    return [Condition(label=n) for n in (0, 1, 3)]


def _images() -> list[Condition]:
    return [Condition(image=picture(n)) for n in range(3)]


def _masked() -> list[Condition]:
    return [Condition(image=picture(n), mask=upper_half()) for n in range(3)]


def _masked_32() -> list[Condition]:
    return [Condition(image=picture(n, 32), mask=upper_half(32)) for n in range(3)]


_JUMPS = {"jump_length": 1, "jump_n_sample": 1}
_STRENGTH = {**SIZE, "guidance_scale": 3.0, "strength": 0.6}
# of two steps, these pipelines' schedulers begin with noise alone at any strength above a half
_HALF = {**_STRENGTH, "strength": 0.5}
#: name: (maker, constructor options of DiffusersSampler, three different conditions)
CONDITIONED: dict[str, tuple[Callable[[], Any], dict[str, Any], Callable[[], list[Condition]]]] = {
    "dit": (dit, {"guidance_scale": 4.0}, _labels),
    "class-conditional unet": (class_conditional, {"guidance_scale": None}, _labels),
    "consistency model": (consistency, {"guidance_scale": None}, _labels),
    "stable diffusion image to image": (image_to_image, _STRENGTH, _images),
    "stable diffusion inpainting": (inpainting, {**_STRENGTH, "strength": 1.0}, _masked),
    "stable diffusion inpainting, 4 channels": (lambda: inpainting(4), _STRENGTH, _masked),
    "deepfloyd if image to image": (if_image_to_image, _STRENGTH, _images),
    "stable diffusion xl image to image": (
        like(tiny.stable_diffusion_xl, d.StableDiffusionXLImg2ImgPipeline),
        _STRENGTH,
        _images,
    ),
    "stable diffusion xl inpainting": (xl_inpainting, _STRENGTH, _masked),
    "stable diffusion 3 image to image": (
        like(tiny.stable_diffusion_3, d.StableDiffusion3Img2ImgPipeline),
        _HALF,
        _images,
    ),
    "flux image to image": (like(tiny.flux, d.FluxImg2ImgPipeline), _HALF, _images),
    "kandinsky 2.2 image to image": (
        like(tiny_multistage.kandinsky_2_2, d.KandinskyV22Img2ImgCombinedPipeline),
        {**_STRENGTH, "height": 64, "width": 64},
        lambda: [Condition(image=picture(n, 64)) for n in range(3)],
    ),
    "kandinsky 3 image to image": (
        like(tiny_multistage.kandinsky_3, d.Kandinsky3Img2ImgPipeline),
        _STRENGTH,
        _images,
    ),
    # one image a call: its scheduler draws the noise of a whole batch from the first generator
    "repaint": (
        repaint,
        {
            "height": 32,
            "width": 32,
            "guidance_scale": None,
            "call_options": _JUMPS,
            "batch_size": 1,
            "cpu_batch": 1,
        },
        _masked_32,
    ),
}


def make(name: str, seed: int = 0) -> Any:
    """Return the pipeline with weights drawn from ``seed``."""
    torch.manual_seed(seed)
    return CONDITIONED[name][0]()
