"""Lenses on the vocabulary: what it is made of, which entries are dead, doubled or broken, its special tokens.

Papers: Qtok: A Comprehensive Framework for Evaluating Multilingual Tokenizer Quality in Large Language Models (arXiv
2410.12989), Fishing for Magikarp: Automatically Detecting Under-trained Tokens in Large Language Models (arXiv
2405.05417; unreachable and undecodable entries).
"""

from collections import Counter

import numpy as np

from tokenry.core.vocab import Kind, Vocab
from tokenry.tokenization import entries
from tokenry.tokenization.composition import (
    CJK,
    CLASSES,
    PLACES,
    QTOK_NAMES,
    composition,
    flanks,
    impossible,
)
from tokenry.tokenization.counting import Counts
from tokenry.tokenization.findings import Findings, share

_MOST_ROWS = 200


def scripts(counts: Counts, *, seed: int = 0) -> Findings:
    """Share of each script in the vocabulary and in the text, what the text pays for it, and places in a word."""
    made = composition(counts.vocab)
    in_vocabulary = Counter(made.script_names)
    total, size = sum(counts.script_bytes.values()), counts.vocab.size
    names = sorted(
        {*in_vocabulary, *counts.script_bytes}, key=lambda s: (-counts.script_bytes.get(s, 0), -in_vocabulary[s])
    )
    pairs = [(counts.script_bytes.get(name, 0), counts.script_tokens.get(name, 0)) for name in names]
    table = {
        "script": names,
        "entries": [in_vocabulary[name] for name in names],
        "share_of_entries": [in_vocabulary[name] / size for name in names],
        "bytes": [n_bytes for n_bytes, _ in pairs],
        "share_of_text": [share(n_bytes, total) for n_bytes, _ in pairs],
        "tokens": [n_tokens for _, n_tokens in pairs],
        "bytes_per_token": [share(n_bytes, n_tokens) for n_bytes, n_tokens in pairs],
    }
    found = Findings(tables={"scripts": {name: column[:_MOST_ROWS] for name, column in table.items()}})
    found.tables["places"] = places(made.places(), size)
    found.notes.append(
        "A piece of text belongs to the script of most of its letters; Common holds digits, punctuation and spaces. "
        "Shares of the vocabulary have no interval: they are complete counts."
    )
    if n_whole := int(counts.whole_D.sum()):
        found.notes.append(
            f"{n_whole:,} documents hold the literal of an added token and are left out of the scripts' text."
        )
    if not any(place == "word start" for _, place in made.places()):
        found.notes.append("No entry begins with a space: in this tokenizer the place in a word means nothing.")
    return found


def places(entries_of: dict[tuple[str, str], int], size: int) -> dict[str, list]:
    """Qtok's table of scripts by place in a word, in shares of the vocabulary; Han, kana and Hangul also together."""
    names = sorted({script for script, _ in entries_of}, key=lambda s: -sum(entries_of.get((s, p), 0) for p in PLACES))
    groups = {name: (name,) for name in names}
    if sum(name in CJK for name in names) > 1:
        groups["CJK together"] = tuple(name for name in names if name in CJK)
    columns: dict[str, list] = {"script": list(groups), "entries": []}
    counts = {
        name: [sum(entries_of.get((script, place), 0) for script in members) for place in PLACES]
        for name, members in groups.items()
    }
    columns["entries"] = [sum(row) for row in counts.values()]
    columns |= {place.replace(" ", "_"): [row[i] / size for row in counts.values()] for i, place in enumerate(PLACES)}
    return {name: column[:_MOST_ROWS] for name, column in columns.items()}


def classes(counts: Counts, *, seed: int = 0) -> Findings:
    """Composition of the vocabulary, and how much of the text each class of entries covers."""
    vocab = counts.vocab
    class_V = composition(vocab).class_V
    size_of = np.bincount(class_V, minlength=len(CLASSES))
    used_of = np.bincount(class_V, weights=counts.tokens_V, minlength=len(CLASSES)).astype(np.int64)
    n_tokens = counts.n_tokens
    pieces = np.isin(class_V, [CLASSES.index("byte"), CLASSES.index("fragment")])
    unknown = vocab.specials.get("unk")
    n_unknown = int(counts.tokens_V[unknown]) if unknown is not None else 0
    found = Findings(
        facts={
            "vocab_size": vocab.size,
            "unknown_tokens": n_unknown,
            "byte_fallback_share": share(counts.tokens_V[vocab.kinds == Kind.BYTE].sum(), n_tokens),
            "broken_character_share": share(counts.tokens_V[pieces].sum(), n_tokens),
        },
        tables={
            "classes": {
                "class": list(CLASSES),
                "qtok": [QTOK_NAMES[name] for name in CLASSES],
                "entries": size_of.tolist(),
                "share_of_entries": (size_of / vocab.size).tolist(),
                "share_of_tokens": [share(n, n_tokens) for n in used_of.tolist()],
            }
        },
        notes=[
            "Byte and fragment entries are parts of characters; many of them in a text make it long and hard to learn."
        ],
    )
    if cut := flanks(vocab.tokens):
        rows = list(cut.items())[:_MOST_ROWS]
        found.tables["fragments"] = {
            "first_byte": [key for key, _ in rows],
            "entries": [n for _, (n, _) in rows],
            "scripts": [names for _, (_, names) in rows],
        }
    if n_unknown:
        found.warnings.append(f"{n_unknown:,} tokens are the unknown token: what stood there is lost.")
    return found


def reachability(counts: Counts, *, seed: int = 0) -> Findings:
    """Entries no text can produce or this text does not use; doubled and broken entries; merges that never happen."""
    vocab = counts.vocab
    unreachable = entries.unreachable_entries(vocab)
    plain_V = (vocab.kinds == Kind.NORMAL) | (vocab.kinds == Kind.BYTE)
    unused = int(((counts.tokens_V == 0) & plain_V).sum())
    reasons = Counter(unreachable.values())
    doubled = doubled_entries(vocab)
    broken = [i for i, data in enumerate(vocab.tokens) if data is not None and len(data) > 1 and _is_broken(data)]
    never = [i for i in broken if impossible(vocab.tokens[i])]
    found = Findings(
        facts={
            "unreachable_tokens": len(unreachable),
            "unreachable_tokens.merges": reasons["merges"],
            "unreachable_tokens.cut": reasons["cut"],
            "unused_tokens": unused,
            "unused_share": share(unused, int(plain_V.sum())),
            "doubled_tokens": sum(len(ids) - 1 for ids in doubled),
            "undecodable_tokens": len(broken),
            "impossible_tokens": len(never),
            "n_merges": len(vocab.merges),
            "dead_merges": dead_merges(vocab, unreachable),
        }
    )
    if unreachable:
        some = sorted(unreachable)[:_MOST_ROWS]
        found.tables["unreachable"] = {
            "id": some,
            "token": [entries.shown(vocab, i) for i in some],
            "reason": [unreachable[i] for i in some],
        }
        found.warnings.append(
            f"{len(unreachable):,} entries can never be produced ({reasons['merges']:,} by the merges, "
            f"{reasons['cut']:,} because text is always cut or normalised there): their embedding rows learn nothing."
        )
    if doubled:
        some = doubled[:_MOST_ROWS]
        found.tables["doubled"] = {"token": [entries.shown(vocab, ids[0]) for ids in some], "ids": some}
        found.warnings.append(f"{len(doubled):,} byte strings have more than one id; a text uses one of them at most.")
    if never:
        some = never[:_MOST_ROWS]
        found.tables["impossible"] = {"id": some, "token": [entries.shown(vocab, i) for i in some]}
    found.notes.append(
        "Undecodable entries are parts of characters (longer than a byte); impossible ones fit into no valid UTF-8. "
        "A dead merge is one that no text can trigger: its pair has another way to the same entry, which comes first."
    )
    return found


def doubled_entries(vocab: Vocab) -> list[list[int]]:
    """Groups of ordinary entries that add the same bytes. A byte-fallback piece beside its character is none."""
    kinds = vocab.kinds
    groups = ([i for i in ids if kinds[i] == Kind.NORMAL] for ids in vocab.index.values())
    return [ids for ids in groups if len(ids) > 1]


def dead_merges(vocab: Vocab, unreachable: dict[int, str]) -> int:
    """How many merges no text can trigger.

    Within its own span, an entry is always built by the same merges, so of all merges that make one entry only the last
    step of that way ever happens, and none of an entry that merges cannot make. Where whole words are looked up before
    any merge (`ignore_merges`), an entry may be found without its merge, and the figure is a lower bound.
    """
    made = set(vocab.merges[:, 2].tolist())
    return len(vocab.merges) - sum(unreachable.get(i) != "merges" for i in made)


def _is_broken(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return True
    return False


def specials(counts: Counts, *, seed: int = 0) -> Findings:
    """Special tokens by role."""
    vocab = counts.vocab
    roles = vocab.specials
    table = {"role": list(roles), "id": list(roles.values()), "token": [vocab.literal(i) for i in roles.values()]}
    in_text = int(counts.tokens_V[sorted(vocab.special_ids - {roles.get("unk", -1)})].sum()) if vocab.special_ids else 0
    found = Findings(facts={"special_tokens": len(vocab.special_ids)}, tables={"specials": table})
    if in_text:
        found.warnings.append(f"The text spells special tokens out {in_text:,} times; they are matched as such.")
    return found
