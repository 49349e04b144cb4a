"""The settings of a server: its models, its address and its limits."""

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
    """The settings of a server.

    Attributes:
      models: name -> folder or Hub name; the first one answers requests that name no model.
      host, port: the address to listen on; port 0 picks a free one.
      strategy, decoder: defaults for requests that set none; decoder None: `flaxner.pipeline`'s.
      device, dtype: as in `flaxner.pipeline`.
      max_body: maximum size of a request body, in bytes.
      max_texts: maximum number of texts, or of sentences of words, per request.
      max_length: maximum number of characters per text; each word counts with a space after it.
      queue: maximum number of waiting requests; further ones are answered with 429.
      timeout: seconds from the start of a request until it is answered with 503.
      wait_ms: milliseconds that a busy server waits for more texts to share a pass.
      grace: seconds that requests have to finish after SIGTERM.
      cors_origins: other origins whose pages may send requests from a browser.
      log_texts: whether the log includes the texts.
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
            raise ValueError(f"wait_ms must be between 0 and 1000: got {self.wait_ms}")
        if self.port > 65535:
            raise ValueError(f"port must be at most 65535: got {self.port}")
        for origin in self.cors_origins:
            if not re.fullmatch(r"\*|https?://[^/\s]+", origin):
                raise ValueError(
                    f"cors_origins must be * or origins such as https://example.org: got {origin!r}"
                )


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of serve.py."""

    def add(flag: str, help: str, **options: Any) -> None:
        name = flag[2:].replace("-", "_")
        default = options.setdefault("default", getattr(Settings, name, None))
        shown = f" (default: {default})" if default not in (None, ()) else ""
        parser.add_argument(flag, help=help + shown, **options)

    add("--model", "folder or Hub name, optionally as NAME=MODEL; may be repeated; the first one "
        "answers requests that name no model", action="append", required=True,
        metavar="[NAME=]MODEL")  # fmt: skip
    add("--host", "address to listen on; 0.0.0.0 means all interfaces")
    add("--port", "port to listen on; 0 picks a free one", type=int)
    add("--strategy", "aggregation strategy for requests that set none", choices=STRATEGIES)
    add(
        "--decoder",
        "decoder for requests that set none (default: crf if the model has one, else viterbi)",
        choices=DECODERS,
    )
    add("--device", "cpu, gpu or tpu (default: all devices)", type=path)
    add("--dtype", "float32, bfloat16, float16 or auto (default: float32)")
    add("--max-body", "maximum size of a request body", type=int, metavar="BYTES")
    add("--max-texts", "maximum number of texts per request", type=int, metavar="N")
    add("--max-length", "maximum number of characters per text", type=int, metavar="N")
    add("--queue", "maximum number of waiting requests; further ones are answered with 429",
        type=int, metavar="N")  # fmt: skip
    add("--timeout", "answer a request with 503 after this time", type=float, metavar="SECONDS")
    add("--wait-ms", "how long a busy server waits for more texts to share a pass", type=float,
        metavar="MS")  # fmt: skip
    add("--grace", "how long requests have to finish after SIGTERM", type=float,
        metavar="SECONDS")  # fmt: skip
    parser.add_argument(
        "--cors-origin", action="append", default=[], dest="cors_origins", metavar="ORIGIN",
        help="allow browser requests from pages of this origin; may be repeated (default: none)",
    )  # fmt: skip
    parser.add_argument(
        "--log-texts", action="store_true", help="include the texts in the log (default: off)"
    )


def named(given: Sequence[str]) -> dict[str, str]:
    """Parse the values of --model into name -> folder or Hub name.

    Raises:
      ValueError: two models have one name, or a value is both a folder and NAME=FOLDER.
    """
    models: dict[str, str] = {}
    for value in given:
        name, sign, place = value.partition("=")
        pair = bool(sign and NAME.fullmatch(name) and place)
        if pair and Path(value).exists():
            raise ValueError(
                f"--model {value!r} is a folder, but also reads as NAME=FOLDER: write ./{value} "
                "for the folder"
            )
        place = local_path(place if pair else value)
        name = name if pair else own_name(place)
        if name in models:
            raise ValueError(f"two models are called {name!r}: rename one, --model NAME={place}")
        models[name] = place
    return models


def own_name(place: str) -> str:
    """Return the default name of a model: that of its folder, or of the run for a run's hub/."""
    folder = Path(place)
    if not folder.is_dir():
        return place
    whole = folder.resolve()
    return (whole.parent if is_run(whole.parent) else whole).name
