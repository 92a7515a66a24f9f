"""Byte-level vocabularies stored as ranks (tiktoken, tekken) or as vocabulary plus merge list (GPT-2), as specs.

A rank file holds no merges, but implies them: encode each token by the ranks, and the last step is its merge. That
merge list encodes every text as the ranks do, because inside a token the steps do not depend on what stands around.
"""

import base64
import binascii
import hashlib
import warnings
from typing import TypeVar

from tokenry.core.alphabets import to_byte_level
from tokenry.core.hf_json import added_tokens, bpe_model, template, whole_spec
from tokenry.core.patterns import KNOWN_RANKS, PATTERNS, KnownRanks, byte_level, known, split_pretokenizer

_FAR = float("inf")
_TEKKEN_CONTROL = [
    *("<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_RESULTS]"),
    *("[/TOOL_RESULTS]", "[TOOL_CALLS]", "[IMG]", "<pad>", "[IMG_BREAK]", "[IMG_END]", "[PREFIX]", "[MIDDLE]"),
    *("[SUFFIX]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[TOOL_CONTENT]"),
]

Text = TypeVar("Text", bytes, str)


def last_merge(token: Text, ranks: dict[Text, float]) -> tuple[Text, Text] | None:
    """The two parts the ranks join last when they encode `token`; None when they never arrive at it.

    Bytes of a rank file, or characters of a SentencePiece piece (where the rank is the negative score).

    At each step the neighbours whose union has the lowest rank are joined, the leftmost among equals.
    """
    parts = [token[i : i + 1] for i in range(len(token))]
    joins = [ranks.get(token[i : i + 2], _FAR) for i in range(len(token) - 1)]
    while len(parts) > 2:
        best = min(joins)
        if best == _FAR:
            return None
        at = joins.index(best)
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
        del joins[at]
        if at < len(joins):
            joins[at] = ranks.get(parts[at] + parts[at + 1], _FAR)
        if at:
            joins[at - 1] = ranks.get(parts[at - 1] + parts[at], _FAR)
    return (parts[0], parts[1]) if len(parts) == 2 and token in ranks else None


def merges_from_ranks(ranks: dict[bytes, int]) -> list[tuple[bytes, bytes]]:
    """The merge list a rank table implies, in order of rank. Tokens no merges reach (678 in Llama 3) have none."""
    ordered = sorted((rank, token) for token, rank in ranks.items() if len(token) > 1)
    merges = (last_merge(token, ranks) for _, token in ordered)
    return [merge for merge in merges if merge is not None]


def spec_from_tiktoken(data: bytes, where: str, *, pattern: str | None = None) -> tuple[dict, dict]:
    """A tiktoken rank file as (spec, config).

    The split pattern and the special tokens are not in the file: known files are recognised by their content; for
        others pass `pattern`, the name of a known pattern or a regular expression; without it cl100k's is assumed and a
    warning says so.

    Raises:
        ValueError: a line that is not "base64 rank", a missing byte, or an unknown pattern name.
    """
    ranks = _parse_ranks(data, where)
    digest = hashlib.sha256(data.rstrip() + b"\n").hexdigest()
    found = KNOWN_RANKS.get(digest)
    if found is None and pattern is None:
        warnings.warn(
            f"{where} is not one of the known rank files, and such a file does not hold its split pattern: cl100k is "
            f"assumed. Pass read_spec(..., pattern=) one of {', '.join(PATTERNS)}, or a regular expression.",
            stacklevel=2,
        )
    found = found or KnownRanks("cl100k", dict, {})
    name = pattern or found.pattern
    cuts = (name,) if _is_regex(name) else known(name)
    return _byte_level_spec(ranks, found.specials(), cuts, found)


def _is_regex(name: str) -> bool:
    return name not in PATTERNS and any(character in name for character in "\\[|+*?")


def _parse_ranks(data: bytes, where: str) -> dict[bytes, int]:
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(data.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            text, rank = line.split()
            ranks[base64.b64decode(text, validate=True)] = int(rank)
        except (ValueError, binascii.Error):
            raise ValueError(f"{where}, line {number}: {line[:40]!r} is not a base64 token and its rank.") from None
    if len(set(ranks.values())) != len(ranks):
        raise ValueError(f"{where}: two tokens share a rank; need one rank for each token.")
    return ranks


def _byte_level_spec(
    ranks: dict[bytes, int], specials: dict[int, str], cuts: tuple[str, ...], found: KnownRanks
) -> tuple[dict, dict]:
    missing = [byte for byte in range(256) if bytes((byte,)) not in ranks]
    if missing:
        raise ValueError(
            f"the rank table lacks {len(missing)} of the 256 single bytes ({missing[:5]}); is it complete?"
        )
    vocab = {to_byte_level(token): rank for token, rank in sorted(ranks.items(), key=lambda item: item[1])}
    merges = [[to_byte_level(left), to_byte_level(right)] for left, right in merges_from_ranks(ranks)]
    clash = next((text for i, text in specials.items() if vocab.get(text, i) != i), None)
    if clash is not None:
        raise ValueError(
            f"special token {clash!r} has the spelling of an ordinary token, which no tokenizer.json can hold."
        )
    # Entered into the vocabulary as well: ids behind a hole would move otherwise.
    vocab |= {text: i for i, text in specials.items()}
    ids = {text: i for i, text in specials.items()}
    bos = found.roles.get("bos")
    spec = whole_spec(
        bpe_model(vocab, merges, ignore_merges=True),
        added_tokens=added_tokens(specials),
        normalizer={"type": "NFC"} if found.nfc else None,
        pre_tokenizer=split_pretokenizer(cuts),
        post_processor=template((bos, ids[bos]), None) if found.adds_bos else byte_level(use_regex=False),
        decoder=byte_level(use_regex=False),
    )
    return spec, {f"{role}_token": found.roles.get(role) for role in ("bos", "eos", "unk", "pad")}


def spec_from_tekken(content: dict, where: str) -> tuple[dict, dict]:
    """A `tekken.json` as (spec, config): the special tokens come first, the ranks after them.

    Raises:
        ValueError: when a part is missing, or the vocabulary is smaller than declared.
    """
    try:
        settings = content["config"]
        pattern, size = settings["pattern"], settings["default_vocab_size"]
        n_special = settings["default_num_special_tokens"]
        rows = [(entry["rank"], base64.b64decode(entry["token_bytes"])) for entry in content["vocab"]]
    except (KeyError, TypeError, binascii.Error) as error:
        raise ValueError(f"{where} is not a complete tekken file ({error!r}); need config and vocab entries.") from None
    if size > len(rows) + n_special:
        raise ValueError(
            f"{where} declares {size:,} ids but holds {len(rows):,} tokens and {n_special:,} special ones."
        )
    listed = content.get("special_tokens")
    named = _TEKKEN_CONTROL if listed is None else [entry["token_str"] for entry in listed]
    names = dict(enumerate([*named, *(f"<SPECIAL_{i}>" for i in range(len(named), n_special))][:n_special]))
    ranks = {token: rank + n_special for rank, token in rows if rank < size - n_special}
    present = {name: name for name in names.values()}
    roles = {"bos": "<s>", "eos": "</s>", "unk": "<unk>", "pad": "<pad>"}
    found = KnownRanks(pattern, dict, {role: name for role, name in roles.items() if name in present}, adds_bos=True)
    return _byte_level_spec(ranks, names, (pattern,), found)


def spec_from_gpt2(vocab: dict, merges: bytes, where: str) -> tuple[dict, dict]:
    """GPT-2's `vocab.json` and `merges.txt` (also published as encoder.json and vocab.bpe) as (spec, config).

    Raises:
        ValueError: when a merge line has not two parts.
    """
    pairs = []
    for number, line in enumerate(merges.decode("utf-8").split("\n"), 1):
        if not line or line.startswith("#version"):
            continue
        pair = line.rstrip("\r").split(" ")
        if len(pair) != 2:
            raise ValueError(f"{where}, line {number}: {line[:40]!r} is not two parts separated by a space.")
        pairs.append(pair)
    specials = {
        i: text for text, i in vocab.items() if text in ("<|endoftext|>", "<s>", "</s>", "<pad>", "<unk>", "<mask>")
    }
    spec = whole_spec(
        bpe_model(vocab, pairs),
        added_tokens=added_tokens(specials),
        pre_tokenizer=byte_level(use_regex=True),
        post_processor=byte_level(use_regex=True),
        decoder=byte_level(use_regex=True),
    )
    end = "<|endoftext|>" in vocab
    return spec, {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"} if end else {}
