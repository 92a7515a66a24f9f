"""Everything about a tokenizer but what it learns: spelling, normaliser, cuts before the model, special tokens.

Papers: Neural Machine Translation of Rare Words with Subword Units (arXiv 1508.07909); KL3M Tokenizers (normaliser,
uncased; arXiv 2503.17247); Tokenization Counts (digits; arXiv 2402.14903).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from tokenry.core.alphabets import METASPACE
from tokenry.core.hf_json import added_tokens, alphabet_of, bpe_model, model_type, parts, template, whole_spec
from tokenry.core.patterns import byte_level, split_pretokenizer
from tokenry.core.vocab import Kind, Vocab

FORMS = ("nfc", "nfkc", "none")


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


def with_normalizer(plan: Plan, *, form: str | None = None, lowercase: bool = False) -> Plan:
    """Put a Unicode form and lower case before everything else a plan's normaliser does.

    Args:
        plan: any plan.
        form: "nfc", "nfkc" or "none" in place of the plan's own form; None keeps that.
        lowercase: an uncased tokenizer. Accents stay.

    Raises:
        ValueError: for another form.
    """
    if form is not None and form not in FORMS:
        raise ValueError(f"normalizer {form!r}; need one of {', '.join(FORMS)}.")
    if form is None and not lowercase:
        return plan
    leaves = list(parts(plan.spec.get("normalizer")))
    own = [leaf for leaf in leaves if leaf["type"] in ("NFC", "NFD", "NFKC", "NFKD")]
    rest = [leaf for leaf in leaves if leaf not in own and leaf["type"] != "Lowercase"]
    first = own if form is None else [] if form == "none" else [{"type": form.upper()}]
    if lowercase:
        first = [*first, {"type": "Lowercase"}]
        rest = [{**leaf, "strip_accents": bool(leaf.get("strip_accents"))} if leaf["type"] == "BertNormalizer" else leaf
                for leaf in rest]  # fmt: skip
    steps = first + rest
    node = {"type": "Sequence", "normalizers": steps} if len(steps) > 1 else steps[0] if steps else None
    return replace(plan, spec={**plan.spec, "normalizer": node})


def with_isolated(plan: Plan, patterns: Sequence[str]) -> Plan:
    """Isolate the matches of these patterns, here digit groups, before the plan's own cuts.

    Limits the plan itself puts on digits are lifted, so that the given patterns alone decide. In a tokenizer with the
    Metaspace pre-tokeniser the cuts follow it, because it would mark every piece as a word.
    """
    if not patterns:
        return plan
    splits = [{"type": "Split", "pattern": {"Regex": p}, "behavior": "Isolated", "invert": False} for p in patterns]
    leaves = [free for leaf in parts(plan.spec.get("pre_tokenizer")) if (free := _without_digits(leaf)) is not None]
    marks = any(leaf["type"] == "Metaspace" for leaf in leaves)
    steps = leaves + splits if marks else splits + leaves
    spec = {**plan.spec, "pre_tokenizer": {"type": "Sequence", "pretokenizers": steps}}
    return replace(plan, spec=spec, barred=plan.barred - frozenset("0123456789"))


def free_digits(plan: Plan) -> Plan:
    """Let numbers be learned like words: the plan's own limits on digits are lifted."""
    leaves = [free for leaf in parts(plan.spec.get("pre_tokenizer")) if (free := _without_digits(leaf)) is not None]
    node = {"type": "Sequence", "pretokenizers": leaves}
    return replace(plan, spec={**plan.spec, "pre_tokenizer": node}, barred=plan.barred - frozenset("0123456789"))


_DIGITS = re.compile(r"(^|\|)(\\p\{N\})(\{1,\d+\})?(?=\||$)")


def _without_digits(leaf: dict) -> dict | None:
    """A cut with runs of digits of any length; None for a cut that only limits digits."""
    pattern = leaf["pattern"].get("Regex") if leaf["type"] == "Split" else None
    if leaf["type"] == "Digits" or pattern in (r"\p{N}", r"\p{N}{1,3}", "[0-9][0-9][0-9]"):
        return None
    if pattern is None:
        return leaf
    return {**leaf, "pattern": {"Regex": _DIGITS.sub(lambda match: match[1] + r"\p{N}+", pattern)}}
