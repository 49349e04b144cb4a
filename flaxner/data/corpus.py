"""Read corpora into sentences of words and IOB2 tags."""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence, Set
from pathlib import Path

from flaxner.data.corpus_doubts import in_pieces, taken_apart, undivided
from flaxner.data.readers import BadCorpus, Notes, Raw, ReadOptions, excerpt, read_file
from flaxner.data.readers.hub_data import read_splits
from flaxner.data.readers.source import Guessed
from flaxner.data.sentence import Sentence
from flaxner.data.tags import detect_scheme, tag_pairs, to_iob2
from flaxner.wording import number_of

EMBEDDED = "flaxner:embedded"  # the name of the corpus that the package generates
MOST_TYPES = 5_000
LONGEST_WORD = 10_000  # characters
SUFFIXES = frozenset(
    (
        *(".conll", ".conllu", ".iob", ".iob2", ".bio", ".txt", ".tsv", ".csv"),
        *(".json", ".jsonl", ".parquet", ".arrow", ".spacy"),
        *(".gz", ".bz2", ".xz", ".zst", ".zstd", ".lz4"),
    )
)


@dataclasses.dataclass(frozen=True)
class Corpus:
    """A corpus in memory.

    Attributes:
      sentences: in the order of the file.
      source: where it was read from, for messages.
      scheme: the scheme that was detected; the sentences themselves are in IOB2.
      repaired: number of tags that were illegal in that scheme and were read as conlleval does.
      notes: what the reader chose or left out, one sentence each.
      format: name of the reader.
      absent_types: types it was annotated with that no sentence has (any more).
      unmarked: the sources that do not mark documents; each counts as one document.
      guessed: the columns that the reader chose.
    """

    sentences: list[Sentence]
    source: str
    scheme: str
    repaired: int
    notes: tuple[str, ...] = ()
    format: str = ""
    absent_types: tuple[str, ...] = ()
    unmarked: tuple[str, ...] = ()
    guessed: Guessed | None = None

    def __len__(self) -> int:
        return len(self.sentences)

    def __iter__(self) -> Iterator[Sentence]:
        return iter(self.sentences)

    @property
    def documents(self) -> list[int | None]:
        """The document of each sentence."""
        return [sentence.document for sentence in self.sentences]

    @property
    def words(self) -> int:
        """Number of words."""
        return sum(len(sentence.words) for sentence in self.sentences)

    @property
    def types(self) -> tuple[str, ...]:
        """Entity types, in alphabetical order."""
        tags = {tag for sentence in self.sentences for tag in sentence.tags or ()}
        return tuple(sorted({tag[2:] for tag in tags if tag != "O"} | set(self.absent_types)))


def entity_counts(sentences: Iterable[Sentence]) -> Counter[str]:
    """Count the entities of each type."""
    tags = (tag for sentence in sentences for tag in sentence.tags or ())
    return Counter(tag[2:] for tag in tags if tag.startswith("B-"))


def read_corpus(
    source: str | Path, split: str | None = None, options: ReadOptions | None = None
) -> Corpus:
    """Read a corpus: a file in any format of `READERS`, or a split of a data set.

    Args:
      source: a file, a `datasets` folder, a name on the Hub, or EMBEDDED.
      split: name of the split, for a data set.
      options: how to read it, where nothing should be guessed.

    Raises:
      ValueError: the corpus cannot be read; one sentence with file and line.
    """
    options = options or ReadOptions()
    path = Path(source)
    of_splits = split is not None and path.is_dir()
    if not of_splits and (isinstance(source, Path) or is_file(source, split)):
        _require_one_version(source, options)
        notes = Notes()
        format_name, raws = read_file(path, options, notes)
        return assemble(raws, str(path), notes, format_name)
    if split is None:
        raise ValueError(f"{source} is a data set: name one of its splits, such as train or test")
    return read_dataset(str(source), [split], options)[split]


def read_dataset(
    name: str, splits: Sequence[str], options: ReadOptions | None = None
) -> dict[str, Corpus]:
    """Read those of the given splits that a Hub data set, a `datasets` folder or EMBEDDED has.

    Raises:
      ValueError: the data set cannot be read, or has none of the splits.
    """
    if name == EMBEDDED:
        _require_one_version(name, options)
        return {split: _embedded(split) for split in splits}
    read = read_splits(name, options or ReadOptions(), splits)
    return {
        split: assemble(raws, f"{name} ({split})", notes, "datasets")
        for split, (raws, notes) in read.items()
    }


def _require_one_version(source: str | Path, options: ReadOptions | None) -> None:
    """Refuse a configuration or revision for a source that has none."""
    if options is not None and (options.dataset_config or options.dataset_revision):
        raise ValueError(f"{source} has no configurations or revisions: do not choose one")


def _embedded(split: str) -> Corpus:
    from flaxner.data import embedded as sample

    if split not in sample.SIZES:
        raise ValueError(f"{EMBEDDED} has no split {split!r}; it has {', '.join(sample.SIZES)}")
    sentences = [Sentence(words, tags) for words, tags in sample.generate(split)]
    source = f"{EMBEDDED} ({split})"
    return Corpus(sentences, source, "IOB2", 0, unmarked=(source,))


def require_used(options: ReadOptions, formats: Set[str]) -> None:
    """Refuse a column option that applies to none of the sources.

    Raises:
      ValueError: an option applies to no source; the message names it.
    """
    records = {"json", "parquet", "datasets"}
    for name, of in (
        ("text_column", records | {"span-table"}),
        ("spans_column", records | {"span-table", "spacy"}),  # of a DocBin, a span group
        ("sentence_column", records | {"table"}),
    ):
        if getattr(options, name) is not None and not formats & of:
            flag = "--" + name.replace("_", "-")
            raise ValueError(
                f"{flag} applies only to the formats {', '.join(sorted(of))}, which no source has: "
                "omit it"
            )


def join(corpora: Sequence[Corpus]) -> Corpus:
    """Join several corpora, in order; their documents stay separate.

    Sentences of a corpus that belong to none of its marked documents form a document of their own.
    """
    if len(corpora) == 1:
        return corpora[0]
    sentences: list[Sentence] = []
    notes: list[str] = []
    shift = 0
    for corpus in corpora:
        highest = max((n for n in corpus.documents if n is not None), default=-1)
        for s in corpus:
            number = highest + 1 if s.document is None else s.document
            sentences.append(Sentence(s.words, s.tags, number + shift))
        shift += highest + 1 + (None in corpus.documents)
        notes += [f"{corpus.source}: {note}" for note in corpus.notes]
    schemes, formats = (
        " + ".join(dict.fromkeys(getattr(corpus, name) for corpus in corpora))
        for name in ("scheme", "format")
    )
    source = " + ".join(corpus.source for corpus in corpora)
    repaired = sum(corpus.repaired for corpus in corpora)
    unmarked = tuple(source for corpus in corpora for source in corpus.unmarked)
    return Corpus(sentences, source, schemes, repaired, tuple(notes), formats, unmarked=unmarked)


def is_file(source: str, split: str | None) -> bool:
    """Whether the name of a source means a file: it is one, or looks like one."""
    path = Path(source)
    if path.exists() and not path.is_dir():  # including pipes
        return True
    looks = source.startswith((".", "/", "~")) or path.suffix.lower() in SUFFIXES
    return looks and (split is None or not path.is_dir())


def assemble(raws: Iterable[Raw], source: str, notes: Notes, format_name: str = "") -> Corpus:
    """Build a corpus in IOB2 from a reader's sentences; detect its scheme and count its faults.

    Raises:
      ValueError: from the reader, or for an invalid tag, or because there are no sentences.
    """
    sentences: list[Sentence] = []
    patterns: dict[tuple[str, ...], tuple[str, ...]] = {}
    distinct: dict[str, str] = {}  # equal words are stored once
    counts: Counter[tuple[str, ...]] = Counter()
    types: set[str] = set()
    documents: dict[object, int] = {}
    longest = (0, 0)  # words of the longest sentence, and its line
    for raw in raws:
        tags = patterns.get(raw.tags)
        if tags is None:
            try:
                tags = patterns[raw.tags] = to_iob2(raw.tags)
            except ValueError as error:  # from a span, whose type the reader has not checked
                raise BadCorpus(source, raw.line, str(error)) from None
            _require_whole(source, raw.line, "type", raw.tags)
            types.update(tag[2:] for tag in tags)
        _require_whole(source, raw.line, "word", raw.words)
        _check_limits(raw, source, len(types))
        if len(raw.words) > longest[0]:
            longest = (len(raw.words), raw.line)
        counts[raw.tags] += 1
        document = raw.document
        if document is not None:
            document = documents.setdefault(document, len(documents))
        words = tuple(map(distinct.setdefault, raw.words, raw.words))
        sentences.append(Sentence(words, tags, document))
    if not sentences:
        why = "; ".join(notes.lines()) or "it has no sentences"
        raise BadCorpus(source, 1, f"the corpus is empty: {why}")
    pairs: Counter[tuple[str, str]] = Counter()
    for pattern, count in counts.items():
        for pair in tag_pairs(pattern):
            pairs[pair] += count
    scheme, repaired = detect_scheme(pairs)
    pieces = sum(name is not None for name, _ in itertools.groupby(s.document for s in sentences))
    if pieces > len(documents):
        what = number_of(len(documents), "documents are")
        what += f" in {pieces:,} pieces, interrupted by other sentences"
        notes.choices.append(f"{what}: only adjacent sentences can be each other's context")
    said = (
        *notes.lines(),
        *undivided(*longest, len(sentences), format_name),
        *in_pieces(distinct),
        *taken_apart(pairs),
    )
    unmarked = () if documents else (source,)
    return Corpus(
        sentences, source, scheme, repaired, said, format_name, (), unmarked, notes.guessed
    )


def _check_limits(raw: Raw, source: str, types: int) -> None:
    """Refuse input that no real corpus contains and that would exhaust memory or time."""
    if types > MOST_TYPES:
        raise BadCorpus(
            source,
            raw.line,
            f"the tags have more than {MOST_TYPES:,} types: choose the column of the tags with "
            f"--tag-column",
        )
    if raw.words and len(word := max(raw.words, key=len)) > LONGEST_WORD:
        raise BadCorpus(
            source,
            raw.line,
            f"a word must have at most {LONGEST_WORD:,} characters: {excerpt(word, 20)} has "
            f"{len(word):,}",
        )


def _require_whole(source: str, line: int, what: str, texts: Sequence[str]) -> None:
    """Refuse half of a surrogate pair, which JSON can express but valid text cannot contain."""
    text = "".join(texts)
    if text.isascii():
        return
    try:
        text.encode()
    except UnicodeEncodeError as error:
        half = f"{text[error.start]!r}, half of a surrogate pair"
        raise BadCorpus(source, line, f"a {what} must be valid Unicode: it has {half}") from None
