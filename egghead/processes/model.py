"""Process `models/<name>`: one GGUF file, loaded by llama.cpp in this process and served on a unix socket.

The only place where native model code is loaded, and the only process that has nothing to do with the bus: it reads its
file, listens on its socket in a directory that the process `llm` sees, and knows nothing else. What it serves is
llama.cpp's own HTTP API. A crash of it is the end of this process and of no other.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import select
from pathlib import Path
from typing import TYPE_CHECKING, Any

from egghead.processes.common import BEAT_EVERY, configure_logging

if TYPE_CHECKING:
    from supervisor import Context

logger = logging.getLogger("egghead.model")

PING = 15  # seconds after which a reader of a silent stream is told that somebody is there
BATCH = 32  # tokens of a prompt that are read at once; between two batches it can be told to stop
ERRORS = 1  # llama.cpp's `verbosity`: what it says at higher ones may hold what was asked

_servers: list[Any] = []  # held to the end of the process: taking one apart waits for the answers in progress


def main(context: Context, window: int, slots: int, threads: int = 0) -> None:
    """`window`: tokens of one conversation, of which there are `slots` at once. `handover["model"]`: {file, socket}."""
    configure_logging(context.name)
    given = context.handover["model"]
    with contextlib.suppress(FileNotFoundError):
        Path(given["socket"]).unlink()  # of a life before, which left it when it was killed
    began = os.times().elapsed
    _servers.append(_load(given["file"], given["socket"], window, slots, threads))
    logger.info("ready after %.1f s: %d conversations of %d tokens", os.times().elapsed - began, slots, window)
    context.ready(window=window, slots=slots)
    _until_stopped(context)


def _load(file: str, socket: str, window: int, slots: int, threads: int) -> Any:
    try:
        xllamacpp = importlib.import_module("xllamacpp")  # here and nowhere else; an extra that may not be there
    except ImportError as error:
        raise SystemExit(f"llama.cpp cannot be loaded ({error}): pip install 'egghead[local]'") from None
    params = xllamacpp.CommonParams()
    params.model.path = file
    params.hostnames = [socket]  # a path that ends in .sock: no port is opened
    params.n_ctx, params.n_parallel = window * slots, slots
    params.n_predict = window
    params.n_batch = params.n_ubatch = BATCH
    params.kv_unified = False  # a conversation has its window, whatever the others take
    params.fit_params = False  # else it may take a smaller window than we tell the agents
    params.cache_ram_mib = 0  # up to 8 GiB by default
    params.warmup = params.ui = False
    params.offline = True
    params.sse_ping_interval = PING
    params.verbosity = ERRORS
    count = threads or len(os.sched_getaffinity(0))
    for processors in (params.cpuparams, params.cpuparams_batch):
        processors.n_threads = count
        processors.poll = 0  # waiting threads sleep: the node has other work for the processors
    try:
        return xllamacpp.Server(params)
    except RuntimeError as error:
        raise SystemExit(f"llama.cpp cannot load {Path(file).name!r}: {error}") from None


def _until_stopped(context: Context) -> None:
    """Beat until the root says stop or is gone."""
    poll = select.poll()
    poll.register(context.fileno(), select.POLLIN)
    while True:
        context.beat()
        if poll.poll(BEAT_EVERY * 1000):
            try:
                if any("stop" in message for message in context.receive()):
                    return
            except EOFError:
                return
