"""``memcore serve-model``."""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import secrets
import signal

from memcore.commands import _options
from memcore.commands._answer import DONE, Answer
from memcore.errors import ConfigError
from memcore.system.console import write, write_error

NAME = "serve-model"
HELP = "serve a model over HTTP, for an audit by --sampler http"
EXAMPLES = ("memcore serve-model FOLDER --steps 50 --guidance-scale 7.5 --token env:MODEL_TOKEN",)
#: The options of a run's configuration that decide which images a model makes.
_MODEL = (
    *("variant", "revision", "model_config", "adapter", "scheduler", "sampler", "sampler_options"),
    *("steps", "guidance_scale"),
    *("batch_size", "height", "width", "strength", "dtype", "device"),
)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the model, how it makes images, and where it is served."""
    parser.add_argument(
        "model",
        nargs="?",
        default="",
        metavar="FOLDER",
        help="a diffusers pipeline (or its name on the hub); none with --sampler",
    )
    _options.add_fields(parser, "what makes the images", "As of memcore audit.", _MODEL)
    group = parser.add_argument_group("where it is served")
    group.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    group.add_argument(
        "--port", type=int, default=8766, help="port; 0 takes a free one (default: %(default)s)"
    )
    group.add_argument(
        "--token",
        metavar="env:NAME|file:PATH",
        help="where the token is that clients must send (default: one is made and printed)",
    )
    group.add_argument(
        "--workers", type=int, help="processes with a model each (default: one a processor; on a GPU one)"
    )


def run(arguments: argparse.Namespace) -> Answer | int:
    """Serve the model until it is interrupted."""
    from memcore.audit.source import check_model
    from memcore.commands._checks import check_positive
    from memcore.runs.config_file import from_mapping
    from memcore.system.cpus import processors
    from memcore.system.credentials import is_reference, resolve

    check_positive(arguments, "workers")
    if not 0 <= arguments.port < 65536:
        raise ConfigError(f"port must be 0 to 65535, got {arguments.port}")
    if bool(arguments.model) == bool(arguments.sampler):
        raise ConfigError("give the model's FOLDER, or --sampler module:attribute instead")
    if arguments.token is not None and not is_reference(arguments.token):
        raise ConfigError(
            "token is in clear, which other users of this machine can see in the command: give env:NAME or file:PATH"
        )
    given = {name: getattr(arguments, name) for name in _MODEL if getattr(arguments, name) is not None}
    source = "custom" if arguments.sampler else "diffusers"
    config = from_mapping({**given, "model": arguments.model, "source": source})
    if arguments.model:
        check_model(config.model)
    token = secrets.token_urlsafe(32)
    if arguments.token is not None:
        token = str(resolve({"token": arguments.token})["token"])
    workers = arguments.workers or (processors() if config.device == "cpu" else 1)
    from memcore.serve.models import make_sampler
    from memcore.serve.server import serve

    def ready(address: str) -> None:
        made = None if arguments.token is not None else token
        if arguments.json:
            write(json.dumps({"address": address, "token": made}))
            return
        write(f"address: {address}")
        if made is not None:
            write(f"token: {made}")
        write_error("The model is served. Ctrl-C ends.")

    signal.signal(signal.SIGINT, signal.default_int_handler)  # Ctrl-C is how this command ends
    with contextlib.suppress(KeyboardInterrupt):
        serve(
            functools.partial(make_sampler, config),
            workers=workers,
            batch=config.batch_size,
            token=token,
            host=arguments.host,
            port=arguments.port,
            ready=ready,
        )
    return DONE
