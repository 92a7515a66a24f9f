"""Make a tokenizer smaller: take out the entries your text uses least, without changing how the rest is cut.

Only leaves are taken out: entries no other merge is made of. If a text does not use a leaf, none of the merges that
make it ever fired there (what they make would have stayed), so without them the text is cut exactly as before. By
induction the same holds for a whole series of leaves, each taken out when nothing is made of it any more. A text that
does use a removed entry is cut finer there. For WordPiece and Unigram every entry is a leaf: the longest match, or the
best path, that does not use an entry is still the longest, or the best, without it (Unigram: but for words with an
unknown character, whose cost hangs on the lowest score).

Bytes, single characters, special and reserved tokens always stay.

Papers: Teaching Old Tokenizers New Words (arXiv 2512.03989), leaf-based pruning; compare BPE trimming (arXiv
2404.00397), which takes out inner entries too and changes texts that never used them.
"""

import heapq
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from tokenry.core.hf_json import model_type
from tokenry.core.pretokens import Pretokens
from tokenry.core.report import FactValue, Report
from tokenry.core.tokenmap import TokenMap
from tokenry.core.vocab import Kind, Vocab
from tokenry.tokenization.entries import shown
from tokenry.tokenization.extension_report import changes
from tokenry.tokenization.extension_report import uses as uses_of
from tokenry.tokenization.training import counted, renumbered
from tokenry.tokenization.word_tables import WordTable, encode_table

SHOWN = 1000


@dataclass(frozen=True, eq=False)
class Pruned:
    """A smaller vocabulary and where its entries come from."""

    vocab: Vocab
    token_map: TokenMap
    """Row of each new id: the old row to copy. A model is moved with it, or by `tokenry transplant`."""
    removed: np.ndarray
    """int64, old ids that were taken out, in the order they were."""
    report: Report


def prune(
    vocab: Vocab, source: object, *, keep: int | None = None, min_uses: int | None = None, **reading: object
) -> Pruned:
    """Take out the entries a text uses least.

    Args:
        vocab: any kind; not changed.
        source: what `core.tables.stream` takes, or `Pretokens` counted for this vocabulary: the text to judge by.
        keep: entries afterwards; or
        min_uses: take out whatever the text uses fewer times. One of the two. With 1 the text itself is cut as before.
        reading: `text`, `limit`, `skip_bad`, `cache`, `workers` of `core.pretokens.count_pretokens`.

    Returns:
        The vocabulary with ids 0..V-1 in the old order (holes go too), the map of rows, and a Report.

    Raises:
        ValueError: neither or both of keep and min_uses, or more to take out than there are leaves to take.

    Paper: Teaching Old Tokenizers New Words (arXiv 2512.03989), section 3.2.
    """
    pretokens = counted(source, vocab.spec, reading)
    before = _words_as_ids(vocab, pretokens)
    uses = uses_of(before, vocab.size)
    removed = _chosen(vocab, uses, keep, min_uses)
    kept = np.ones(vocab.size, bool)
    kept[removed] = False
    kept[_holes(vocab)] = False
    smaller = _without(vocab, kept)
    report = _report(vocab, smaller, pretokens, before, removed=removed, uses=uses)
    return Pruned(smaller, TokenMap.one_hot(np.flatnonzero(kept), vocab.size), removed, report)


def _words_as_ids(vocab: Vocab, pretokens: Pretokens) -> WordTable:
    """The words under a vocabulary of any kind, by its own model."""
    marks = [vocab.spec["model"].get(key) for key in ("end_of_word_suffix", "continuing_subword_prefix")]
    if model_type(vocab.spec) == "BPE" and not any(marks):
        return encode_table(vocab, pretokens.words, pretokens.total)
    model = vocab.backend.model
    cut = [[token.id for token in model.tokenize(word)] for word in pretokens.words]
    offsets = np.concatenate([[0], np.cumsum([len(ids) for ids in cut])]).astype(np.int64)
    return WordTable(np.array([i for ids in cut for i in ids], np.int32), offsets, pretokens.total)


def _holes(vocab: Vocab) -> np.ndarray:
    """Ids with no entry at all."""
    return np.array([i for i in range(vocab.size) if vocab.kinds[i] == Kind.UNUSED and not vocab.literal(i)], np.int64)


def removable(vocab: Vocab) -> np.ndarray:
    """bool (V,): entries that may go once nothing is made of them: ordinary ones of more than one character."""
    prefix = vocab.spec["model"].get("continuing_subword_prefix") or ""
    added = {token["content"] for token in vocab.spec["added_tokens"]}
    made = np.zeros(vocab.size, bool)
    made[vocab.merges[:, 2]] = True
    suffix = vocab.spec["model"].get("end_of_word_suffix") or ""
    for i in np.flatnonzero(vocab.kinds == Kind.NORMAL).tolist():
        literal = vocab.literal(i)
        plain = (literal.removeprefix(prefix) if prefix else literal).removesuffix(suffix)
        made[i] = (made[i] or len(plain) > 1) and literal not in added
    return made & (vocab.kinds == Kind.NORMAL)


def _chosen(vocab: Vocab, uses: np.ndarray, keep: int | None, min_uses: int | None) -> np.ndarray:
    """Old ids to take out, least used first; what a removed entry was used for, its parts are used for then."""
    if (keep is None) == (min_uses is None):
        raise ValueError(
            f"keep={keep} and min_uses={min_uses}; need one of them: the entries to keep, or the least use."
        )
    may_go, n_now = removable(vocab), vocab.size - len(_holes(vocab))
    if keep is not None and not n_now - int(may_go.sum()) <= keep < n_now:
        raise ValueError(
            f"keep={keep:,} of the {n_now:,} entries of {vocab.name}; need {n_now - int(may_go.sum()):,} (bytes, "
            f"characters, special and reserved tokens always stay) to {n_now - 1:,}."
        )
    parts: dict[int, tuple[int, int]] = {}
    for left, right, result in vocab.merges.tolist():
        parts.setdefault(result, (left, right))
    n_parents = np.bincount(vocab.merges[:, :2].ravel(), minlength=vocab.size) if len(vocab.merges) else np.zeros(
        vocab.size, np.int64)  # fmt: skip
    made_by: dict[int, list[tuple[int, int]]] = {}
    for left, right, result in vocab.merges.tolist():
        made_by.setdefault(result, []).append((left, right))
    now, gone = uses.astype(np.int64).copy(), []
    heap = [(int(now[i]), -i) for i in np.flatnonzero(may_go & (n_parents == 0)).tolist()]
    heapq.heapify(heap)
    while heap and (min_uses is not None or n_now - len(gone) > keep):
        count, i = heapq.heappop(heap)
        if now[-i] != count:
            heapq.heappush(heap, (int(now[-i]), i))
            continue
        if min_uses is not None and count >= min_uses:
            break
        gone.append(-i)
        for part in parts.get(-i, ()):
            now[part] += count
        for pair in made_by.get(-i, ()):
            for part in pair:
                n_parents[part] -= 1
                if n_parents[part] == 0 and may_go[part]:
                    heapq.heappush(heap, (int(now[part]), -part))
    if keep is not None and n_now - len(gone) > keep:
        raise ValueError(
            f"keep={keep:,} cannot be reached: {n_now - len(gone):,} entries are parts of what must stay. Keep as many."
        )
    return np.array(gone, np.int64)


def _without(vocab: Vocab, kept: np.ndarray) -> Vocab:
    """The vocabulary of the kept ids, renumbered."""
    ids = np.where(kept, np.cumsum(kept) - 1, -1)
    spec, model = vocab.spec, dict(vocab.spec["model"])
    if isinstance(model["vocab"], list):
        model["vocab"] = [row for i, row in enumerate(model["vocab"]) if kept[i]]
        if model.get("unk_id") is not None:
            model["unk_id"] = int(ids[model["unk_id"]])
    else:
        held = sorted((int(ids[i]), entry) for entry, i in model["vocab"].items() if kept[i])
        model["vocab"] = {entry: i for i, entry in held}
    if "merges" in model:
        whole = kept[vocab.merges[:, 2]] & kept[vocab.merges[:, 0]] & kept[vocab.merges[:, 1]]
        model["merges"] = [merge for merge, stays in zip(model["merges"], whole.tolist(), strict=True) if stays]
    added = [{**token, "id": int(ids[token["id"]])} for token in spec["added_tokens"]]
    post = renumbered(spec.get("post_processor"), {token["content"]: token["id"] for token in added} | model_ids(model))
    spec = {**spec, "model": model, "added_tokens": added, "post_processor": post}
    return Vocab.from_spec(spec, _config(vocab.config, ids, kept), f"{vocab.name}-")


def model_ids(model: Mapping[str, object]) -> dict[str, int]:
    """Stored string -> id of a model's vocabulary in either of its two forms."""
    entries = model["vocab"]
    return {row[0]: i for i, row in enumerate(entries)} if isinstance(entries, list) else dict(entries)


def _config(config: dict, ids: np.ndarray, kept: np.ndarray) -> dict:
    """The configuration with every id in it brought up to date."""
    new = {key: value for key, value in config.items() if key not in ("added_tokens_decoder", "superwords")}
    for key, value in config.items():
        if key.endswith("_token_id") and isinstance(value, int):
            new[key] = int(ids[value]) if 0 <= value < len(ids) else value
    if config.get("piece_scores") is not None:
        scores = config["piece_scores"]
        new["piece_scores"] = [scores[i] for i in np.flatnonzero(kept[: len(scores)]).tolist()]
    if config.get("unused_token_ids") is not None:
        new["unused_token_ids"] = [int(ids[i]) for i in config["unused_token_ids"] if i < len(ids) and kept[i]]
    return new


def _report(
    old: Vocab, new: Vocab, pretokens: Pretokens, before: WordTable, *, removed: np.ndarray, uses: np.ndarray
) -> Report:
    """What became of the text, and whether the words that used no removed entry are cut as before: looked at, word by
    word, not only proved."""
    now = _words_as_ids(new, pretokens)
    differs, _ = changes((old, before), (new, now))
    gone = np.zeros(old.size, bool)
    gone[removed] = True
    touched = np.zeros(len(before.counts), bool)
    touched[np.repeat(np.arange(len(before.counts)), np.diff(before.offsets))[gone[before.symbols]]] = True
    total = int(before.counts.sum())
    facts: dict[str, FactValue] = {
        "vocab_size.before": old.size,
        "vocab_size.after": new.size,
        "n_removed": len(removed),
        "n_removed_used": int((uses[removed] > 0).sum()),
        "n_tokens.before": before.n_tokens,
        "n_tokens.after": now.n_tokens,
        "tokens_added_share": now.n_tokens / before.n_tokens - 1 if before.n_tokens else 0.0,
        "words_changed_share": float(before.counts[differs].sum()) / total if total else 0.0,
        "untouched_words_changed": int((differs & ~touched).sum()),
    }
    rows = removed[np.argsort(-uses[removed], kind="stable")][:SHOWN].tolist()
    table = pa.table(
        {
            "id": pa.array(rows, pa.int64()),
            "token": pa.array([shown(old, i) for i in rows], pa.string()),
            "occurrences": pa.array(uses[rows].tolist() if rows else [], pa.int64()),
        }
    )
    verdict = (
        f"{len(removed):,} entries of {old.size:,} go, {facts['n_removed_used']:,} of which the text used; it gets "
        f"{facts['tokens_added_share']:.2%} longer, {facts['words_changed_share']:.2%} of its words are cut otherwise. "
        "Text that used none of them is cut as before."
    )
    if not len(removed):
        verdict = f"Nothing to remove: all {old.size:,} entries are kept. Ask for fewer with --keep, or a higher count."
    return Report(kind="tokenizer-prune", title=f"{old.name}: {new.size:,} entries kept", facts=facts,
                  tables={"removed": table}, verdict=verdict)  # fmt: skip
