"""What the terms of a domain cost in tokens, alone and inside a text, by group of terms; and tokens a character.

Papers: KL3M Tokenizers: A Family of Domain-Specific and Character-Level Tokenizers for Legal, Financial, and
Preprocessing Applications (arXiv 2503.17247).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tokenry.core.intervals import Interval, bootstrap_interval, wilson_interval
from tokenry.core.report import Figure
from tokenry.core.vocab import Vocab
from tokenry.tokenization.counting import Counts, encode_words
from tokenry.tokenization.entries import shown
from tokenry.tokenization.lenses import Findings, ratio
from tokenry.tokenization.validators import lines_of

_LONGEST_TERM, _MOST_TERMS, _MOST_SHOWN = 300, 200_000, 1000


@dataclass(frozen=True, eq=False)
class TermCosts:
    """Tokens of terms.

    Attributes:
        terms: the terms.
        groups: the group of each.
        bare: token ids of each as it stands alone in a text, with nothing added.
        spaced: token ids of each behind a space.
    """

    terms: tuple[str, ...]
    groups: tuple[str, ...]
    bare: tuple[tuple[int, ...], ...]
    spaced: tuple[tuple[int, ...], ...]

    def mean(self, *, spaced: bool = True, group: str | None = None, seed: int = 0) -> Interval:
        """Mean tokens a term with its interval over terms."""
        lengths = [
            len(ids)
            for ids, name in zip(self.spaced if spaced else self.bare, self.groups, strict=True)
            if group in (None, name)
        ]
        return bootstrap_interval(np.array(lengths, np.float64), seed=seed, unit="tokens/term")

    def single_share(self, *, group: str | None = None) -> Interval:
        """Share of terms that are one token behind a space."""
        single = [len(ids) == 1 for ids, name in zip(self.spaced, self.groups, strict=True) if group in (None, name)]
        return wilson_interval(sum(single), len(single))


def read_terms(path: str | Path) -> list[tuple[str, str]]:
    """(term, group) pairs of a list: one term a line, or `term<TAB>group`; lines that start with # are comments.

    A term listed twice in one group counts once.

    Raises:
        FileNotFoundError: no such file. ValueError: no term in it, or a term of more than 300 characters.
    """
    found: dict[tuple[str, str], None] = {}
    for number, line in enumerate(lines_of(path), 1):
        term, _, group = line.partition("\t")
        if not term.strip() or line.startswith("#"):
            continue
        if len(term) > _LONGEST_TERM or len(found) >= _MOST_TERMS:
            raise ValueError(
                f"{path} line {number}: a term of {len(term)} characters, or more than {_MOST_TERMS:,} terms; need one "
                "term a line, with its group behind a tab."
            )
        found[term.strip(), group.split("\t")[0].strip() or "terms"] = None
    if not found:
        raise ValueError(f"{path} holds no term; need one a line, with its group behind a tab.")
    return list(found)


def term_costs(vocab: Vocab, terms: Sequence[tuple[str, str]]) -> TermCosts:
    """Encode terms without bos, eos or other additions, alone and behind a space.

    Alone means: as behind a line break, so that no tokenizer puts a dummy space in front.
    """
    texts = [term for term, _ in terms]
    return TermCosts(
        tuple(texts),
        tuple(group for _, group in terms),
        tuple(map(tuple, encode_words(vocab, texts))),
        tuple(map(tuple, encode_words(vocab, [" " + text for text in texts]))),
    )


def terms(counts: Counts, *, seed: int = 0, terms: str | Mapping[str, Sequence[str]] | None = None) -> Findings:
    """Lens: tokens a domain term, and tokens a character (TPC) of the text.

    Args:
        counts: of a tokenizer on a text of the domain.
        seed: of the bootstrap over terms.
        terms: file for `read_terms`, or group -> terms.

    Raises:
        ValueError: no terms are given. FileNotFoundError: no such file.
    """
    if terms is None:
        raise ValueError("the lens 'terms' needs a list of terms, one a line, group behind a tab: --terms FILE.")
    pairs = [(t, group) for group, some in terms.items() for t in some] if isinstance(terms, Mapping) else None
    costs = term_costs(counts.vocab, read_terms(terms) if pairs is None else pairs)
    found = Findings(
        facts={
            "n_terms": len(costs.terms),
            "tokens_per_term": costs.mean(seed=seed),
            "tokens_per_term.bare": costs.mean(spaced=False, seed=seed),
            "single_token_terms": costs.single_share(),
            "tokens_per_character": ratio(counts.tokens_D, counts.characters_D, seed=seed, unit="tokens/character"),
        },
        notes=["Terms are encoded without special tokens; a term counts behind a space unless 'bare' is said."],
    )
    groups = list(dict.fromkeys(costs.groups))
    rows = [(group, costs.mean(group=group, seed=seed), costs.single_share(group=group)) for group in groups]
    found.tables["term_groups"] = {
        "group": groups,
        "terms": [mean.n for _, mean, _ in rows],
        "tokens_per_term": [mean.value for _, mean, _ in rows],
        "low": [mean.low for _, mean, _ in rows],
        "high": [mean.high for _, mean, _ in rows],
        "bare": [costs.mean(spaced=False, group=group, seed=seed).value for group in groups],
        "single_token_share": [share.value for *_, share in rows],
    }
    found.tables["terms"] = _listed(counts.vocab, costs)
    points = [(group, mean.value, mean.low, mean.high) for group, mean, _ in rows]
    found.figures.append(Figure("interval", "Tokens per term by group", "group", "tokens", {"terms": points}))
    if len(costs.terms) < 10:
        found.warnings.append(f"Intervals rest on {len(costs.terms)} term(s); read them as 'at least this wide'.")
    return found


def _listed(vocab: Vocab, costs: TermCosts) -> dict[str, list]:
    """The costliest terms first."""
    order = sorted(range(len(costs.terms)), key=lambda i: (-len(costs.spaced[i]), costs.terms[i]))[:_MOST_SHOWN]
    return {
        "term": [costs.terms[i] for i in order],
        "group": [costs.groups[i] for i in order],
        "tokens": [len(costs.spaced[i]) for i in order],
        "bare": [len(costs.bare[i]) for i in order],
        "cut": ["|".join(shown(vocab, token) for token in costs.spaced[i]) for i in order],
    }
