"""Serve a model: memcore's own protocol and the images API, over the same processes."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import secrets
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any, Literal, TypeAlias

from memcore.conditions import Condition
from memcore.errors import MemcoreError, MissingExtraError, RunError, TransientError
from memcore.runs.pictures import png_bytes
from memcore.sampling.http.given import read_condition
from memcore.serve.access import Guard
from memcore.serve.models import Made, Make, ModelProcesses, Served
from memcore.system.credentials import redact
from memcore.types import Request

try:
    import uvicorn
    from fastapi import FastAPI
    from fastapi.exceptions import RequestValidationError
    from fastapi.responses import JSONResponse
    from pydantic import BaseModel, ConfigDict, Field, StrictInt, StrictStr
except ImportError as error:
    raise MissingExtraError(error.name or "fastapi", "serve", "memcore serve-model") from None

#: Images of the largest request, and letters of the longest prompt.
MOST_IMAGES, MOST_LETTERS = 1024, 100_000
#: Letters of the largest given picture: 48 MB in base64.
MOST_PICTURE = 1 << 26
#: The version of memcore's own protocol, as in ``memcore.sampling.http.protocols``.
VERSION = 1

Prompt = Annotated[StrictStr, Field(max_length=MOST_LETTERS)]
#: A picture's file in base64.
Picture = Annotated[StrictStr, Field(max_length=MOST_PICTURE)]
#: A prompt, its seed and its condition.
Wanted: TypeAlias = tuple[str, int | None, Condition | None]
Seed = Annotated[StrictInt, Field(ge=0, lt=1 << 63)]


class WantedImage(BaseModel):
    """An image of a request in memcore's protocol; without a seed, one is drawn."""

    model_config = ConfigDict(extra="forbid")

    prompt: Prompt
    seed: Seed | None = None
    label: StrictInt | None = None
    image: Picture | None = None
    mask: Picture | None = None

    def read(self) -> Wanted:
        """Return what is wanted. Raises Refusal for a condition that is none."""
        try:
            return self.prompt, self.seed, read_condition(self.label, self.image, self.mask)
        except (ValueError, MemcoreError) as error:
            raise Refusal(422, "condition", str(error)) from None


class WantedImages(BaseModel):
    """A request in memcore's protocol."""

    model_config = ConfigDict(extra="forbid")

    images: list[WantedImage] = Field(min_length=1, max_length=MOST_IMAGES)
    height: StrictInt | None = None
    width: StrictInt | None = None
    encoding: Literal["png", "raw"] = "png"


class Generation(BaseModel):
    """A request of the images API. Names that it does not know are ignored, as services do."""

    prompt: Prompt
    n: Annotated[StrictInt, Field(ge=1, le=MOST_IMAGES)] = 1
    size: StrictStr | None = None
    response_format: Literal["b64_json"] = "b64_json"
    seed: Seed | None = None


class Refusal(Exception):
    """An answer with a status, a code and a text."""

    def __init__(self, status: int, code: str, text: str) -> None:
        super().__init__(redact(text))
        self.status, self.code = status, code


def make_application(processes: ModelProcesses, batch: int) -> FastAPI:
    """Return the routes; ``batch`` is how many images a request had best ask for."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    served = processes.served
    threads = ThreadPoolExecutor(max_workers=len(processes))

    async def make(wanted: Sequence[Wanted], encode: Callable[[Made], Any]) -> Any:
        """Return what ``encode`` makes of the images, without holding up other requests."""
        requests = [
            Request(number, prompt, _seed(seed, served), condition)
            for number, (prompt, seed, condition) in enumerate(wanted)
        ]
        for request in requests:
            _check_condition(request, served)
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(threads, lambda: encode(processes.sample(requests)))
        except TransientError as error:
            raise Refusal(503, "busy", str(error)) from None
        except MemcoreError as error:
            raise Refusal(500, "sampler", str(error)) from None

    @app.exception_handler(Refusal)
    async def refuse(request: Any, error: Refusal) -> JSONResponse:
        headers = {"Retry-After": "1"} if error.status == 503 else {}
        return JSONResponse(
            {"error": {"code": error.code, "message": str(error)}}, error.status, headers=headers
        )

    @app.exception_handler(RequestValidationError)
    async def refuse_form(request: Any, error: RequestValidationError) -> JSONResponse:
        """Say which part of a request is wrong, without repeating what was sent."""
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][1:]) or "body"
        return JSONResponse({"error": {"code": "request", "message": f"{where}: {first['msg']}"}}, 422)

    @app.get("/memcore/v1/model")
    def model() -> dict[str, Any]:
        return {
            "protocol": VERSION,
            "fingerprint": served.fingerprint,
            "image_shape": list(served.image_shape),
            "seed_bits": served.seed_bits,
            "batch": batch,
            "describe": served.describe,
            "conditions": list(served.conditions),
            "needed_conditions": list(served.needed_conditions),
            "masks_hide": served.masks_hide,
        }

    @app.post("/memcore/v1/images")
    async def images(wanted: WantedImages) -> JSONResponse:
        _check_size(wanted.height, wanted.width, served)
        raw = wanted.encoding == "raw"
        items = await make([i.read() for i in wanted.images], lambda made: _items(made, raw=raw))
        return JSONResponse({"images": items})

    @app.post("/v1/images/generations")
    async def generations(wanted: Generation) -> JSONResponse:
        if wanted.size not in (None, "auto"):
            width, _, height = wanted.size.partition("x") if wanted.size else ("", "", "")
            _check_size(_number(height), _number(width), served)
        seeds = [None if wanted.seed is None else wanted.seed + k for k in range(wanted.n)]
        items = await make([(wanted.prompt, seed, None) for seed in seeds], _generated)
        if (failed := items[0].get("error")) is not None and all("error" in item for item in items):
            raise Refusal(422, "sampler", failed)
        return JSONResponse({"created": int(time.time()), "data": items})

    return app


def serve(
    make: Make,
    *,
    workers: int,
    batch: int,
    token: str,
    host: str = "127.0.0.1",
    port: int = 0,
    ready: Callable[[str], None] = lambda address: None,
) -> None:
    """Serve what ``make`` makes in each of ``workers`` processes, until interrupted; ``ready`` gets the address.

    Raises WorkerError (a model that cannot be loaded), RunError (an address that cannot be used), MissingExtraError.
    """
    with _listening(host, port) as listener, contextlib.closing(ModelProcesses(make, workers)) as processes:
        number = int(listener.getsockname()[1])
        local = host in ("127.0.0.1", "localhost")
        hosts = tuple(f"{name}:{number}" for name in ("127.0.0.1", "localhost")) if local else None
        app = Guard(make_application(processes, batch), token, hosts)
        config = uvicorn.Config(
            app, log_level="warning", access_log=False, server_header=False, lifespan="off"
        )
        ready(f"http://{host}:{number}")
        uvicorn.Server(config).run(sockets=[listener])


@contextlib.contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    """Listen on the port from the beginning: whoever asks before the model is loaded waits for it."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            raise RunError(
                f"{host}:{port} cannot be used ({error.strerror or error}): choose another --host or --port"
            ) from None
        listener.listen(64)
        yield listener


def _seed(seed: int | None, served: Served) -> int:
    if seed is None:
        return secrets.randbits(served.seed_bits)
    if seed >> served.seed_bits:
        raise Refusal(422, "seed", f"seeds are below 2^{served.seed_bits}")
    return seed


def _check_size(height: int | None, width: int | None, served: Served) -> None:
    made = served.image_shape
    if (height or made[0], width or made[1]) != made[:2]:
        raise Refusal(422, "size", f"the model makes images of {made[0]}x{made[1]} (height x width)")


def _check_condition(request: Request, served: Served) -> None:
    """Refuse what the model would ignore, and what it cannot do without. A prompt may itself be a label."""
    given = () if request.condition is None else request.condition.kinds()
    for kind in given:
        if kind not in served.conditions:
            raise Refusal(422, "condition", f"the model takes no {kind}: its images would not depend on it")
    for kind in served.needed_conditions:
        if kind not in given and kind != "label":
            raise Refusal(
                422,
                "condition",
                f"the model makes images from a given {kind}: ask by /memcore/v1/images, which carries one",
            )


def _number(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and 0 < len(text) < 6):
        raise Refusal(422, "size", "size must be WIDTHxHEIGHT, for example 512x512")
    return int(text)


def _items(made: Made, *, raw: bool) -> list[dict[str, Any]]:
    """Return an item of an answer in memcore's protocol for each image."""
    items: list[dict[str, Any]] = []
    for index, pixels in enumerate(made.pixels):
        if index in made.failed:
            items.append({"error": {"code": "sampler", "message": redact(made.failed[index])}})
        elif made.broken[index]:
            items.append({"broken": "the sampler gave NaN, or nothing"})
        else:
            data = pixels.tobytes() if raw else png_bytes(pixels)
            item: dict[str, Any] = {"raw" if raw else "png": base64.b64encode(data).decode()}
            items.append(item | ({"flagged": True} if made.flagged[index] else {}))
    return items


def _generated(made: Made) -> list[dict[str, Any]]:
    """Return an item of an answer of the images API for each image."""
    items = []
    for item in _items(made, raw=False):
        if "error" in item:
            items.append({"b64_json": None, "error": item["error"]["message"]})
        else:
            items.append({"b64_json": item.get("png")})
    return items
