"""Whose tokens are these? Languages of a vocabulary by use: p(language | token) from the text of each source.

Every source of the text counts as one language, all with equal weight, however much of each there is.

Papers: Qtok: A Comprehensive Framework for Evaluating Multilingual Tokenizer Quality in Large Language Models (arXiv
2410.12989; there by dictionaries, which `dictionary_shares` offers too).
"""

from collections.abc import Collection, Iterable, Mapping

import numpy as np

from tokenry.core.report import Figure
from tokenry.tokenization.counting import Counts
from tokenry.tokenization.findings import Findings, rows_as_columns

# Axes: L languages, U tokens used by any of them, R resamples.

COVERAGES = (0.5, 0.9, 0.99)
_DRAWS = 100
_ALPHA = 0.5
_RESAMPLES = 20
_MOST_RESAMPLED = 5_000_000
"""Beyond so many (language, token) cells shares get no interval."""
_MOST_LANGUAGES, _MOST_PAIRS = 300, 12
_OWN = 0.9


def languages(counts: Counts, *, seed: int = 0, alpha: float = _ALPHA) -> Findings:
    """Share of each language (source) in the used vocabulary, and how many tokens cover its text.

    Args:
        alpha: see `attribution`.
    """
    if counts.by_source is None:
        raise ValueError("languages need the tokens of each source; count with by_source=True.")
    names = list(counts.sources)
    if not 2 <= len(names) <= _MOST_LANGUAGES:
        why = "one source" if len(names) < 2 else f"{len(names):,} sources, more than {_MOST_LANGUAGES}"
        return Findings(notes=[f"Languages by use are not shown: the text has {why}; give one source a language."])
    n_LU = used_matrix(counts)
    shares = attribution(n_LU, alpha=alpha)
    errors_L = _errors(n_LU, alpha, np.random.default_rng(seed))
    rows = []
    for i, name in enumerate(names):
        covered = effective_vocabulary(n_LU[i])
        mean, error = float(shares[i].mean()), float(errors_L[i])
        rows.append(
            {
                "language": name,
                "tokens": int(n_LU[i].sum()),
                "share_of_vocabulary": mean,
                "low": mean - 1.96 * error,
                "high": mean + 1.96 * error,
                "own_tokens": int((shares[i] > _OWN).sum()),
                "used_tokens": int((n_LU[i] > 0).sum()),
                "cover_50": covered[0],
                "cover_90": covered[1],
                "cover_99": covered[2],
                **_cover_ends(n_LU[i], seed),
            }
        )
    rows.sort(key=lambda row: -row["share_of_vocabulary"])
    found = Findings(
        facts={"languages": len(names), "tokens_used_by_languages": n_LU.shape[1]},
        tables={"languages": rows_as_columns(rows)},
        notes=[
            f"Languages by use: p(language | token) from the text of each source, alpha {alpha}, all of equal weight; "
            "share_of_vocabulary is its mean over the used entries. It says whom the entries serve, not how much of a "
            "language the tokenizer was trained on; see `tokenizer mixture` for that.",
            "The intervals of a share and of cover_ resample tokens, not documents: read them as at least so wide. "
            f"own_tokens: entries of which a language has over {_OWN:.0%}. cover_90: the fewest entries that make up "
            "90 % of a language's tokens in this text; it grows with the text, so compare languages on equal amounts.",
        ],
    )
    if len(names) <= _MOST_PAIRS:
        found.tables["language_overlap"] = _overlap(n_LU, names)
    top = rows[:16]
    points = [(row["language"], row["share_of_vocabulary"]) for row in top]
    found.figures.append(Figure("bar", "Languages of the used vocabulary", "language", "share", {"share": points}))
    return found


def used_matrix(counts: Counts) -> np.ndarray:
    """How often each source (rows) uses each ordinary token that any of them uses (columns), (L, U)."""
    source_K, id_K, n_K = counts.by_source.tokens()
    plain = np.array([data is not None for data in counts.vocab.tokens], bool)
    keep = plain[id_K]
    used, column_K = np.unique(id_K[keep], return_inverse=True)
    n_LU = np.zeros((len(counts.sources), len(used)), np.int64)
    n_LU[source_K[keep], column_K] = n_K[keep]
    return n_LU


def attribution(n_LU: np.ndarray, *, alpha: float = _ALPHA) -> np.ndarray:
    """p(language | token), (L, U): counts brought to one size for all languages, smoothed, and normalised.

    Args:
        n_LU: how often each language uses each token.
        alpha: uses added to every token, shared equally by the languages: with 0.5, a token seen once, in one language
            of many, is two thirds its.

    Raises:
        ValueError: if alpha is not above 0.
    """
    if not alpha > 0:
        raise ValueError(f"alpha={alpha}; need a number above 0, or a token that a language lacks decides everything.")
    totals_L = n_LU.sum(axis=1, keepdims=True)
    equal_LU = n_LU / np.maximum(totals_L, 1) * totals_L.mean() + alpha / len(n_LU)
    return equal_LU / equal_LU.sum(axis=0)


def _errors(n_LU: np.ndarray, alpha: float, rng: np.random.Generator) -> np.ndarray:
    """Standard errors of the shares of the vocabulary when tokens are drawn again, (L,); NaN where that is too dear."""
    if n_LU.size > _MOST_RESAMPLED or not n_LU.any():
        return np.full(len(n_LU), np.nan)
    where, draws = np.nonzero(n_LU), []
    for _ in range(_RESAMPLES):
        drawn = np.zeros_like(n_LU)
        drawn[where] = rng.poisson(n_LU[where])
        draws.append(attribution(drawn[:, drawn.any(axis=0)], alpha=alpha).mean(axis=1))
    return np.std(draws, axis=0, ddof=1)


def effective_vocabulary(n_U: np.ndarray, coverages: Iterable[float] = COVERAGES) -> list[int]:
    """The fewest tokens that make up each share of a language's text; 0 for no text."""
    ordered = np.sort(n_U)[::-1]
    running = np.cumsum(ordered)
    if not len(running) or not running[-1]:
        return [0 for _ in coverages]
    return [int(np.searchsorted(running, share * running[-1] - 1e-9)) + 1 for share in coverages]


def _cover_ends(n_U: np.ndarray, seed: int) -> dict[str, int]:
    """Ends of the number of tokens that cover a share of the text, when its tokens are drawn again; by column."""
    used = n_U[n_U > 0].astype(np.int64)
    drawn = np.zeros((1, len(COVERAGES)))
    if len(used):
        draws = np.random.default_rng(seed).multinomial(used.sum(), used / used.sum(), _DRAWS)
        drawn = np.array([effective_vocabulary(draw) for draw in draws])
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
    ends = {}
    for k, coverage in enumerate(COVERAGES):
        ends[f"cover_{round(100 * coverage)}_low"] = int(np.floor(low[k]))
        ends[f"cover_{round(100 * coverage)}_high"] = int(np.ceil(high[k]))
    return ends


def _overlap(n_LU: np.ndarray, names: list[str]) -> dict[str, list]:
    """1 less half the L1 distance of two languages' token distributions: the share of tokens they use alike."""
    p_LU = n_LU / np.maximum(n_LU.sum(axis=1, keepdims=True), 1)
    columns: dict[str, list] = {"language": names}
    for i, name in enumerate(names):
        columns[name] = [float(np.minimum(p_LU[i], p).sum()) for p in p_LU]
    return columns


def dictionary_shares(texts: Iterable[str], languages_of: Mapping[str, Collection[str]]) -> dict[str, float]:
    """Qtok's way: each entry a dictionary knows gives an equal part of itself to every language it is listed for.

    Args:
        texts: entries as text, a leading space included.
        languages_of: entry -> languages in whose word lists it occurs, as a word or a part.

    Returns:
        Shares by language, highest first, of all (entry, language) listings; they sum to less than 1 where entries
        have several languages, as in Qtok's tables. Related languages and short pieces dominate; prefer use.
    """
    sums: dict[str, float] = {}
    listings = 0
    for text in texts:
        known = languages_of.get(text, ())
        listings += len(known)
        for language in known:
            sums[language] = sums.get(language, 0.0) + 1 / len(known)
    return {name: total / listings for name, total in sorted(sums.items(), key=lambda item: -item[1])}
