"""Does a tokenizer respect the words and morphemes of a language? Shares of valid and of pure tokens, and the cuts.

A token is valid when it is a word or a bare affix of the language, pure when it is a root or a bare affix. The shares
are over word-like tokens; numbers, punctuation, spaces and parts of characters are classes of their own.

Papers: Tokenization Standards for Linguistic Integrity: Turkish as a Benchmark (arXiv 2502.07057).
"""

import math
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import pyarrow as pa
import regex

from tokenry.core.intervals import Interval, ratio_interval, wilson_interval
from tokenry.core.report import Figure, Report
from tokenry.core.vocab import Vocab
from tokenry.tokenization.counting import Counts, DocumentCounter
from tokenry.tokenization.gold_segmentations import GoldWord, boundary_scores, read_gold
from tokenry.tokenization.lenses import Findings, ratio
from tokenry.tokenization.validators import Validator, is_morpheme, open_validator

# Axes: V vocabulary ids, T types (distinct token texts), D documents.

CLASSES = ("word-like", "several words", "mixed", "number", "punctuation", "white space", "fragment", "special")
"""word-like: letters and marks, apostrophes inside; mixed: letters beside something else; punctuation: and symbols;
fragment: part of a character."""

_WORD = regex.compile(r"[\p{L}\p{M}]+(?:['’·][\p{L}\p{M}]+)*")
_NUMBER = regex.compile(r"\p{N}+(?:[.,]\p{N}+)*")
_LONGEST_SHOWN, _MOST_EXAMPLES = 12, 12
_GOLD_LIMIT = 20_000


@dataclass(frozen=True, eq=False)
class JudgedTokens:
    """The tokens that a text uses, as a validator sees them.

    Attributes:
        texts: (T,) distinct token texts, NFC, without the one space in front.
        counts_T: occurrences.
        classes: (T,), each one of `CLASSES`.
        valid_T, pure_T: bool; only word-like texts can be either.
    """

    texts: tuple[str, ...]
    counts_T: np.ndarray
    classes: tuple[str, ...]
    valid_T: np.ndarray
    pure_T: np.ndarray

    @property
    def is_word(self) -> np.ndarray:
        """bool, the word-like ones."""
        return np.array([name == "word-like" for name in self.classes], bool)


def token_class(data: bytes | None) -> tuple[str, str]:
    """Class and text of a token: NFC, one space in front taken off, broken bytes escaped."""
    if data is None:
        return "special", ""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return "fragment", data.decode("utf-8", "backslashreplace")
    body = unicodedata.normalize("NFC", text)
    if not body.strip():
        return "white space", body
    body = body.removeprefix(" ")
    if _WORD.fullmatch(body):
        return "word-like", body
    if _NUMBER.fullmatch(body):
        return "number", body
    if " " in body and all(_WORD.fullmatch(part) for part in body.split(" ")):
        return "several words", body
    return ("mixed" if regex.search(r"\p{L}", body) else "punctuation"), body


def judge_tokens(vocab: Vocab, tokens_V: np.ndarray, validator: Validator) -> JudgedTokens:
    """Put the used tokens into classes and ask the validator about the word-like ones.

    Args:
        vocab: the tokenizer.
        tokens_V: int (V,), how often each id occurs; ids with 0 are not looked at.
        validator: see `validators.Validator`.
    """
    found: Counter = Counter()
    for i in np.flatnonzero(tokens_V).tolist():
        found[token_class(vocab.tokens[i])] += int(tokens_V[i])
    kinds, texts = zip(*found, strict=True) if found else ((), ())
    words = [kind == "word-like" for kind in kinds]
    pure = [word and is_morpheme(validator, text) for word, text in zip(words, texts, strict=True)]
    valid = [p or (word and validator.is_word(text)) for p, word, text in zip(pure, words, texts, strict=True)]
    counts_T = np.fromiter(found.values(), np.int64, len(found))
    return JudgedTokens(texts, counts_T, kinds, np.array(valid, bool), np.array(pure, bool))


def morphology(
    counts: Counts,
    *,
    seed: int = 0,
    lexicon: str | None = None,
    affixes: str | None = None,
    analyzer: object = None,
    gold: str | None = None,
    lang: str = "",
) -> Findings:
    """Lens: valid and pure tokens, and boundaries against gold segmentations.

    Args:
        counts: of a tokenizer on a text.
        seed: of the bootstrap.
        lexicon, affixes, analyzer, lang: as `validators.open_validator` takes them.
        gold: file of gold segmentations, see `gold_segmentations.read_gold`; the first 20,000 words are used.

    Raises:
        ValueError: neither lexicon, analyzer nor gold is given.
    """
    if lexicon is None and analyzer is None and gold is None:
        raise ValueError(
            "the lens 'morphology' has nothing to judge by; give a lexicon (--lexicon words.txt), an analyser "
            "(--analyzer zeyrek), or gold segmentations (--gold words.tsv)."
        )
    found = Findings()
    if lexicon is not None or analyzer is not None:
        validator = open_validator(lexicon=lexicon, affixes=affixes, analyzer=analyzer, lang=lang)
        _add_shares(found, judge_tokens(counts.vocab, counts.tokens_V, validator), validator, seed=seed)
        found.notes.append("Intervals of the token shares are over token types: the documents are counted together.")
    if gold is not None:
        _add_boundaries(found, counts.vocab, read_gold(gold, limit=_GOLD_LIMIT), seed)
    return found


def language_purity(
    tokenizer: object,
    source: object,
    validator: Validator,
    *,
    gold: Sequence[GoldWord] | None = None,
    seed: int = 0,
    **reading: object,
) -> Report:
    """Judge a tokenizer by the words and morphemes of a language.

    Args:
        tokenizer: whatever `Vocab.open` takes.
        source: text of the language, as `core.tables.stream` takes it.
        validator: from `validators.open_validator`, or your own.
        gold: gold segmentations, for the boundary scores.
        seed: of the bootstrap.
        reading: `text`, `limit`, `skip_bad`, passed to `stream`.

    Returns:
        Report of kind "tokenizer-purity". Facts `valid_type`, `pure_type` (over types, as published), `valid_token`,
        `pure_token` (over the tokens of the text, interval over documents), `valid_type.all`, `pure_type.all` (over
        all used types, whatever their class); beside them tokens_per_word, whole_word_share, bytes_per_token; with
        `gold` also boundary_precision, _recall, _f1, morphscore, stem_kept.

    Raises:
        ValueError: no text. FileNotFoundError, ImportError: from opening either.

    Paper: Tokenization Standards for Linguistic Integrity: Turkish as a Benchmark (arXiv 2502.07057).
    """
    vocab = Vocab.open(tokenizer)
    counter, judge = DocumentCounter(vocab, round_trip=False), _DocumentJudge(vocab, validator)
    _read(source, reading, vocab.name, [counter.add, judge.add])
    counts = counter.finish()
    judged, (word_D, valid_D, pure_D) = judge.finish()
    found = Findings()
    _add_shares(found, judged, validator, seed=seed)
    found.facts["valid_token"] = ratio(valid_D, word_D, seed=seed)
    found.facts["pure_token"] = ratio(pure_D, word_D, seed=seed)
    found.notes.append("Intervals of the token shares are over documents, 95 %.")
    found.facts["tokens_per_word"] = ratio(counts.word_tokens_D, counts.words_D, seed=seed, unit="tokens/word")
    found.facts["whole_word_share"] = ratio(counts.whole_words_D, counts.words_D, seed=seed)
    found.facts["bytes_per_token"] = ratio(counts.bytes_D, counts.tokens_D, seed=seed, unit="bytes/token")
    if gold is not None:
        _add_boundaries(found, vocab, gold, seed)
    head = {"tokenizer": vocab.name, "vocab_size": vocab.size, "n_documents": counts.n_documents,
            "n_tokens": counts.n_tokens, "n_bytes": counts.n_bytes}  # fmt: skip
    report = Report("tokenizer-purity", f"{vocab.name} and {validator.name}", facts=head | found.facts)
    report.tables = {name: pa.table(table) for name, table in found.tables.items()}
    report.figures, report.warnings, report.notes = found.figures, found.warnings, found.notes
    report.verdict = _verdict(report)
    return report


class _DocumentJudge:
    """Word-like, valid and pure tokens of each document; an id is judged when it is first seen."""

    def __init__(self, vocab: Vocab, validator: Validator) -> None:
        self._vocab, self._validator = vocab, validator
        self._marks_V3 = np.zeros((vocab.size, 3), bool)
        self._tokens_V = np.zeros(vocab.size, np.int64)
        self._rows: list[np.ndarray] = []
        self._texts: list[str] = []

    def add(self, text: str, _source: str) -> None:
        self._texts.append(text)
        if len(self._texts) >= 1024:
            self._flush()

    def _flush(self) -> None:
        for ids in self._vocab.encode(self._texts):
            used, times = np.unique(ids, return_counts=True)
            for i in used[self._tokens_V[used] == 0].tolist():
                kind, body = token_class(self._vocab.tokens[i])
                if kind == "word-like":
                    pure = is_morpheme(self._validator, body)
                    self._marks_V3[i] = True, pure or self._validator.is_word(body), pure
            self._tokens_V[used] += times
            self._rows.append(times @ self._marks_V3[used])
        self._texts = []

    def finish(self) -> tuple[JudgedTokens, np.ndarray]:
        self._flush()
        rows_D3 = np.array(self._rows, np.int64).reshape(-1, 3)
        return judge_tokens(self._vocab, self._tokens_V, self._validator), rows_D3.T


def _read(source: object, reading: dict, name: str, takers: list[Callable[[str, str], None]]) -> None:
    from tokenry.core.runs import Progress
    from tokenry.core.tables import stream

    with Progress(f"judging {name}") as progress:
        for batch in stream(source, **reading):
            for text in batch.column("text").to_pylist():
                for take in takers:
                    take(text or "", "")
            progress.add(batch.num_rows)


def _add_shares(found: Findings, judged: JudgedTokens, validator: Validator, *, seed: int) -> None:
    words_T, n_types = judged.is_word, len(judged.texts)
    n_words, weights_T = int(words_T.sum()), judged.counts_T * words_T
    found.facts |= {"validator": validator.name, "used_types": n_types, "word_types": n_words}
    for name, is_T in (("valid", judged.valid_T), ("pure", judged.pure_T)):
        n = int(is_T.sum())
        found.facts[f"{name}_type"] = wilson_interval(n, n_words) if n_words else None
        found.facts[f"{name}_type.all"] = wilson_interval(n, n_types) if n_types else None
        has_tokens = n_words > 0 and weights_T.sum() > 0
        found.facts[f"{name}_token"] = (
            ratio_interval((weights_T * is_T)[words_T], weights_T[words_T], seed=seed) if has_tokens else None
        )
    total = max(1, int(judged.counts_T.sum()))
    of_class = {name: np.array([kind == name for kind in judged.classes], bool) for name in CLASSES}
    found.tables["token_classes"] = {
        "class": list(CLASSES),
        "types": [int(mask.sum()) for mask in of_class.values()],
        "tokens": [int(judged.counts_T[mask].sum()) for mask in of_class.values()],
        "share_of_tokens": [float(judged.counts_T[mask].sum() / total) for mask in of_class.values()],
    }
    found.tables["purity_by_length"] = _by_length(judged)
    found.tables["purity_examples"] = _examples(judged)
    found.figures.append(_length_figure(found.tables["purity_by_length"]))
    found.notes.append(
        f"Valid: a word or bare affix by {validator.name}; pure: a root or bare affix. Over word-like tokens; "
        "'.all' is over every used type, as the published table has it. High shares alone prove little: a dictionary "
        "of short pieces has them too, at more tokens a word."
    )
    if n_words and n_words < 100:
        found.warnings.append(f"Only {n_words} word-like types are used; the shares rest on little.")
    if not n_words:
        found.warnings.append("The text uses no word-like token, so there is no valid or pure share.")


def _by_length(judged: JudgedTokens) -> dict[str, list]:
    lengths_T = np.array([min(len(text), _LONGEST_SHOWN) for text in judged.texts], np.int64)
    rows: dict[str, list] = {"characters": [], "types": [], "valid": [], "pure": []}
    for length in range(1, _LONGEST_SHOWN + 1):
        mask = judged.is_word & (lengths_T == length)
        if mask.any():
            name = str(length) if length < _LONGEST_SHOWN else f"{length}+"
            values = (name, int(mask.sum()), float(judged.valid_T[mask].mean()), float(judged.pure_T[mask].mean()))
            for key, value in zip(rows, values, strict=True):
                rows[key].append(value)
    return rows


def _length_figure(table: dict[str, list]) -> Figure:
    series = {name: list(zip(table["characters"], table[name], strict=True)) for name in ("valid", "pure")}
    return Figure("bar", "Valid and pure tokens by length", "characters", "share of types", series)


def _examples(judged: JudgedTokens) -> dict[str, list]:
    """The most frequent tokens of each verdict."""
    order = np.argsort(-judged.counts_T, kind="stable")
    rows: dict[str, list] = {"verdict": [], "token": [], "count": []}
    verdicts = {
        "pure": judged.pure_T,
        "valid, not pure": judged.valid_T & ~judged.pure_T,
        "not valid": judged.is_word & ~judged.valid_T,
    }
    for name, mask in verdicts.items():
        for i in order[mask[order]][:_MOST_EXAMPLES].tolist():
            for key, value in zip(rows, (name, judged.texts[i], int(judged.counts_T[i])), strict=True):
                rows[key].append(value)
    return rows


def _add_boundaries(found: Findings, vocab: Vocab, gold: Sequence[GoldWord], seed: int) -> None:
    scores = boundary_scores(vocab, gold, seed=seed)
    found.facts |= {
        "boundary_precision": scores.precision,
        "boundary_recall": scores.recall,
        "boundary_f1": scores.f1,
        "morphscore": scores.morphscore,
        "stem_kept": scores.stem_kept,
        "gold_words": scores.n_words,
        "gold_words.whole": scores.words_whole,
        "gold_words.tokens_per_word": scores.tokens_per_word,
        "gold_words.respelled": scores.n_respelled,
    }
    found.notes.append("Boundaries are inside words as they stand behind a space; intervals over words.")


def _verdict(report: Report) -> str:
    valid, pure, cost = (report.facts[name] for name in ("valid_token", "pure_token", "tokens_per_word"))
    if valid is None or cost is None:
        return "No word-like token to judge."
    return (
        f"{valid.value:.1%} of the word-like tokens are words or affixes, {pure.value:.1%} roots or affixes, at "
        f"{cost.value:.3g} tokens a word."
    )


@dataclass(frozen=True)
class Correlation:
    """A Pearson correlation that is never printed without its n and interval.

    Attributes:
        r: value with its interval (Fisher's z, 95 %) and n.
        without_one: lowest and highest r when one point is left out.
    """

    r: Interval
    without_one: tuple[float, float]

    def __str__(self) -> str:
        low, high = self.without_one
        return (
            f"r = {self.r.value:.2f} [{self.r.low:.2f}, {self.r.high:.2f}], n = {self.r.n}, "
            f"{low:.2f} to {high:.2f} without one"
        )


def correlation(first: Sequence[float], second: Sequence[float], *, level: float = 0.95) -> Correlation:
    """Correlate a measure of tokenizers with a score of models.

    Args:
        first, second: one value a model each.
        level: of the interval.

    Raises:
        ValueError: fewer than four pairs (there is no interval then), unequal lengths, or a constant column.
    """
    x, y = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if x.shape != y.shape or x.ndim != 1 or len(x) < 4:
        raise ValueError(f"{x.size} and {y.size} values; need two lists of one length with at least four pairs.")
    if not (np.ptp(x) > 0 and np.ptp(y) > 0):
        raise ValueError("one of the lists is constant; a correlation needs values that differ.")
    r = _pearson(x, y)
    z, half = math.atanh(min(max(r, -1 + 1e-15), 1 - 1e-15)), NormalDist().inv_cdf((1 + level) / 2)
    half /= math.sqrt(len(x) - 3)
    rest = [_pearson(np.delete(x, i), np.delete(y, i)) for i in range(len(x))]
    interval = Interval(r, math.tanh(z - half), math.tanh(z + half), len(x))
    return Correlation(interval, (float(np.nanmin(rest)), float(np.nanmax(rest))))


def _pearson(x: np.ndarray, y: np.ndarray) -> float:
    x, y = x - x.mean(), y - y.mean()
    norm = math.sqrt(float(x @ x) * float(y @ y))
    return float(x @ y) / norm if norm else math.nan
