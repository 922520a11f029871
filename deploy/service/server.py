"""Start-up and shutdown of the service process: what may be served, on which socket, until which signal."""

import asyncio
import logging
import os
import signal
import socket
from argparse import Namespace
from collections.abc import Callable
from functools import partial
from math import ceil
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from configs.serving import ServeSettings
from data_contracts.errors import ConfigurationError, ResourceInsufficient, TingsuError
from deploy import bundle, generation, keys
from deploy.client import Client
from deploy.memory import memory
from deploy.operate import ports
from deploy.service import logs
from deploy.service.access import Access
from deploy.service.admin import Desk, Opener
from deploy.service.answers import Served
from deploy.service.app import create_app
from deploy.service.child import Loader
from deploy.service.classifier import Classifier
from deploy.service.generator import Generator, ServedText
from deploy.service.live import Live, read
from deploy.service.loading import Loading
from deploy.service.metrics import Metrics
from deploy.service.mirror import Mirror
from deploy.service.protocol import patient
from deploy.service.reading import Reading
from deploy.service.slot import Slot
from deploy.service.slots import Slots

log = logging.getLogger(__name__)
BACKLOG = 2048
MIRROR_KEY = "TINGSU_MIRROR_KEY"


def serve(options: Namespace, loader: Loader) -> None:
    """Serve until SIGTERM or SIGINT; requests being answered are finished first.

    Raises:
        TingsuError: the bundle may not or cannot be served, or the port is held.
    """
    settings = read(options.home, tuple(options.set))
    logs.to_stderr(settings.log, options.home / "logs")
    host = options.host or settings.serve.host
    access = _door(host, options, settings.serve)
    opener = _opener(options, settings.serve)
    first, text = _first(options, settings.serve, opener), _first_text(options, settings.serve)
    with _bind(host, options.port) as listener:
        slots = _slots(first, text, settings.serve, loader)
        live = Live(options.home, settings, slots.tune)
        desk = Desk(opener, partial(_mirrored, options.home))
        _run(partial(create_app, slots, live, access, desk), slots, live, access, listener)


def _slots(first: Served | None, text: ServedText | None, settings: ServeSettings, loader: Loader) -> Slots:
    metrics, reading = Metrics(), Reading()
    make = partial(Classifier, loader=loader, metrics=metrics, reading=reading)
    slot = None if first is None else Slot(first, Loading(make, memory), settings, Mirror(metrics))
    return Slots(slot, None if text is None else Generator(text, settings, loader, metrics, reading), metrics)


def _first(options: Namespace, settings: ServeSettings, opener: Opener) -> Served | None:
    """What classifies: the bundle given, else that of `serve.model_path` (MODEL_PATH); none where there is one that generates."""
    chosen = options.bundle or settings.model_path
    if chosen is None and (options.generate or settings.generate.path):
        return None
    if chosen is None:
        raise ConfigurationError(
            "there is nothing to serve; give --bundle FOLDER or set serve.model_path, give --generate FOLDER or set "
            "serve.generate.path, or both"
        )
    return opener(Path(chosen), options.version)


def _first_text(options: Namespace, settings: ServeSettings) -> ServedText | None:
    """What generates, if anything does."""
    chosen = options.generate or settings.generate.path
    if chosen is None:
        return None
    folder = Path(chosen).absolute()
    if not folder.is_dir():
        raise ConfigurationError(f"generation bundle {str(chosen)!r} is not a folder; ./tingsu import PATH makes one")
    found = generation.open(folder)
    verdict = None if options.evaluation else generation.permit(found, bundle.public_key(options.home))
    return ServedText(found, verdict)


def _opener(options: Namespace, serve: ServeSettings) -> Opener:
    """What may be served, at the start and by a reload: a permitted bundle, or any under evaluation."""

    def opened(folder: Path, version: int | None) -> Served:
        if not os.path.isdir(folder):  # also of a name longer than a name may be
            raise ConfigurationError(
                f"bundle {str(folder)!r} is not a folder on this machine; give that of a bundle, bundles/DIGEST of the store"
            )
        found = bundle.open(folder.absolute())
        if serve.mode == "production" and found.facts.synthetic:
            raise ConfigurationError(
                f"bundle {found.digest[:12]} learned from generated calls, and serve.mode is production; "
                "train on real calls, or set serve.mode to development"
            )
        verdict = None if options.evaluation else bundle.admit(found, options.home)
        return Served(found, verdict, version)

    return opened


def _mirrored(home: Path, url: str) -> Client:
    """The other service that is asked too; it is shown the key in TINGSU_MIRROR_KEY, else this machine's own."""
    return Client(url, patience_s=0, key=os.environ.get(MIRROR_KEY) or keys.machine(home), side="mirror")


def _door(host: str, options: Namespace, serve: ServeSettings) -> Access:
    """Who is let in on this host."""
    is_public, is_production = not keys.is_loopback(host), serve.mode == "production"
    if options.evaluation and is_production:
        raise ConfigurationError(
            "--evaluation serves without a verdict, and serve.mode is production; leave one of them out"
        )
    if options.evaluation and is_public:
        raise ConfigurationError(
            f"--evaluation serves without a verdict and only on loopback, not on {host!r}; "
            "leave --host and serve.host out"
        )
    kept = keys.read(options.home)
    if is_public and not (kept and kept.keys):
        raise ConfigurationError(
            f"others than this machine could use the service on {host!r}, and {options.home} has no API key; make one: "
            "./tingsu keys add NAME --scope classify, or leave --host and serve.host out"
        )
    if is_production and not (kept and kept.keys):
        raise ConfigurationError(
            f"serve.mode is production, and {options.home} has no API key; make one: "
            "./tingsu keys add NAME --scope classify, or set serve.mode to development"
        )
    return Access(options.home, is_public or is_production)


class _Server(uvicorn.Server):
    """Gives a reload up when it has to stop, instead of waiting for its answer; a text has until the deadline of the other requests,
    and then is told, instead of being cancelled without a word."""

    def __init__(self, config: uvicorn.Config, slots: Slots, live: Live) -> None:
        super().__init__(config)
        self._slots, self._live = slots, live

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._slots.abandon()
        deadline_s = self._live.serve.deadline_s
        asyncio.get_running_loop().call_later(deadline_s, self._slots.cut)
        self.config.timeout_graceful_shutdown = ceil(deadline_s) + 1
        await super().shutdown(sockets)


def _run(made: Callable[..., FastAPI], slots: Slots, live: Live, access: Access, listener: socket.socket) -> None:
    fatal: list[TingsuError] = []

    def stop(error: TingsuError) -> None:
        fatal.append(error)
        server.should_exit = True

    config = uvicorn.Config(
        made(on_fatal=stop),
        http=patient(lambda: live.serve.client_timeout_s),
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        headers=[] if live.serve.keep_alive else [("Connection", "close")],
        backlog=BACKLOG,
    )
    server = _Server(config, slots, live)
    # uvicorn raises the signal it stopped for once more when it is done; these let that end in exit code 0.
    signal.signal(signal.SIGTERM, _done)
    signal.signal(signal.SIGINT, _done)
    host, port = listener.getsockname()[:2]
    log.info(
        "listening",
        extra={
            "url": f"http://{ports.bracketed(host)}:{port}",
            "model_version": slots.version,
            "evaluation": slots.is_evaluation,
            "keys": not access.is_open,
        },
    )
    server.run(sockets=[listener])
    if fatal:
        raise fatal[0]


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sends an answer's body without waiting 40 ms for the client to acknowledge the headers only on a socket named TCP.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        listener.setsockopt(
            socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0
        )  # on :: it hears 127.0.0.1, whatever the system's default
    try:
        listener.bind((host, port))
    except (OverflowError, UnicodeError) as error:
        listener.close()
        raise ConfigurationError(
            f"cannot listen on {host!r}, port {port}; a port is a number from 0 to 65535, and serve.host a name or an address"
        ) from error
    except OSError as error:
        listener.close()
        raise ResourceInsufficient(
            f"cannot listen on {host}:{port}: {error.strerror}; stop what holds it, or choose another port"
        ) from error
    return listener


def _done(*_: object) -> None:
    """Already stopped."""
