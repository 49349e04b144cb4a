"""Serve models over HTTP."""

from __future__ import annotations

from collections.abc import Sequence

from flaxner.config.command_line import Parser
from flaxner.serving.settings import Settings, add_flags, named

LIBRARIES = ("fastapi", "starlette", "uvicorn", "prometheus_client", "pydantic")


def parser(prog: str = "serve.py") -> Parser:
    """Return the command's parser."""
    flags = Parser(
        prog=prog,
        description="Serve models over HTTP: POST /ner and /ner/words, and a page to try them at "
        "http://127.0.0.1:8000. Requires the `serve` extra.",
    )
    add_flags(flags)
    return flags


def settings(arguments: Sequence[str] | None = None, prog: str = "serve.py") -> Settings:
    """Parse the command line into settings; exit with code 2 if it is invalid."""
    flags = parser(prog)
    given = vars(flags.parse_args(arguments))
    given["cors_origins"] = tuple(given["cors_origins"])
    try:
        return Settings(models=named(given.pop("model")), **given)
    except ValueError as error:
        flags.error(str(error))


def main(arguments: Sequence[str] | None = None, prog: str = "serve.py") -> int:
    """Serve until a signal arrives."""
    chosen = settings(arguments, prog)  # before the heavy imports, so that errors are quick

    def work() -> None:
        try:
            from flaxner.serving.server import serve
        except ModuleNotFoundError as error:
            if error.name not in LIBRARIES:
                raise
            raise ValueError(f"serving needs {error.name}: pip install 'flaxner[serve]'") from error

        serve(chosen)

    return parser(prog).run(work)
