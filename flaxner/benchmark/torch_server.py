"""Our server with torch's pipeline behind it: the other contender of `benchmark.py serve`."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from flaxner.serving.forms import NerForm, read_form, read_texts
from flaxner.serving.server import serve
from flaxner.serving.service import WARM, Service, as_json
from flaxner.serving.settings import Settings

TIMEOUT = 120.0  # seconds, as for our server


class TorchService(Service):
    """Answers POST /ner with `transformers`' pipeline, called from a few threads.

    Each call answers one request, which is what the pipeline offers a server.
    """

    def __init__(self, settings: Settings, workers: int) -> None:
        from transformers import pipeline

        super().__init__(settings, {})
        ((self._name, place),) = settings.models.items()
        self._pipeline: Any = pipeline(  # type: ignore[call-overload]
            "ner", model=place, aggregation_strategy="simple", trust_remote_code=False
        )
        self._pool = ThreadPoolExecutor(workers)

    def warm_up(self) -> None:
        """Give a first answer."""
        self._pipeline(WARM)
        super().warm_up()

    async def entities(self, body: bytes, note: Callable[..., None]) -> bytes:
        """Like `Service.entities`, for texts only."""
        texts, single = read_texts(read_form(NerForm, body).text, self.settings)
        note(model=self._name, texts=texts)
        loop = asyncio.get_running_loop()
        answers = await loop.run_in_executor(self._pool, self._pipeline, list(texts))
        entities = [[{**e, "score": float(e["score"])} for e in row] for row in answers]
        return as_json({"model": self._name, "entities": entities[0] if single else entities})


def main() -> None:
    """Serve until a signal arrives."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--workers", type=int, default=1)
    given = parser.parse_args()
    settings = Settings({"torch": given.model}, port=given.port, strategy="simple", timeout=TIMEOUT)
    serve(settings, lambda chosen: TorchService(chosen, given.workers))


if __name__ == "__main__":
    main()
