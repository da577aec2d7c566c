"""Serve the annotators' page: the page, its pictures, and one route that writes."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import TypedDict

from memcore.annotate.gallery import TOP, Gallery
from memcore.errors import ArgumentValueError, DamagedFileError, MissingExtraError, RunError
from memcore.runs.annotations import ANNOTATORS, Annotations

try:
    import uvicorn
    from fastapi import FastAPI, HTTPException
    from fastapi.exceptions import RequestValidationError
    from fastapi.responses import HTMLResponse, PlainTextResponse, Response
    from pydantic import BaseModel, ConfigDict, Field, StrictInt, StrictStr
    from starlette.requests import Request
except ImportError as error:
    raise MissingExtraError(error.name or "fastapi", "annotate", "The annotation page") from None

from memcore.annotate.access import Access
from memcore.annotate.timed_protocol import TimedProtocol

_STATIC = {"page.js": "text/javascript", "page.css": "text/css"}
_ENTERED = '<!DOCTYPE html><meta charset="utf-8"><meta http-equiv="refresh" content="0; url=/"><title>memcore</title>'
_CLOSED = (
    '<!DOCTYPE html><html lang="en"><meta charset="utf-8"><title>memcore</title><link rel="stylesheet" href="/page.css">'
    '<main class="end"><h1>Open your own link</h1><p>Each annotator has a link of their own, which memcore annotate '
    "prints when it starts. It changes with every start; answers that wait in this browser are sent when you open the "
    "new one.</p></main></html>"
)


class Event(BaseModel):
    """What the page sends: an answer for an item, or null to withdraw it. ``key`` makes a repetition harmless."""

    model_config = ConfigDict(extra="forbid")

    key: StrictStr = Field(pattern=r"^[!-~]{1,64}$")
    item: StrictInt = Field(ge=0, lt=1 << 31)
    label: StrictStr | None


class ShownItem(TypedDict):
    """An item as the page gets it: pictures by number."""

    prompt: str
    size: int
    generations: tuple[int, ...]
    training: tuple[int, ...]
    given: tuple[int, ...]


class State(TypedDict):
    """What the page needs to start: the items, and the (item, label) that this annotator gave so far."""

    annotator: int
    run: str
    items: list[ShownItem]
    given: list[tuple[int, str]]


def make_application(gallery: Gallery, annotations: Annotations, access: Access) -> FastAPI:
    """Return the routes. Each annotator sees the items and their own answers, and nothing else."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.middleware("http")(access.guard)

    @app.exception_handler(RequestValidationError)
    async def refuse(request: Request, error: Exception) -> Response:
        """Answer without repeating what was sent: it may hold numbers or letters that no JSON can."""
        return PlainTextResponse(
            "The body must be an object with key, item and label, as the page sends it.", 422
        )

    _add_page(app, access)
    _add_data(app, gallery, annotations, access)
    return app


def _add_page(app: FastAPI, access: Access) -> None:
    """Add the routes of the page itself, which an annotator enters by their link."""

    @app.get("/enter")
    def enter(token: str = "") -> Response:
        annotator = access.enter(token)
        if annotator is None:
            return HTMLResponse(_CLOSED, 403)
        # The next request starts from this page, so that a strict cookie goes with it wherever the link was opened.
        response = HTMLResponse(_ENTERED)
        response.set_cookie(
            access.cookie, access.session(annotator), httponly=True, samesite="strict", path="/"
        )
        return response

    @app.get("/")
    def page(request: Request) -> Response:
        if access.annotator(request) is None:
            return HTMLResponse(_CLOSED, 403)
        return HTMLResponse(_static("page.html"))

    @app.get("/favicon.ico")
    def icon() -> Response:
        """Answer every browser's question for an icon: there is none, and an error in its console would be noise."""
        return Response(status_code=204)

    @app.get("/page.{kind}")
    def static(kind: str) -> Response:
        name = f"page.{kind}"
        if name not in _STATIC:
            raise HTTPException(404)
        return Response(_static(name), media_type=_STATIC[name])


def _add_data(app: FastAPI, gallery: Gallery, annotations: Annotations, access: Access) -> None:
    """Add the routes that the page reads items from and sends answers to."""
    last: dict[int, dict[int, str]] = {annotator: annotations.labels(annotator) for annotator in ANNOTATORS}

    def read_labels(annotator: int) -> dict[int, str]:
        """Return the labels so far; while another program locks the file, those of the last time that it was free."""
        with contextlib.suppress(RunError):
            last[annotator] = annotations.labels(annotator)
        return last[annotator]

    def require_annotator(request: Request) -> int:
        annotator = access.annotator(request)
        if annotator is None:
            raise HTTPException(403, "Open the link that memcore annotate printed.")
        return annotator

    @app.get("/state", response_model=None)
    def state(request: Request) -> State:
        annotator = require_annotator(request)
        items: list[ShownItem] = [
            {
                "prompt": s.prompt,
                "size": s.size,
                "generations": s.generations,
                "training": s.training,
                "given": s.given,
            }
            for s in gallery.items
        ]
        given = [(item, label) for item, label in read_labels(annotator).items() if item < len(items)]
        return {"annotator": annotator, "run": gallery.digest, "items": items, "given": given}

    @app.get("/image/{number}")
    def image(number: str, request: Request) -> Response:
        require_annotator(request)
        if not (number.isascii() and number.isdecimal() and len(number) < 10):
            raise HTTPException(404)
        try:
            data = gallery.read(int(number))
        except DamagedFileError as error:  # nobody is shown a picture that is not the run's
            raise HTTPException(500, str(error)) from None
        if data is None:
            raise HTTPException(404)
        return Response(data, media_type="image/png", headers={"Cache-Control": "private, max-age=3600"})

    @app.post("/event")
    def event(sent: Event, request: Request) -> dict[str, bool]:
        annotator = require_annotator(request)
        try:
            annotations.append(sent.key, annotator, sent.item, sent.label)
        except ArgumentValueError as error:
            raise HTTPException(422, str(error)) from None
        except RunError as error:  # a full disk, a lock: the page keeps the answer and sends it again
            raise HTTPException(503, str(error)) from None
        return {"saved": True}


def serve(
    run: Path, *, port: int = 0, top: int = TOP, ready: Callable[[dict[int, str]], None] = lambda links: None
) -> None:
    """Serve the page on 127.0.0.1 until interrupted. ``ready`` gets each annotator's link.

    ``port`` 0 takes a free one. Raises RunError (no finished and matched run, nothing found, another run's file, a port
    that is taken), MissingExtraError.
    """
    gallery = Gallery(Path(run), top=top)
    order = [(shown.prompt_id, shown.clique) for shown in gallery.items]
    made = Annotations.create(Path(run), gallery.digest, order, gallery.shown_digest)
    with made as annotations, _listening(port) as listener:
        access = Access(int(listener.getsockname()[1]))
        app = make_application(gallery, annotations, access)
        # No access log: it would hold the links.
        config = uvicorn.Config(
            app,
            http=TimedProtocol,
            log_level="warning",
            access_log=False,
            server_header=False,
            lifespan="off",
        )
        server = uvicorn.Server(config)
        ready({annotator: access.link(annotator) for annotator in ANNOTATORS})
        server.run(sockets=[listener])


@contextlib.contextmanager
def _listening(port: int) -> Iterator[socket.socket]:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError as error:
            raise RunError(
                f"port {port} cannot be used ({error.strerror}): choose another with --port"
            ) from None
        listener.listen(64)
        yield listener


def _static(name: str) -> str:
    return files("memcore.annotate").joinpath(name).read_text("utf-8")
