"""From a plan of a BPE tokenizer and a table of words to the finished vocabulary; `train.py` is the door.

Paper: Neural Machine Translation of Rare Words with Subword Units (arXiv 1508.07909).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from tokenry.core.alphabets import BYTE_TO_CHAR, METASPACE, byte_piece
from tokenry.core.hf_json import added_tokens, alphabet_of, bpe_model, model_type, template, whole_spec
from tokenry.core.patterns import byte_level, split_pretokenizer
from tokenry.core.pretokens import Pretokens, count_pretokens, give_back_memory
from tokenry.core.vocab import Kind, Vocab

COVERAGE = 0.9995
"""Share of the text's characters that get an entry of their own where the rest has byte pieces or an unknown token
(SentencePiece's default)."""


@dataclass(frozen=True)
class Plan:
    """Everything about a tokenizer but what is learned."""

    kind: str
    """BPE, Unigram or WordPiece."""
    spec: dict
    """A `tokenizer.json` with an empty vocabulary."""
    first: list[dict]
    """Added tokens (as in the file, ids not yet right) before the learned entries."""
    config: dict
    """Special tokens by role, and whatever else `tokenizer_config.json` shall hold."""
    last: list[dict] = field(default_factory=list)
    """Added tokens after the learned entries."""
    bytes_first: bool = False
    """Whether the pieces <0x00> .. <0xFF> follow `first`."""
    alphabet: str = "bytes"
    """Start symbols: "bytes" (the 256 byte-level characters), "covered" or "all" characters of the text."""
    merges: bool = True
    barred: frozenset[str] = frozenset()
    """Characters that are never merged."""
    spelled_by_bytes: frozenset[str] = frozenset()
    """Characters that get no entry."""


def _added(roles: dict[str, str]) -> list[dict]:
    return added_tokens(dict(enumerate(dict.fromkeys(roles.values()))))


def _config(roles: dict[str, str]) -> dict:
    return {f"{role}_token": token for role, token in roles.items() if role != token}


def plan_byte_level(roles: dict[str, str], patterns: tuple[str, ...], *, merges: bool) -> Plan:
    """Byte-level BPE as GPT-2 has it."""
    coder = byte_level(use_regex=False)
    spec = whole_spec(
        bpe_model({}, []), pre_tokenizer=split_pretokenizer(patterns), post_processor=coder, decoder=coder
    )
    return Plan("BPE", spec, _added(roles), _config(roles), merges=merges)


def plan_metaspace(roles: dict[str, str], pattern: str, *, merges: bool) -> Plan:
    """SentencePiece-style BPE with byte pieces."""
    prepend = {"type": "Prepend", "prepend": METASPACE}
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": METASPACE}
    back = {"type": "Replace", "pattern": {"String": METASPACE}, "content": " "}
    strip = {"type": "Strip", "content": " ", "start": 1, "stop": 0}
    spec = whole_spec(
        bpe_model({}, [], byte_fallback=True, fuse_unk=True, unk_token=roles.get("unk")),
        normalizer={"type": "Sequence", "normalizers": [prepend, replace]},
        pre_tokenizer={"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False},
        decoder={"type": "Sequence", "decoders": [back, {"type": "ByteFallback"}, {"type": "Fuse"}, strip]},
    )
    return Plan("BPE", spec, _added(roles), _config(roles), bytes_first=True, alphabet="covered", merges=merges,
                spelled_by_bytes=frozenset("\n\r\t"))  # fmt: skip


def plan_library(kind: str, roles: dict[str, str]) -> Plan:
    """Unigram as SentencePiece, WordPiece as BERT (cased).

    Raises:
        ValueError: when there is no unknown token, which both kinds need.
    """
    unk = roles.get("unk")
    if unk is None:
        raise ValueError(
            f'kind={kind!r} needs an unknown token; give specials as a dictionary with "unk", e.g. {{"unk": "<unk>"}}.'
        )
    if kind == "unigram":
        space = {"type": "Metaspace", "replacement": METASPACE, "prepend_scheme": "always", "split": True}
        model = {"type": "Unigram", "unk_id": 0, "vocab": [[unk, 0.0]], "byte_fallback": False}
        spec = whole_spec(model, normalizer={"type": "NFKC"}, pre_tokenizer=space, decoder=space)
        return Plan("Unigram", spec, _added(roles), _config(roles))
    normalizer = {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None,
                  "lowercase": False}  # fmt: skip
    model = {"type": "WordPiece", "unk_token": unk, "continuing_subword_prefix": "##", "max_input_chars_per_word": 100,
             "vocab": {}}  # fmt: skip
    around = [(roles[role], 0) if role in roles else None for role in ("cls", "sep")]
    spec = whole_spec(
        model,
        normalizer=normalizer,
        pre_tokenizer={"type": "BertPreTokenizer"},
        post_processor=template(*around) if all(around) else None,
        decoder={"type": "WordPiece", "prefix": "##", "cleanup": True},
    )
    return Plan("WordPiece", spec, _added(roles), _config(roles))


def plan_like(like: Vocab) -> Plan:
    """Keep all of a vocabulary but what it learned.

    Raises:
        ValueError: for a kind that cannot be trained (word lists, BPE with word-end marks).
    """
    from tokenry.tokenization.word_tables import joins

    kind, model = model_type(like.spec), like.spec["model"]
    if kind not in ("BPE", "Unigram", "WordPiece") or model.get("end_of_word_suffix"):
        raise ValueError(
            f"{like.name} is a {kind} tokenizer{' with word-end marks' if kind == 'BPE' else ''}; a new one can be "
            "trained like BPE, Unigram or WordPiece. Train without like=."
        )
    if kind == "BPE" and model.get("continuing_subword_prefix"):
        raise ValueError(f"{like.name} marks continuing pieces; BPE of this form is not trained. Train without like=.")
    learned = np.flatnonzero(like.kinds == Kind.NORMAL).tolist()
    middle = learned[len(learned) // 2] if learned else 0
    added = sorted(like.spec["added_tokens"], key=lambda token: token["id"])
    marked = {token["content"] for token in added}
    unk = like.specials.get("unk")
    if unk is not None and like.literal(unk) not in marked:
        added = [*added_tokens({unk: like.literal(unk)}), *added]
    alphabet = "bytes" if alphabet_of(like.spec) == "byte-level" else "covered"
    has_bytes = bool((like.kinds == Kind.BYTE).any())
    if alphabet == "covered" and not has_bytes and model.get("unk_token") is None:
        alphabet = "all"
    newline, digit = joins(like)
    entries = model["vocab"] if kind == "BPE" else {}
    outside = {c for c in "\n\r\t" if c not in entries and has_bytes}
    config = {k: v for k, v in like.config.items() if not k.endswith("_token_id") and k not in _LEARNED_CONFIG}
    config |= {f"{role}_token": like.literal(i) for role, i in like.specials.items()}
    return Plan(
        kind, _emptied(like.spec), [t for t in added if t["id"] <= middle], config,
        last=[t for t in added if t["id"] > middle],
        bytes_first=has_bytes, alphabet=alphabet,
        barred=frozenset(("" if newline else "\n\r") + ("" if digit else "0123456789")),
        spelled_by_bytes=frozenset(outside),
    )  # fmt: skip


_LEARNED_CONFIG = ("added_tokens_decoder", "piece_scores", "unused_token_ids", "model_max_length")


def _emptied(spec: dict) -> dict:
    model = dict(spec["model"])
    model["vocab"] = [] if isinstance(model["vocab"], list) else {}
    if "merges" in model:
        model["merges"] = []
    return {**spec, "model": {**model, "dropout": None} if "dropout" in model else model, "added_tokens": []}


def by_merges(plan: Plan, source: object, *, size: int | None, min_count: int, max_length: int, reading: dict) -> Vocab:
    """Learn the merges of a BPE plan from text or `Pretokens`; `size` None means none.

    Raises:
        ValueError: when `size` does not hold specials, byte pieces and alphabet.
    """
    from tokenry.tokenization.merges import train_merges, usable_merges
    from tokenry.tokenization.word_tables import spell

    pretokens = counted(source, plan.spec, reading)
    words, counts = pretokens.words, pretokens.total
    fixed = [token["content"] for token in plan.first]
    fixed += [byte_piece(byte) for byte in range(256)] if plan.bytes_first else []
    room = None if size is None else size - len(fixed) - len(plan.last)
    if room is not None and room < (256 if plan.alphabet == "bytes" else 1):
        raise ValueError(
            f"size={size} does not hold the {len(fixed) + len(plan.last)} special tokens and byte pieces and the "
            f"{'256 bytes' if plan.alphabet == 'bytes' else 'characters of the text'}. Ask for more."
        )
    characters, others = _alphabet(plan, words, counts, room)
    entries = fixed + [c for c in characters if c not in fixed]
    place = {entry: i for i, entry in enumerate(entries)}
    n_merges = room - (len(entries) - len(fixed)) if room is not None and plan.merges else 0
    spelling = {c: [place[c]] for c in characters} | {c: _fallback(plan, c, place) for c in others}
    symbols, offsets = spell(words, spelling)
    table = [symbols]
    del pretokens, words, symbols  # large, and not needed while learning
    blocked = {token["content"] for token in (*plan.first, *plan.last)} | {e for e in fixed if e not in characters}
    names = [None if entry in plan.barred or entry in fixed[len(plan.first) :] else entry for entry in entries]
    unk = plan.spec["model"].get("unk_token")
    if unk in place:
        names[place[unk]] = None
    give_back_memory()
    learned = train_merges(table, offsets, counts, n_symbols=len(entries), n_merges=n_merges, names=names,
                         max_length=max_length, min_count=min_count)  # fmt: skip
    merges, new = usable_merges(learned, entries, blocked)
    entries += new
    model = {
        **plan.spec["model"],
        "vocab": {entry: i for i, entry in enumerate(entries)},
        "merges": [[entries[left], entries[right]] for left, right, _ in merges.tolist()],
    }
    return finish(plan, model, n_entries=len(entries), place={t["content"]: i for i, t in enumerate(plan.first)})


def counted(source: object, spec: dict, reading: dict) -> Pretokens:
    """The table of the text for a tokenizer, counted here unless it was given.

    Raises:
        ValueError: for a table that was cut by another pre-tokeniser.
    """
    if not isinstance(source, Pretokens):
        return count_pretokens(source, spec, by_source=False, **reading)
    from tokenry.core.cutters import Cutter

    if source.fingerprint != Cutter(spec).fingerprint:
        raise ValueError(
            f"the pre-tokens were cut by another normaliser or pre-tokeniser (fingerprint {source.fingerprint}); "
            "count them for this tokenizer (count_pretokens(source, vocab)), or give the text itself."
        )
    return source


def _alphabet(plan: Plan, words: Sequence[str], counts: np.ndarray, room: int | None) -> tuple[list[str], list[str]]:
    """(characters with an entry, by code point; those without)."""
    if plan.alphabet == "bytes":
        return sorted(BYTE_TO_CHAR), []
    from tokenry.tokenization.word_tables import character_counts

    seen = character_counts(words, counts)
    all_used = [chr(point) for point in np.flatnonzero(seen).tolist()]
    for character in plan.spelled_by_bytes:
        if ord(character) < len(seen):
            seen[ord(character)] = 0
    ranked = np.lexsort((np.arange(len(seen)), -seen))[: np.count_nonzero(seen)]
    enough = len(ranked)
    if plan.alphabet == "covered" and plan.merges and len(ranked):
        reached = np.cumsum(seen[ranked]) / seen.sum()
        enough = int(np.searchsorted(reached, COVERAGE)) + 1
    if room is not None and enough > room:
        if plan.merges:
            raise ValueError(f"the text has {enough} frequent characters, size leaves room for {room}. Ask for more.")
        enough = room
    kept = sorted(chr(point) for point in ranked[:enough].tolist())
    held = set(kept)
    return kept, [c for c in all_used if c not in held]


def _fallback(plan: Plan, character: str, place: dict[str, int]) -> list[int]:
    """Symbols of a character without entry: byte pieces, else the unknown token."""
    if plan.bytes_first:
        return [place[byte_piece(byte)] for byte in character.encode("utf-8", "surrogatepass")]
    return [place[plan.spec["model"]["unk_token"]]]


def finish(plan: Plan, model: dict, *, n_entries: int, place: dict[str, int]) -> Vocab:
    """Give the added tokens their ids and build the vocabulary."""
    place = place | {token["content"]: n_entries + i for i, token in enumerate(plan.last)}
    added = sorted(
        ({**token, "id": place[token["content"]]} for token in (*plan.first, *plan.last)), key=lambda t: t["id"]
    )
    spec = {**plan.spec, "model": model, "added_tokens": added}
    spec["post_processor"] = _renumbered(spec.get("post_processor"), place)
    return Vocab.from_spec(spec, plan.config, "trained")


def _renumbered(node: object, place: dict[str, int]) -> object:
    """A post-processor with the ids of its special tokens brought up to date."""
    if isinstance(node, list):
        return [_renumbered(child, place) for child in node]
    if not isinstance(node, dict):
        return node
    node = {key: _renumbered(value, place) for key, value in node.items()}
    if node.get("type") == "TemplateProcessing":
        node["special_tokens"] = {
            key: {**value, "ids": [place.get(token, i) for token, i in zip(value["tokens"], value["ids"], strict=True)]}
            for key, value in node["special_tokens"].items()
        }
    for key in ("cls", "sep"):
        if isinstance(node.get(key), list):
            node[key] = [node[key][0], place.get(node[key][0], node[key][1])]
    return node
