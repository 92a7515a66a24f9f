"""Static word vectors: read them from a file, count them from a text, turn one space to fit another, and place tokens
among words.

Papers: WECHSEL (arXiv 2112.06598), section 3; OFA (arXiv 2311.08849), section 3.2.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from tokenry.core.report import Report
from tokenry.core.vocab import Kind, Vocab

MOST_WORDS, MOST_WIDTH, MOST_LINE = 2_000_000, 4096, 200_000
"""A file of vectors is read up to these bounds: words (`max_words` sets fewer), numbers a word, characters a line."""

Embed = Callable[[list[str]], np.ndarray]


@dataclass(frozen=True, eq=False)
class WordVectors:
    """Vectors of the words of a language, most frequent word first."""

    words: list[str]
    matrix: np.ndarray
    """float32 (n, h)."""
    counts: np.ndarray
    """float64 (n,): how frequent each word is; only their ratios matter."""

    @cached_property
    def index(self) -> dict[str, int]:
        """Word -> row; the first of equal words."""
        found: dict[str, int] = {}
        for i, word in enumerate(self.words):
            found.setdefault(word, i)
        return found

    def save(self, path: str | Path) -> Path:
        """Write word2vec text format, which gensim and fastText read too. Counts are not kept, their order is."""
        from tokenry.core.runs import atomic_path

        path = Path(path)
        kept = [i for i, word in enumerate(self.words) if word and not any(c.isspace() for c in word)]
        with atomic_path(path) as part, open(part, "w", encoding="utf-8", newline="\n") as file:
            file.write(f"{len(kept)} {self.matrix.shape[1]}\n")
            for i in kept:
                file.write(self.words[i] + " " + " ".join(f"{x:.6g}" for x in self.matrix[i].tolist()) + "\n")
        return path


def open_vectors(source: object, *, max_words: int = 200_000) -> WordVectors:
    """Word vectors from a file, a dict, or WordVectors.

    Args:
        source: a path to word2vec text format (one word and its numbers a line, an optional first line with number and
            width; `.gz` and `.xz` too), a {word: vector} dict, or WordVectors.
        max_words: keep the first so many. Files and dicts count as sorted by frequency, as published ones are: the
            word in place r counts 1/r (Zipf's law), since the format holds no counts.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a line that is not a word and numbers, vectors of unequal width, numbers that are not finite, or no
            vector at all.
    """
    if isinstance(source, WordVectors):
        n = min(max_words, len(source.words))
        return WordVectors(source.words[:n], source.matrix[:n], source.counts[:n])
    if isinstance(source, Mapping):
        words = list(source)[:max_words]
        widths = {np.size(source[word]) for word in words}
        if len(widths) != 1:
            raise ValueError(f"The dict of vectors holds vectors of width {sorted(widths)}; need one width for all.")
        matrix = np.array([np.ravel(source[word]) for word in words], dtype=np.float32)
    elif isinstance(source, str | Path):
        words, matrix = _read(Path(source), min(max_words, MOST_WORDS))
    else:
        raise ValueError(
            f"Got {type(source).__name__} for vectors; need a path, a dict of word to vector, WordVectors."
        )
    if not np.isfinite(matrix).all():
        raise ValueError("The vectors hold NaN or infinite numbers; need finite ones. Take another file of vectors.")
    return WordVectors(words, matrix, 1 / np.arange(1, len(words) + 1))


def word_vectors(
    texts: Iterable[str],
    *,
    width: int = 100,
    min_count: int = 5,
    max_words: int = 50_000,
    window: int = 4,
    seed: int = 0,
) -> WordVectors:
    """Vectors of the words of some texts, from the words that stand near them (see donors.donor_rows_from_text).

    For a language without published vectors. Words keep their case; those rarer than `min_count` are left out.

    Raises:
        ValueError: when fewer than two words remain.
    """
    from tokenry.core.splitting import words as words_of

    lists = [words_of(text) for text in texts]
    tally = Counter(word for words in lists for word in words)
    kept = [(word, n) for word, n in tally.most_common(max_words) if n >= min_count]
    if len(kept) < 2:
        raise ValueError(f"{len(kept)} words occur {min_count} times or more; need two or more. Give more text.")
    from tokenry.transplant.donors import donor_rows_from_text

    names = [word for word, _ in kept]
    known = set(names)
    lines = [" ".join(word for word in words if word in known) for words in lists]
    rows = donor_rows_from_text(_word_level(names), lines, width=width, window=window, seed=seed)
    return WordVectors(names, rows[: len(names)], np.array([n for _, n in kept], dtype=np.float64))


def write_vectors(texts: Iterable[str], out: str | Path, **options: int) -> Report:
    """Write `word_vectors(texts, **options)` to a file, and say what they cover; nothing is written on an error."""
    from tokenry.core.splitting import words as words_of

    texts = list(texts)
    vectors = word_vectors(texts, **options)
    path = vectors.save(out)
    total = sum(len(words_of(text)) for text in texts)
    facts = {"documents": len(texts), "words": len(vectors.words), "width": int(vectors.matrix.shape[1])}
    facts["share_of_words_covered"] = float(vectors.counts.sum() / max(1, total))
    report = Report(kind="word-vectors", title=f"{len(vectors.words):,} word vectors in {path.name}", facts=facts)
    report.notes.append("Vectors from counts of near words: they know which words are used alike, no more.")
    return report


def token_vectors(
    vocab: Vocab, vectors: WordVectors, *, by_frequency: bool = True, title_case: bool = False
) -> np.ndarray:
    """A vector for each token: the mean of the vectors of the words whose tokenization holds it.

    Each word is tokenized alone and behind a space. Tokens in no word have a row of zeros.

    Args:
        by_frequency: weigh each word by its count (WECHSEL); else all alike (OFA).
        title_case: tokenize each word with a capital too (OFA).

    Returns:
        float32 (V, h).
    """
    from scipy.sparse import csr_array

    weights = vectors.counts if by_frequency else np.ones(len(vectors.words))
    forms = [lambda w: w, lambda w: " " + w]
    if title_case:
        forms += [lambda w: w[:1].upper() + w[1:], lambda w: " " + w[:1].upper() + w[1:]]
    total, mass = np.zeros((vocab.size, vectors.matrix.shape[1])), np.zeros(vocab.size)
    for form in forms:
        encoded = [np.unique(ids) for ids in vocab.encode([form(word) for word in vectors.words])]
        tokens = np.concatenate(encoded).astype(np.int64)
        words = np.repeat(np.arange(len(encoded)), [ids.size for ids in encoded])
        table = csr_array((weights[words], (tokens, words)), shape=(vocab.size, len(encoded)))
        total += table @ vectors.matrix.astype(np.float64)
        mass += table.sum(axis=1)
    rows = total / np.where(mass > 0, mass, 1)[:, None]
    rows[np.isin(vocab.kinds, (Kind.SPECIAL, Kind.UNUSED))] = 0
    return rows.astype(np.float32)


def embedded_tokens(vocab: Vocab, embed: Embed) -> np.ndarray:
    """A vector for each token from a function that knows parts of words (a fastText model): float32 (V, h)."""
    texts = [(token or b"").decode("utf-8", "replace").strip() for token in vocab.tokens]
    asked = [i for i, text in enumerate(texts) if text and "�" not in text]
    made = np.asarray(embed([texts[i] for i in asked]), dtype=np.float32)
    if made.ndim != 2 or len(made) != len(asked):
        raise ValueError(
            f"The vectors' function returned shape {made.shape} for {len(asked)} words; need one row each."
        )
    out = np.zeros((vocab.size, made.shape[1]), dtype=np.float32)
    out[asked] = made
    return out


def orthogonal_map(source_NH: np.ndarray, target_NH: np.ndarray) -> np.ndarray:
    """The rotation or reflection R (h, h) for which |source @ R - target| is least (orthogonal Procrustes)."""
    left, _, right = np.linalg.svd(source_NH.astype(np.float64).T @ target_NH.astype(np.float64))
    return left @ right


def read_dictionary(source: object, *, most: int = 1_000_000) -> list[tuple[str, str]]:
    """Word pairs from a file with one `old word<TAB>new word` a line (a space will do), or a list of pairs.

    Raises:
        FileNotFoundError: no such file. ValueError: a line without two words, or no line.
    """
    if not isinstance(source, str | Path):
        pairs = [(str(a), str(b)) for a, b in source]
    else:
        pairs = []
        for number, line in enumerate(text_lines(Path(source)), start=1):
            parts = line.split("\t") if "\t" in line else line.split()
            if len(parts) != 2:
                raise ValueError(
                    f"{source}:{number}: {line[:60]!r} is not a pair of words; need `old word<TAB>new word` a line."
                )
            pairs.append((parts[0].strip(), parts[1].strip()))
            if len(pairs) >= most:
                break
    if not pairs:
        raise ValueError(f"The dictionary {source!r:.60} holds no pair of words; need one pair a line.")
    return pairs


def dictionary_pairs(pairs: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Each pair as written, in lower case and with a capital, in every combination, none twice (WECHSEL)."""
    spread = (
        (a, b) for old, new in pairs for a in (old, old.lower(), old.title()) for b in (new, new.lower(), new.title())
    )
    return list(dict.fromkeys(spread))


def _read(path: Path, most: int) -> tuple[list[str], np.ndarray]:
    words: list[str] = []
    rows: list[np.ndarray] = []
    width = 0
    for number, line in enumerate(text_lines(path), start=1):
        parts = line.rstrip().split(" ")
        if number == 1 and len(parts) == 2 and all(part.isdigit() for part in parts):
            continue
        width = width or len(parts) - 1
        row = _numbers(parts, width) if 0 < width <= MOST_WIDTH else None
        if row is None:
            raise ValueError(
                f"{path}:{number}: {line[:60]!r} is not a word and {width or 'its'} numbers; need word2vec text, "
                "as fastText's .vec files have. A binary .bin must be converted first."
            )
        words.append(" ".join(parts[:-width]))
        rows.append(row)
        if len(words) >= most:
            break
    if not words:
        raise ValueError(f"{path} holds no vector; need word2vec text format: a word and its numbers on each line.")
    return words, np.array(rows, dtype=np.float32)


def _numbers(parts: list[str], width: int) -> np.ndarray | None:
    try:
        return np.array(parts[-width:], dtype=np.float32) if len(parts) > width else None
    except ValueError:
        return None


def text_lines(path: Path) -> Iterable[str]:
    """Lines of a text file, plain, gzip or xz, that are not empty.

    Raises:
        FileNotFoundError: no such file. ValueError: a damaged archive, or a line too long to be one.
    """
    import gzip
    import lzma
    import zlib

    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; need a text file. Check the path.")
    opener = {".gz": gzip.open, ".xz": lzma.open}.get(path.suffix, open)
    with opener(path, "rt", encoding="utf-8", errors="replace", newline="\n") as file:
        while True:
            try:
                line = file.readline(MOST_LINE)
            except (EOFError, gzip.BadGzipFile, lzma.LZMAError, zlib.error) as error:
                raise ValueError(f"{path} is no complete {path.suffix} file ({error}); fetch it again.") from error
            if not line:
                return
            if len(line) >= MOST_LINE:
                raise ValueError(f"{path} has a line of more than {MOST_LINE:,} characters; need a text file of lines.")
            if line.strip():
                yield line.rstrip("\r\n")


def _word_level(words: list[str]) -> Vocab:
    """A vocabulary of whole words between spaces; the last id stands for any other."""
    spec = {
        "version": "1.0",
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": None,
        "decoder": None,
        "model": {
            "type": "WordLevel",
            "vocab": {**{word: i for i, word in enumerate(words)}, "<unk>": len(words)},
            "unk_token": "<unk>",
        },
    }
    return Vocab.from_spec(spec, {}, "words")
