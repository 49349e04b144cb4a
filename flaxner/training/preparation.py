"""Preparation of a run: everything it needs is read and checked before any file is written."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax

from flaxner.config.train import AUTO, LEVEL, TrainConfig
from flaxner.data.casing import casing_warnings
from flaxner.data.corpus import Corpus
from flaxner.data.documents import in_documents
from flaxner.data.labels import LabelScheme
from flaxner.data.layout import best_row_length
from flaxner.data.segment_cache import align_cached
from flaxner.data.segments import Segments
from flaxner.data.selection import select
from flaxner.data.sources import read_sources, refuse_missing_files
from flaxner.data.tokenizer import check_vocabulary, load_tokenizer, read_as_trained
from flaxner.devices.environment import check_devices
from flaxner.models.config_json import read_config
from flaxner.models.layers.compute import Compute
from flaxner.models.layers.config import EncoderConfig
from flaxner.models.network import Model, Params
from flaxner.models.pretrained import Pretrained, load_pretrained
from flaxner.models.scratch import (
    SCRATCH,
    SCRATCH_VOCABULARY,
    scratch_config,
    scratch_fields,
    scratch_tokenizer,
)
from flaxner.training.doubts import corpus_warnings, length_warnings, shortened_words


@dataclasses.dataclass(frozen=True)
class Prepared:
    """Everything that a run starts with.

    Attributes:
      config: fully resolved settings.
      corpora: split -> corpus.
      scheme: tag <-> label.
      tokenizer: the `transformers` tokenizer.
      model: static definition.
      params: initial parameters, as host arrays.
      fields: config.json of the model that training starts from, or an empty dict.
      fresh: names of the weights that were drawn from the seed.
      segments: split -> tokenised corpus.
      warnings: things that may not be as the user expects, one sentence each.
    """

    config: TrainConfig
    corpora: dict[str, Corpus]
    scheme: LabelScheme
    tokenizer: Any
    model: Model
    params: Params
    fields: dict[str, Any]
    fresh: list[str]
    segments: dict[str, Segments]
    warnings: tuple[str, ...] = ()


def prepare(config: TrainConfig, vocab_size: int = SCRATCH_VOCABULARY) -> Prepared:
    """Read corpora and model, and tokenise.

    Args:
      config: the settings.
      vocab_size: of the tokenizer that is trained for a model in SCRATCH.

    Raises:
      ValueError: the corpora, the model, the settings or the devices are invalid or do not match.
    """
    check_devices()
    config = resolve(config)
    refuse_missing_files(config)
    # The model's config is read first: a mistyped name should not cost a corpus download.
    fields = {} if config.model in SCRATCH else read_config(config.model, revision=config.revision)
    corpora = load_corpora(config)
    if config.early_stopping and "validation" not in corpora:
        raise ValueError(
            "--early-stopping needs a validation corpus: give one, or hold out part of the "
            "training corpus with --held-out 0.1"
        )
    scheme = label_scheme(corpora, fields)
    compute = Compute.here(
        config.precision,
        scan_layers=config.scan_layers,
        remat=config.remat,
    )
    fresh: list[str] = []
    if config.model in SCRATCH:
        tokenizer = scratch_tokenizer(config.model, corpora["train"], vocab_size)
        sizes = scratch_config(config.model, tokenizer, len(scheme))
        model = Model(sizes, compute, crf=config.decoder == "crf")
        fields = scratch_fields(tokenizer)
        params = model.init(config.seed)
    else:
        loaded = _pretrained(config, scheme, compute, new_head=not _same_labels(fields, scheme))
        tokenizer = load_tokenizer(loaded.folder)
        model, params, fields, fresh = loaded.model, loaded.params, loaded.fields, loaded.fresh
    rates = {name: getattr(config, name) for name in EncoderConfig.DROPOUTS}
    model = dataclasses.replace(model, config=model.config.with_dropout(rates))
    changed = read_as_trained(tokenizer)
    _check_fit(config, model, tokenizer)
    later = scheme.inside if config.label_tokens == "all" else None
    where = (config.max_length, config.segment_cache, later)
    segments = {}
    for split, corpus in corpora.items():
        plain = align_cached(corpus.sentences, tokenizer, scheme, *where)
        segments[split] = with_context(plain, corpus, config)
    config = with_row_length(config, segments["train"])
    warnings = (
        *casing_warnings(corpora, tokenizer, config.model),
        *length_warnings(config, model, tokenizer),
        *shortened_words(corpora, segments, config.max_length),
        *changed,
        *corpus_warnings(config, corpora),
    )
    return Prepared(
        config, corpora, scheme, tokenizer, model, params, fields, fresh, segments, warnings
    )


def _pretrained(
    config: TrainConfig, scheme: LabelScheme, compute: Compute, *, new_head: bool
) -> Pretrained:
    """Load the model that the settings name; weights that it lacks are drawn from the seed."""
    return load_pretrained(
        config.model,
        num_labels=len(scheme),
        new_head=new_head,
        seed=config.seed,
        compute=compute,
        revision=config.revision,
        with_crf=config.decoder == "crf",
    )


def reseeded(prepared: Prepared, config: TrainConfig) -> Prepared:
    """Adapt a prepared run to another seed, other rates or length; redraw the fresh weights.

    Args:
      prepared: the prepared run.
      config: its settings, except for those in `shared.LENT_ACROSS`.
    """
    config = with_row_length(resolve(config), prepared.segments["train"])
    model = prepared.model
    params = prepared.params
    if config.model in SCRATCH:
        params = model.init(config.seed)
    elif prepared.fresh:
        new_head = not _same_labels(prepared.fields, prepared.scheme)
        params = _pretrained(config, prepared.scheme, model.compute, new_head=new_head).params
    return dataclasses.replace(prepared, config=config, params=params)


def with_context(segments: Segments, corpus: Corpus, config: TrainConfig) -> Segments:
    """Return segments with the context that the settings ask for: single sentences or windows."""
    if not config.in_documents:
        return segments
    return in_documents(segments, corpus.documents, config.max_length)


def sources(config: TrainConfig) -> list[str]:
    """Return the files and folders that the settings name as inputs; may include Hub names."""
    fields = [f for f in dataclasses.fields(config) if f.metadata.get("path")]
    named = [getattr(config, field.name) for field in fields if field.name != "output_dir"]
    return [part for name in named if name for part in ((name,) if isinstance(name, str) else name)]


def resolve(config: TrainConfig) -> TrainConfig:
    """Resolve the settings that depend on the machine."""
    if config.precision == "auto":
        on_cpu = jax.default_backend() == "cpu"
        config = config.replace(precision="float32" if on_cpu else "bfloat16")
    batches = LEVEL if config.batches == AUTO else config.batches
    return config.replace(batches=batches)


def with_row_length(config: TrainConfig, train: Segments) -> TrainConfig:
    """Choose the row length if the settings leave it open.

    On a CPU, rows may be longer than `max_length` where that leaves less of them empty. The
    compilers of TPUs and GPUs work in tiles of 128 tokens, and gain nothing from rows in between.
    The number of devices is left out: a run trains on the same rows on any number of them.

    Args:
      config: resolved settings.
      train: the training corpus, in document windows if the settings say so.
    """
    if config.row_length:
        return config
    length = config.packed_length
    if jax.default_backend() == "cpu" and config.batches == LEVEL and not config.in_documents:
        length = best_row_length(train, config.batch_size, length, config.accumulate)
    return config.replace(row_length=length)


def load_corpora(config: TrainConfig) -> dict[str, Corpus]:
    """Read every split that the settings name; at least "train".

    Raises:
      ValueError: a corpus cannot be read, or the types of the splits do not match.
    """
    corpora = select(read_sources(config), config)
    check_types(corpora)
    return corpora


def check_types(corpora: Mapping[str, Corpus]) -> None:
    """Reject a training split without entities, and types that the training split lacks.

    Raises:
      ValueError: the training split has no entities, or only another split has a type.
    """
    known = set(corpora["train"].types)
    if not known:
        raise ValueError(f"{corpora['train'].source} has no entities: there is nothing to learn")
    for corpus in corpora.values():
        unseen = sorted(set(corpus.types) - known)
        if unseen:
            raise ValueError(
                f"{corpus.source} has types that the training corpus {corpora['train'].source} "
                f"lacks: {', '.join(unseen)} (its types: {', '.join(sorted(known))}); rename "
                "them with --map-types or drop them with --drop-types"
            )


def label_scheme(corpora: Mapping[str, Corpus], fields: Mapping[str, Any]) -> LabelScheme:
    """Return the label table: the model's own if it has exactly the corpus's tags, else by type.

    Raises:
      ValueError: the model's own table leaves a label without a name.
    """
    scheme = LabelScheme.from_types(corpora["train"].types)
    if not _same_labels(fields, scheme):
        return scheme
    try:
        return LabelScheme.from_id2label(fields["id2label"])
    except ValueError as error:
        raise ValueError(f"the model's config.json does not name its labels: {error}") from error


def _same_labels(fields: Mapping[str, Any], scheme: LabelScheme) -> bool:
    """Whether config.json names exactly the tags of a scheme."""
    names = list((fields.get("id2label") or {}).values())
    return all(isinstance(name, str) for name in names) and set(names) == set(scheme.tags)


def _check_fit(config: TrainConfig, model: Model, tokenizer: Any) -> None:
    model.config.check_length(config.max_length)
    check_vocabulary(tokenizer, model.config.vocab_size, str(config.model))
