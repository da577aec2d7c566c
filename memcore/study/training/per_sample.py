"""The gradient of each image alone, clipped and summed: what DP-SGD adds its noise to."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn
from torch.func import functional_call, grad_and_value, vmap

#: Images whose gradients are held at once.
CHUNK = 64


def small_part(net: nn.Module) -> dict[str, nn.Parameter]:
    """Return a small part of a net to train: biases, the scales of normalisations and the last convolution.

    References
    ----------
    Bu, Wang, Zha and Karypis 2022, "Differentially Private Bias-Term Fine-tuning of Foundation Models".
    """
    return {
        name: parameter
        for name, parameter in net.named_parameters()
        if parameter.ndim == 1 or name.startswith("conv_out.")
    }


def sample_gradients(
    net: nn.Module,
    trained: Mapping[str, torch.Tensor],
    noisy: torch.Tensor,
    times: torch.Tensor,
    target: torch.Tensor,
    scale: torch.Tensor | None = None,
) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Return the gradient of each image's own loss, and the losses.

    ``torch.func`` differentiates the net as it is, so that a layer of any kind is either right or refused: there is no rule
    for each layer that could be wrong of one.

    Parameters
    ----------
    net
        Called with (noisy, times).
    trained
        The parameters to differentiate by, by name; the others are constants.
    noisy, times, target
        (n, draws, c, h, w), (n, draws), (n, draws, c, h, w): the draws of an image make one loss, their mean.
    scale
        (n, draws, 1, 1, 1), what the net's output is multiplied with; None for 1.

    Returns
    -------
    dict, tensor
        For each name (n, *shape of the parameter); (n,) losses.

    Examples
    --------
    >>> class Shift(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.by = nn.Parameter(torch.zeros(1))
    ...     def forward(self, noisy, times, return_dict=False):
    ...         return (noisy + self.by,)
    >>> net, x = Shift(), torch.tensor([1.0, 3.0]).view(2, 1, 1, 1, 1)
    >>> gradients, _ = sample_gradients(net, dict(net.named_parameters()), x, torch.zeros(2, 1), torch.zeros_like(x))
    >>> gradients["by"].flatten().tolist()
    [2.0, 6.0]
    """
    moving = {name: tensor.detach() for name, tensor in trained.items()}
    fixed = {name: p.detach() for name, p in net.named_parameters() if name not in moving}
    factor = torch.ones_like(target[..., :1, :1, :1]) if scale is None else scale

    def loss(
        held: dict[str, torch.Tensor], x: torch.Tensor, t: torch.Tensor, y: torch.Tensor, f: torch.Tensor
    ) -> torch.Tensor:
        out = functional_call(net, {**held, **fixed}, (x, t), {"return_dict": False})[0]
        mean: torch.Tensor = (f * out - y).square().mean()
        return mean

    gradients, losses = vmap(grad_and_value(loss), in_dims=(None, 0, 0, 0, 0))(
        moving, noisy, times, target, factor
    )
    return gradients, losses


def clipped_sum(gradients: Mapping[str, torch.Tensor], clip: float) -> dict[str, torch.Tensor]:
    """Return the sum over the images of their gradients, each scaled down to a norm of at most ``clip`` over all parameters.

    >>> summed = clipped_sum({"w": torch.tensor([[3.0, 4.0], [0.3, 0.4]])}, 1.0)
    >>> [round(v, 6) for v in summed["w"].tolist()]
    [0.9, 1.2]
    """
    squares = [g.flatten(1).square().sum(dim=1) for g in gradients.values()]
    norms = torch.stack(squares).sum(dim=0).sqrt()
    share = (clip / norms.clamp_min(1e-12)).clamp_max(1.0)
    return {name: torch.tensordot(share, g, dims=1) for name, g in gradients.items()}
