"""Pre-token counts of every candidate category, in shards of documents, spelled in a tokenizer's start symbols.

Papers: Data Mixture Inference: What do BPE Tokenizers Reveal about their Training Data? (arXiv 2407.16607).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from tokenry.core.hashing import fingerprint, stable_hash
from tokenry.core.pretokens import MOST_SOURCES, Pretokens, Words, count_pretokens
from tokenry.core.vocab import Kind, Vocab

# Axes: W distinct words, C columns (category and shard), n categories, K shards.

N_SHARDS = 20
"""Shards of documents a category is cut into: the blocks that are resampled."""
LONGEST_WORD = 4096
"""Symbols of a pre-token at most; longer ones (base64, runs of spaces) are cut there."""
_FORMAT = 1


@dataclass(frozen=True, eq=False)
class CategoryCounts:
    """What the categories hold, word by word."""

    names: tuple[str, ...]
    """The n categories, in the order they were given."""
    words: Words
    """Distinct pre-tokens of all categories, in the spelling the model sees."""
    counts: "object"
    """scipy csr int64 (W, C): column `i * n_shards + s` holds shard s of category i."""
    n_shards: int
    n_bytes: np.ndarray
    """int64 (C,), UTF-8 bytes of raw text."""
    n_docs: np.ndarray
    """int64 (C,)."""
    fingerprint: str
    """Of the normaliser and pre-tokeniser that cut the text."""

    @property
    def shard_category(self) -> np.ndarray:
        """int64 (C,), the category of each column."""
        return np.repeat(np.arange(len(self.names)), self.n_shards)

    @property
    def bytes_by_category(self) -> np.ndarray:
        """int64 (n,)."""
        return self.n_bytes.reshape(-1, self.n_shards).sum(1)

    def by_category(self, weights_C: np.ndarray | None = None) -> "object":
        """csr (W, n): the shards of each category added up, each times its weight (whole numbers)."""
        from scipy import sparse

        weights = np.ones(self.counts.shape[1], np.int64) if weights_C is None else weights_C
        shape = (self.counts.shape[1], len(self.names))
        return self.counts @ sparse.csr_matrix((weights, (np.arange(shape[0]), self.shard_category)), shape=shape)

    def within(self, columns_C: np.ndarray) -> "CategoryCounts":
        """The shards chosen (bool) alone, the others empty; words they do not hold are left out."""
        from scipy import sparse

        kept = np.flatnonzero(columns_C)
        shape = (len(columns_C), len(columns_C))
        counts = self.counts @ sparse.csr_matrix((np.ones(len(kept), np.int64), (kept, kept)), shape=shape)
        counts.eliminate_zeros()
        rows = np.flatnonzero(np.diff(counts.indptr))
        return replace(
            self,
            words=Words(self.words.array.take(pa.array(rows))),
            counts=counts[rows],
            n_bytes=self.n_bytes * columns_C,
            n_docs=self.n_docs * columns_C,
        )

    def only(self, chosen: Sequence[int]) -> "CategoryCounts":
        """These categories alone, in this order; words none of them holds are left out."""
        columns = np.concatenate([np.arange(i * self.n_shards, (i + 1) * self.n_shards) for i in chosen])
        counts = self.counts[:, columns]
        rows = np.flatnonzero(np.diff(counts.indptr))
        return CategoryCounts(
            names=tuple(self.names[i] for i in chosen),
            words=Words(self.words.array.take(pa.array(rows))),
            counts=counts[rows],
            n_shards=self.n_shards,
            n_bytes=self.n_bytes[columns],
            n_docs=self.n_docs[columns],
            fingerprint=self.fingerprint,
        )


@dataclass(frozen=True, eq=False)
class SpelledWords:
    """Words as start symbols, the long ones cut."""

    symbols: np.ndarray
    """int32 (N,)."""
    offsets: np.ndarray
    """int64 (P+1,), part p is `symbols[offsets[p]:offsets[p+1]]`."""
    word_of_part: np.ndarray
    """int64 (P,)."""
    n_cut: int
    """Words that were longer than `LONGEST_WORD`."""

    def spread(self, counts_WC: "object") -> "object":
        """csr (P, C): the counts of each part's word."""
        return counts_WC if len(self.word_of_part) == counts_WC.shape[0] else counts_WC[self.word_of_part]

    def pairs(self, counts_WC: "object") -> np.ndarray:
        """int64 (C,), adjacent pairs of start symbols in each column."""
        sizes = np.maximum(np.diff(self.offsets) - 1, 0)
        return np.asarray(self.spread(counts_WC).T @ sizes).astype(np.int64)


def in_bytes(vocab: Vocab, categories: CategoryCounts) -> np.ndarray:
    """Share of each category's first pairs that hold a byte piece: text in a script the vocabulary has no entries for.

    No merge ever joins byte pieces, so such a category says nothing about the merges, and would explain any.

    Returns:
        float64 (n,); 0 for a vocabulary without byte pieces.
    """
    is_byte = vocab.kinds == Kind.BYTE
    if vocab.family != "metaspace" or not is_byte.any():
        return np.zeros(len(categories.names))
    spelled = spell_words(vocab, categories.words)
    byte_at = is_byte[spelled.symbols].astype(np.int64)
    inner = np.ones(len(byte_at), bool)
    starts = spelled.offsets[:-1]
    inner[starts[starts < len(byte_at)]] = False  # the first symbol of a part ends no pair
    touched = np.concatenate([[0], np.cumsum(inner & ((byte_at | np.roll(byte_at, 1)) > 0))])
    per_part = touched[spelled.offsets[1:]] - touched[spelled.offsets[:-1]]
    counts = spelled.spread(categories.by_category())
    return np.asarray(counts.T @ per_part).ravel() / np.maximum(spelled.pairs(categories.by_category()), 1)


def count_categories(
    corpora: Mapping[str, object] | Sequence[tuple[str, object]] | object,
    vocab: Vocab,
    *,
    n_shards: int = N_SHARDS,
    cache: str | Path | None = None,
    workers: int = 1,
    **reading: object,
) -> CategoryCounts:
    """Count the pre-tokens of every category once, as a tokenizer cuts them.

    A document's shard is a hash of its text, so copies fall together and the shards are the same in every run.

    Args:
        corpora: name -> source (or such pairs), each what `core.tables.stream` takes; or one source whose column
            `source` names the category.
        n_shards: shards of a category.
        cache: folder to keep the counts in; a category whose files, cuts and options are the same is not read again.
        workers: processes that cut.
        reading: `text`, `limit` (documents of a source), `skip_bad`.

    Raises:
        ValueError: the same name twice, no category, a category without text.
    """
    named = _named(corpora, reading)
    parts = [_count_one(name, source, vocab, (n_shards, cache, workers, reading)) for name, source in named]
    return _united([name for name, _ in named], parts, n_shards)


def spell_words(vocab: Vocab, words: Sequence[str]) -> SpelledWords:
    """Words as the start symbols of a BPE vocabulary, those over `LONGEST_WORD` symbols cut.

    Raises:
        ValueError: for a character the vocabulary cannot spell.
    """
    from tokenry.tokenization.word_tables import model_spelling, spell, used_points

    used = used_points(words).tolist()
    symbols, offsets = spell(words, model_spelling(vocab, "".join(map(chr, used))))
    sizes = np.diff(offsets)
    n_parts = np.maximum(-(-sizes // LONGEST_WORD), 1)
    word_of_part = np.repeat(np.arange(len(sizes)), n_parts)
    within = np.arange(len(word_of_part)) - np.repeat(np.cumsum(n_parts) - n_parts, n_parts)
    starts = offsets[:-1][word_of_part] + within * LONGEST_WORD
    return SpelledWords(
        symbols=symbols.astype(np.int32),
        offsets=np.append(starts, offsets[-1]).astype(np.int64),
        word_of_part=word_of_part,
        n_cut=int((n_parts > 1).sum()),
    )


def _named(corpora: object, reading: dict) -> list[tuple[str, object]]:
    if isinstance(corpora, Mapping):
        named = list(corpora.items())
    elif isinstance(corpora, Sequence) and not isinstance(corpora, str) and _are_pairs(corpora):
        named = list(corpora)
    else:
        return _by_column(corpora, reading)
    names = [name for name, _ in named]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(
            f"the category {twice!r} is given twice; need one --corpus for each name. Several files of one category "
            "go into one folder or a glob: --corpus name='dir/*.jsonl'."
        )
    if not names:
        raise ValueError("no category given; need --corpus name=path at least once, better for each language you know.")
    return named


def _are_pairs(corpora: Sequence) -> bool:
    return all(isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[0], str) for pair in corpora)


@dataclass(frozen=True)
class _Rows:
    """The rows of one category of a table that names the category in its column `source`."""

    source: object
    category: str


def _by_column(table: object, reading: dict) -> list[tuple[str, object]]:
    import pyarrow.compute as pc

    from tokenry.core.tables import read, stream

    if not isinstance(table, (str, Path)):
        table = read(table, columns=(), **reading)  # read once: it may be an iterator
        reading["text"] = "text"  # as the column is called from now on
    found: set[str] = set()
    for batch in stream(table, columns=(), **reading):
        found.update(pc.unique(pc.fill_null(batch.column("source"), "")).to_pylist())
        if len(found) > MOST_SOURCES:
            raise ValueError(
                f"over {MOST_SOURCES} values in the column `source`; each is a category. Give coarser sources."
            )
    return [(name, _Rows(table, name)) for name in sorted(found)]


def _sharded(source: object, n_shards: int, reading: dict) -> Iterator[pa.RecordBatch]:
    """The documents of a category with their shard for a source."""
    import pyarrow.compute as pc

    from tokenry.core.tables import stream

    category = source.category if isinstance(source, _Rows) else None
    for batch in stream(source.source if isinstance(source, _Rows) else source, columns=(), batch_rows=64, **reading):
        if category is not None:
            batch = batch.filter(pc.equal(pc.fill_null(batch.column("source"), ""), category))
        shards = [f"{stable_hash(text or '') % n_shards:04d}" for text in batch.column("text").to_pylist()]
        yield pa.RecordBatch.from_pydict(
            {"id": batch.column("id"), "text": batch.column("text"), "source": pa.array(shards, pa.string())}
        )


def _count_one(name: str, source: object, vocab: Vocab, settings: tuple) -> Pretokens:
    n_shards, cache, workers, reading = settings
    kept = _cache_file(source, vocab, settings) if cache else None
    if kept is not None and kept.is_file():
        return Pretokens.load(kept)
    try:
        counted = count_pretokens(_sharded(source, n_shards, reading), vocab, workers=workers)
    except ValueError as error:
        if "hold no text" not in str(error) and "no documents" not in str(error):
            raise
        raise ValueError(
            f"the category {name!r} holds no text. Give it at least one non-empty document, or leave it out; is the "
            "text column right (--text-column)?"
        ) from None
    if kept is not None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        counted.save(kept)
    return counted


def _cache_file(source: object, vocab: Vocab, settings: tuple) -> Path | None:
    from tokenry.core.cutters import Cutter
    from tokenry.core.runs import describe_input

    n_shards, cache, _, reading = settings
    plain, category = (source.source, source.category) if isinstance(source, _Rows) else (source, None)
    if not isinstance(plain, (str, Path)) or not Path(plain).exists():
        return None
    files = [(file["bytes"], file["blake2b"]) for file in describe_input(plain)]
    key = fingerprint(Cutter(vocab.spec).fingerprint, files, n_shards, sorted(reading.items()), category, _FORMAT)
    return Path(cache) / f"category-{key}.parquet"


def _united(names: list[str], parts: list[Pretokens], n_shards: int) -> CategoryCounts:
    """The tables of all categories over one list of words."""
    from scipy import sparse

    arrays = [part.words.array if isinstance(part.words, Words) else Words(part.words).array for part in parts]
    coded = pa.concat_arrays([array.cast(pa.large_string()) for array in arrays]).dictionary_encode()
    place = coded.indices.to_numpy().astype(np.int64)
    rows, columns, values, start = [], [], [], 0
    n_bytes, n_docs = np.zeros((2, len(names) * n_shards), np.int64)
    for i, part in enumerate(parts):
        shard = np.array([i * n_shards + int(source) for source in part.sources], np.int64)
        n_bytes[shard], n_docs[shard] = part.n_bytes, part.n_docs
        word, column = np.nonzero(part.counts)
        rows.append(place[start + word])
        columns.append(shard[column])
        values.append(part.counts[word, column])
        start += len(part.words)
    shape = (len(coded.dictionary), len(names) * n_shards)
    triplets = (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns)))
    return CategoryCounts(
        names=tuple(names),
        words=Words(coded.dictionary),
        counts=sparse.csr_matrix(triplets, shape=shape, dtype=np.int64),
        n_shards=n_shards,
        n_bytes=n_bytes,
        n_docs=n_docs,
        fingerprint=parts[0].fingerprint,
    )
