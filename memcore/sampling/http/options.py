"""The options of a model behind HTTP: what of them makes headers and a protocol, and which contradict the server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from memcore import arrays
from memcore.errors import ConfigError
from memcore.sampling.http.endpoint import Endpoint
from memcore.sampling.http.protocols import ImagesApi, Shape, take_extra
from memcore.sampling.seeds import MOST_SEED_BITS


def make_headers(token: str | None, header: str) -> dict[str, str]:
    """Return the headers that carry a token; none without one."""
    if not isinstance(header, str) or not header.replace("-", "").isalnum() or not header.isascii():
        raise ConfigError(f"token_header must be the name of a header, got {header!r}")
    if token is None:
        return {}
    return {header: f"Bearer {token}" if header.lower() == "authorization" else token}


def make_images_api(
    endpoint: Endpoint,
    model: str,
    height: int | None,
    width: int | None,
    seeds: bool,
    seed_bits: int,
    per_request: int | None,
    body: Mapping[str, Any] | None,
) -> ImagesApi:
    """Return the images API of these options. Raises ConfigError, naming the option, for one that cannot be used."""
    if height is None or width is None:
        raise ConfigError(
            "height and width are missing: with protocol='images' give the size of the images in pixels"
        )
    for name, value in (("height", height), ("width", width)):
        arrays.check_count(value, name, 1, 8192)
    if not isinstance(seeds, bool):
        raise ConfigError(f"seeds must be true or false, got {seeds!r}")
    if not isinstance(model, str):
        raise ConfigError(f"model must be the name of a model, got {type(model).__name__}")
    bits = arrays.check_count(seed_bits, "seed_bits", 1, MOST_SEED_BITS) if seeds else None
    if bits is not None and (per_request or 1) > 1:
        raise ConfigError("per_request must be 1 where the server takes seeds: a request has one seed")
    return ImagesApi(endpoint, (height, width, 3), bits, model, per_request or 1, take_extra(body or {}))


def check_told(
    shape: Shape, height: int | None, width: int | None, model: str, body: Mapping[str, Any] | None
) -> None:
    """Refuse options that the server decides, if it has decided otherwise."""
    if (height or shape[0], width or shape[1]) != shape[:2]:
        raise ConfigError(
            f"height={height} and width={width} are given, but the server makes images of {shape[0]}x{shape[1]}"
        )
    if model or body:
        raise ConfigError(
            "model and body are of protocol='images': the server of protocol='memcore' has one model"
        )
