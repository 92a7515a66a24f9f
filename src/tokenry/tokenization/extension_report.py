"""What an extension does to texts: tokens before and after, words joined or cut anew, new tokens used or out of reach.

Paper: Cabrita: closing the gap for foreign languages (arXiv 2308.11878).
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from tokenry.core.pretokens import Pretokens
from tokenry.core.report import FactValue, Report, TokenSample
from tokenry.core.vocab import Kind, Vocab
from tokenry.tokenization.entries import shown
from tokenry.tokenization.word_tables import WordTable, encode_table

SHOWN_TOKENS = 1000
SHOWN_WORDS = 12


def extension_report(
    old: Vocab, new: Vocab, pieces: Sequence[Sequence[int]], texts: dict[str, tuple[Pretokens, WordTable]]
) -> Report:
    """Compare an extended vocabulary with the one it grew from.

    Args:
        old, new: before and after.
        pieces: old ids of each new id.
        texts: "text", and perhaps "protected", -> its pre-tokens and their table under `old`.

    Returns:
        Report of kind "tokenizer-extension". Facts `n_tokens.before|after`, `bytes_per_token.before|after`,
        `tokens_saved_share`, `words_changed_share` (of word occurrences), `words_recut_share` (those cut at a place
        where they were not cut before), `word_types_changed_share`, the same for the protected text under `protected.`;
        `n_new`, `n_new_used`, `n_new_unreachable`, `n_reserved`. Table `tokens`: the most used new ones.
    """
    facts: dict[str, FactValue] = {
        "vocab_size.before": old.size,
        "vocab_size.after": new.size,
        "n_new": sum(1 for piece in pieces if piece),
        "n_reserved": sum(1 for piece in pieces if not piece),
        "n_merges_added": len(new.merges) - len(old.merges),
    }
    used = changed = after = None
    for name, (pretokens, before) in texts.items():
        now = encode_table(new, pretokens.words, pretokens.total)
        differs, recut = changes((old, before), (new, now))
        stem = "" if name == "text" else f"{name}."
        facts |= {stem + key: value for key, value in _effect(pretokens, before, now, (differs, recut)).items()}
        if name == "text":
            used, changed, after = uses(now, new.size)[old.size :], differs, now
    facts["n_new_used"] = int((used > 0).sum())
    facts["n_new_unreachable"] = len(unreachable(new, first=old.size))
    pretokens, before = texts["text"]
    return Report(
        kind="tokenizer-extension",
        title=f"{old.name}: {facts['n_new']:,} new tokens",
        facts=facts,
        tables={"tokens": _token_table(old, new, pieces, used)},
        samples=_samples(old, new, before, after, changed),
        verdict=_verdict(facts),
    )


def changes(before: tuple[Vocab, WordTable], after: tuple[Vocab, WordTable]) -> tuple[np.ndarray, np.ndarray]:
    """Which words are cut otherwise, and which of them are cut anew: bool (W,) each.

    A word that is only joined keeps none but old cuts; one that is cut anew has a cut it did not have.

    Args:
        before, after: vocabulary and the same words under it.
    """
    old, new = (_cut_places(vocab, table) for vocab, table in (before, after))
    n = len(before[1].counts)
    fresh, gone = (np.bincount(a[0][~np.isin(a[1], b[1])], minlength=n) for a, b in ((new, old), (old, new)))
    return (fresh > 0) | (gone > 0), fresh > 0


def _cut_places(vocab: Vocab, table: WordTable) -> tuple[np.ndarray, np.ndarray]:
    """(word, key) of each token's end, where the key says word and byte."""
    sizes = np.diff(table.offsets)
    words = np.repeat(np.arange(len(sizes)), sizes)
    reach = np.concatenate([[0], np.cumsum(vocab.byte_lengths[table.symbols], dtype=np.int64)])
    inside = reach[1:] - np.repeat(reach[table.offsets[:-1]], sizes)
    return words, words << 32 | inside


def unreachable(vocab: Vocab, *, first: int = 0) -> list[int]:
    """Entries from `first` on that the model does not return for exactly their own bytes: no merges lead to them."""
    entries = [i for i in np.flatnonzero(vocab.kinds == Kind.NORMAL).tolist() if i >= first]
    return [i for i in entries if vocab.decompose(vocab.tokens[i]) != [i]]


def _effect(
    pretokens: Pretokens, before: WordTable, now: WordTable, changed: tuple[np.ndarray, np.ndarray]
) -> dict[str, FactValue]:
    differs, recut = changed
    n_bytes, total = int(pretokens.n_bytes.sum()), int(before.counts.sum())
    n_before, n_after = before.n_tokens, now.n_tokens
    return {
        "n_bytes": n_bytes,
        "n_tokens.before": n_before,
        "n_tokens.after": n_after,
        "bytes_per_token.before": n_bytes / n_before if n_before else None,
        "bytes_per_token.after": n_bytes / n_after if n_after else None,
        "tokens_saved_share": 1 - n_after / n_before if n_before else 0.0,
        "words_changed_share": float(before.counts[differs].sum()) / total if total else 0.0,
        "words_recut_share": float(before.counts[recut].sum()) / total if total else 0.0,
        "word_types_changed_share": float(differs.mean()) if len(differs) else 0.0,
    }


def uses(table: WordTable, size: int) -> np.ndarray:
    """How often each id occurs in the text."""
    weights = np.repeat(table.counts, np.diff(table.offsets)).astype(np.float64)
    return np.bincount(table.symbols, weights=weights, minlength=size).astype(np.int64)


def _token_table(old: Vocab, new: Vocab, pieces: Sequence[Sequence[int]], used: np.ndarray) -> pa.Table:
    rows = np.argsort(-used, kind="stable")[:SHOWN_TOKENS].tolist()
    return pa.table(
        {
            "id": pa.array([old.size + i for i in rows], pa.int64()),
            "token": pa.array([shown(new, old.size + i) for i in rows], pa.string()),
            "made_of": pa.array([" + ".join(shown(old, p) for p in pieces[i]) for i in rows], pa.string()),
            "occurrences": pa.array(used[rows] if rows else [], pa.int64()),
        }
    )


def _samples(old: Vocab, new: Vocab, before: WordTable, after: WordTable, changed: np.ndarray) -> list[TokenSample]:
    """The most frequent words that are cut otherwise, before and after."""
    words = np.flatnonzero(changed)[:SHOWN_WORDS].tolist()
    if not words:
        return []
    rows = []
    for label, vocab, table in (("before", old, before), ("after", new, after)):
        ids = [i for w in words for i in table.symbols[table.offsets[w] : table.offsets[w + 1]].tolist()]
        rows.append((label, [shown(vocab, i) for i in ids]))
    return [TokenSample(title="The most frequent words that changed", rows=rows)]


def _verdict(facts: dict[str, FactValue]) -> str:
    sentence = (
        f"{facts['n_new']:,} new tokens make the text {facts['tokens_saved_share']:.1%} shorter in tokens "
        f"({facts['bytes_per_token.before']:.2f} -> {facts['bytes_per_token.after']:.2f} bytes per token)."
        if facts["bytes_per_token.before"] is not None
        else f"{facts['n_new']:,} new tokens."
    )
    if "protected.words_changed_share" in facts:
        sentence += (
            f" In the protected text {facts['protected.words_changed_share']:.2%} of the words are cut otherwise."
        )
    return sentence
