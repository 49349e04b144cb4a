"""The web page for trying the models."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flaxner import templates
from flaxner.data.tag_rules import label_parts
from flaxner.data.tags import OUTSIDE
from flaxner.inference.aggregation import STRATEGIES
from flaxner.templates.colours import page_colours

if TYPE_CHECKING:
    from flaxner.inference.ner_pipeline import NerPipeline
    from flaxner.serving.service import Service

EXAMPLE = "Angela Merkel met Barack Obama in Berlin on Tuesday ."


def page(service: Service, nonce: str) -> str:
    """Return the HTML of the page.

    Args:
      service: whose models the page offers.
      nonce: for the Content-Security-Policy that lets only the page's own script run.
    """
    settings = service.settings
    models = [{"name": name, "colours": _colours(m)} for name, m in service.models.items()]
    data = {"models": models}
    return templates.html(
        "serve.html.jinja",
        nonce=nonce,
        data=data,
        models=[model["name"] for model in models],
        strategies=STRATEGIES,
        chosen=settings.strategy,
        example=EXAMPLE,
    )


def _colours(model: NerPipeline) -> dict[str, str]:
    """Map each type, as answers of any strategy name it, to its colour."""
    theirs = {name.split("-", 1)[-1] for name in model.labels}
    ours = {kind for _, kind in label_parts(model.labels).values() if kind}
    return page_colours((theirs | ours) - {OUTSIDE})
