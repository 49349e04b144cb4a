"""What a server is told: models, where it listens, what it takes."""

from __future__ import annotations

import argparse
import dataclasses
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flaxner.config.command_line import path
from flaxner.config.fields import local_path
from flaxner.inference.aggregation import DECODERS, STRATEGIES
from flaxner.runs.paths import is_run

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9._-]+)?")


@dataclasses.dataclass(frozen=True)
class Settings:
    """What a server is told.

    Attributes:
      models: name -> folder or Hub name; the first one answers requests that name none.
      host, port: where it listens; port 0 is one that is free.
      strategy, decoder: of requests that name none; decoder None: as `flaxner.pipeline` has it.
      device, dtype: as `flaxner.pipeline` has them.
      max_body: bytes of a request's body.
      max_texts: texts, or sentences of words, in one request.
      max_length: characters of one text, a word counted with the space after it.
      queue: requests that may wait; one more is answered 429.
      timeout: seconds from a request's begin to its answer; then 503.
      wait_ms: milliseconds that a busy server waits for more texts to share a pass with.
      grace: seconds that requests have to end after SIGTERM.
      cors_origins: pages of other origins that browsers may let ask.
      log_texts: whether texts stand in the log.
    """

    models: dict[str, str]
    host: str = "127.0.0.1"
    port: int = 8000
    strategy: str = "word"
    decoder: str | None = None
    device: str | None = None
    dtype: str | None = None
    max_body: int = 2**20
    max_texts: int = 1000
    max_length: int = 50_000
    queue: int = 256
    timeout: float = 30.0
    wait_ms: float = 2.0
    grace: float = 30.0
    cors_origins: tuple[str, ...] = ()
    log_texts: bool = False

    def __post_init__(self) -> None:
        if not self.models:
            raise ValueError("a server needs a model: --model FOLDER_OR_HUB_NAME")
        lowest = {"max_body": 1, "max_texts": 1, "max_length": 1, "queue": 1, "port": 0}
        for name, low in lowest.items():
            if getattr(self, name) < low:
                raise ValueError(f"{name} must be at least {low}: got {getattr(self, name)}")
        for name, value in (("timeout", self.timeout), ("grace", self.grace)):
            if not 0 < value < math.inf:
                raise ValueError(f"{name} must be a number of seconds above 0: got {value}")
        if not 0 <= self.wait_ms <= 1000:
            raise ValueError(f"wait_ms must be from 0 to 1000: got {self.wait_ms}")
        if self.port > 65535:
            raise ValueError(f"port must be at most 65535: got {self.port}")
        for origin in self.cors_origins:
            if not re.fullmatch(r"\*|https?://[^/\s]+", origin):
                raise ValueError(
                    f"cors_origins must be * or origins such as https://example.org: got {origin!r}"
                )


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of serve.py."""

    def add(flag: str, help: str, **options: Any) -> None:
        name = flag[2:].replace("-", "_")
        default = options.setdefault("default", getattr(Settings, name, None))
        shown = f" (default: {default})" if default not in (None, ()) else ""
        parser.add_argument(flag, help=help + shown, **options)

    add("--model", "folder or Hub name, alone or as NAME=FOLDER; may be repeated; the first "
        "answers requests that name none", action="append", required=True,
        metavar="[NAME=]MODEL")  # fmt: skip
    add("--host", "address to listen at; 0.0.0.0 is every one of this machine")
    add("--port", "0 is one that is free", type=int)
    add("--strategy", "of requests that name none", choices=STRATEGIES)
    add("--decoder", "of requests that name none", choices=DECODERS)
    add("--device", "cpu, gpu or tpu; all devices if not given", type=path)
    add("--dtype", "of the computation: float32, bfloat16, float16 or auto")
    add("--max-body", "bytes of a request", type=int, metavar="BYTES")
    add("--max-texts", "texts of a request", type=int, metavar="N")
    add("--max-length", "characters of a text", type=int, metavar="N")
    add("--queue", "requests that may wait; one more is answered 429", type=int, metavar="N")
    add("--timeout", "seconds until an answer; then 503", type=float, metavar="SECONDS")
    add("--wait-ms", "how long a busy server waits for texts to share a pass with", type=float,
        metavar="MS")  # fmt: skip
    add("--grace", "seconds that requests have to end after SIGTERM", type=float,
        metavar="SECONDS")  # fmt: skip
    parser.add_argument(
        "--cors-origin", action="append", default=[], dest="cors_origins", metavar="ORIGIN",
        help="pages of this origin may ask; may be repeated (default: none)",
    )  # fmt: skip
    parser.add_argument(
        "--log-texts", action="store_true", help="texts stand in the log (default: they do not)"
    )


def named(given: Sequence[str]) -> dict[str, str]:
    """The values of --model -> name -> folder or Hub name.

    Raises:
      ValueError: a name given twice, or a value that is a folder and NAME=FOLDER at once.
    """
    models: dict[str, str] = {}
    for value in given:
        name, sign, place = value.partition("=")
        pair = bool(sign and NAME.fullmatch(name) and place)
        if pair and Path(value).exists():
            raise ValueError(
                f"--model {value!r} is a folder, and reads as NAME=FOLDER: write ./{value} for the "
                "folder"
            )
        place = local_path(place if pair else value)
        name = name if pair else own_name(place)
        if name in models:
            raise ValueError(f"two models are called {name!r}: name one, --model NAME={place}")
        models[name] = place
    return models


def own_name(place: str) -> str:
    """What a model is called that was given no name: its folder's, a run's for its hub/."""
    folder = Path(place)
    if not folder.is_dir():
        return place
    whole = folder.resolve()
    return (whole.parent if is_run(whole.parent) else whole).name
