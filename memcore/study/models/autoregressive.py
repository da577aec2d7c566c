"""A small image-autoregressive model: a vector-quantised autoencoder, and a transformer over its tokens.

van den Oord et al. 2017 (arXiv 1711.00937); Esser et al. 2021 (arXiv 2012.09841).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from memcore.errors import ConfigError
from memcore.study.models.generator import NetGenerator, seeded
from memcore.study.protocols.protocol import Factors

#: Entries of the codebook, and their length.
CODES, CODE = 128, 16
#: Tokens on a side, where the images have enough pixels.
_GRID = 8
_LAYERS, _HEADS = 3, 4
#: Width of the transformer, in widths of the model.
_BROAD = 3


def token_side(side: int) -> int:
    """Return how many tokens a side of an image has.

    >>> token_side(8), token_side(16), token_side(32)
    (4, 8, 8)
    """
    return side // patch(side)


def patch(side: int) -> int:
    """Return the pixels on a side of what one token stands for."""
    return max(2, side // _GRID)


def check_sides(shape: tuple[int, int, int]) -> None:
    """Raise ConfigError unless images of the shape can be cut into tokens."""
    if shape[0] != shape[1] or shape[0] < 4 or shape[0] % patch(shape[0]):
        raise ConfigError(
            f"an autoregressive model makes square images of whole tokens, got {shape[0]} x {shape[1]}: "
            "set side to 8, 16, 32, ..."
        )


class VectorQuantiser(nn.Module):
    """An autoencoder whose middle is a grid of entries of a codebook."""

    def __init__(self, width: int, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.patch = patch(shape[0])
        inner = shape[2] * self.patch**2
        self.encoder = nn.Sequential(
            nn.Conv2d(inner, 2 * width, 3, 1, 1),
            nn.SiLU(),
            nn.Conv2d(2 * width, 2 * width, 3, 1, 1),
            nn.SiLU(),
            nn.Conv2d(2 * width, CODE, 1),
        )
        self.decoder = nn.Sequential(
            nn.Conv2d(CODE, 2 * width, 3, 1, 1),
            nn.SiLU(),
            nn.Conv2d(2 * width, 2 * width, 3, 1, 1),
            nn.SiLU(),
            nn.Conv2d(2 * width, inner, 3, 1, 1),
        )
        self.codebook = nn.Embedding(CODES, CODE)
        #: How often training used each entry since it last looked at them.
        self.used: torch.Tensor
        self.register_buffer("used", torch.zeros(CODES))

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        """Return (n, CODE, h, w) of images (n, c, h, w): what the codebook's entries stand for."""
        found: torch.Tensor = self.encoder(F.pixel_unshuffle(images, self.patch))
        return found

    def tokens(self, encoded: torch.Tensor) -> torch.Tensor:
        """Return the nearest entries, (n, h, w)."""
        flat = encoded.permute(0, 2, 3, 1).reshape(-1, CODE)
        book = self.codebook.weight
        # |x - e|^2 without |x|^2, which does not decide
        far = book.square().sum(dim=1) - 2 * flat @ book.T
        return far.argmin(dim=1).view(len(encoded), *encoded.shape[2:])

    def quantise(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return (n, CODE, h, w) of tokens (n, h, w)."""
        entries: torch.Tensor = self.codebook(tokens)
        return entries.permute(0, 3, 1, 2)

    def decode(self, quantised: torch.Tensor) -> torch.Tensor:
        """Return images, about in [-1, 1]."""
        return F.pixel_shuffle(self.decoder(quantised), self.patch)


class TokenModel(nn.Module):
    """A transformer that predicts each token of a grid from those before it, row by row."""

    def __init__(self, width: int, tokens: int) -> None:
        super().__init__()
        broad = _BROAD * width
        self.start = CODES  # the token before the first
        self.embedding = nn.Embedding(CODES + 1, broad)
        self.places = nn.Parameter(torch.randn(tokens, broad) * 0.02)
        layer = nn.TransformerEncoderLayer(
            broad, _HEADS, 2 * broad, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, _LAYERS, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(broad)
        self.out = nn.Linear(broad, CODES)

    def forward(self, before: torch.Tensor) -> torch.Tensor:
        """Return the logits of each next token, (n, length, CODES), of what is before it, (n, length)."""
        length = before.shape[1]
        mask = torch.ones(length, length, dtype=torch.bool, device=before.device).triu(1)
        x = self.embedding(before) + self.places[:length]
        logits: torch.Tensor = self.out(self.norm(self.layers(x, mask=mask)))
        return logits

    def shift(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return what is before each token of (n, length)."""
        return F.pad(tokens[:, :-1], (1, 0), value=self.start)


class Autoregressive(nn.Module):
    """Both parts as one network of noise: the noise at a token decides which entry is drawn there."""

    def __init__(self, width: int, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.side = token_side(shape[0])
        self.quantiser = VectorQuantiser(width, shape)
        self.model = TokenModel(width, self.side**2)

    def forward(self, noise: torch.Tensor) -> torch.Tensor:
        """Return images of standard normal noise, (n, tokens, CODES), by the Gumbel trick."""
        uniform = torch.special.ndtr(noise.double()).clamp(1e-12, 1 - 1e-12)
        gumbel = -torch.log(-torch.log(uniform))
        before = torch.full((len(noise), 1), self.model.start, device=noise.device)
        for i in range(noise.shape[1]):
            logits = self.model(before)[:, -1].double()
            before = torch.cat([before, (logits + gumbel[:, i]).argmax(dim=1, keepdim=True)], dim=1)
        tokens = before[:, 1:].view(-1, self.side, self.side)
        return self.quantiser.decode(self.quantiser.quantise(tokens))


def new_autoregressive(factors: Factors, shape: tuple[int, int, int], seed: Sequence[int]) -> Autoregressive:
    """Return an untrained model, its weights drawn from ``seed``."""
    check_sides(shape)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seeded(seed))
        return Autoregressive(factors.width, shape)


def as_generator(net: Autoregressive, shape: tuple[int, int, int]) -> NetGenerator:
    """Return the network as what a study samples from."""
    return NetGenerator(net, shape, (net.side**2, CODES))
