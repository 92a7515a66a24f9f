"""A vocabulary in which a character's id is its code point; ids no text can use hold frequent groups of characters.

The ids of the Basic Multilingual Plane are its code points. Special tokens lie from 0xE000 on, 256 byte pieces from
0xE100 on (a character beyond the plane, or of the private use area, is spelled in bytes, so that nothing is lost), and
groups of two and more characters in the surrogates (0xD800 to 0xDFFF), in the rest of the private use area (0xE200 to
0xF8FF) and, in the large form, from 0x10000 on. Where the paper lists groups by hand and writes every split of each as
a merge, the merges here are learned from a text (BPE over characters), so that each group can be reached.

Paper: Emergent Semantics Beyond Token Embeddings: Transformer LMs with Frozen Visual Unicode Representations (arXiv
2507.04886, section on the tokenizer).
"""

from collections.abc import Iterator, Mapping
from itertools import chain, islice

import numpy as np

from tokenry.core.alphabets import byte_piece
from tokenry.core.hf_json import added_tokens, bpe_model, whole_spec
from tokenry.core.patterns import known
from tokenry.core.pretokens import Pretokens, count_pretokens
from tokenry.core.vocab import Vocab

SIZES = (65_536, 131_072)
SPECIALS = {"pad": "<pad>", "bos": "<s>", "eos": "</s>", "unk": "<unk>"}
FIRST_SPECIAL, FIRST_BYTE, FIRST_PRIVATE = 0xE000, 0xE100, 0xE200
_PRIVATE_END, _SURROGATES, _PLANE = 0xF900, range(0xD800, 0xE000), 0x10000
N_GROUPS = {65_536: len(_SURROGATES) + _PRIVATE_END - FIRST_PRIVATE, 131_072: 0}
N_GROUPS[131_072] = N_GROUPS[65_536] + _PLANE
"""Ids for groups of characters in each size."""


def train_unicode(
    source: object,
    *,
    size: int = 65_536,
    max_length: int = 5,
    min_count: int = 2,
    specials: Mapping[str, str] | None = None,
    pattern: str = "cl100k",
    **reading: object,
) -> Vocab:
    """Learn the groups of characters of a code-point vocabulary.

    Args:
        source: what `core.tables.stream` takes.
        size: 65,536 or 131,072 ids. Ids that no group was found for stay holes.
        max_length: longest group in characters, at least 2 (the paper's have 2 to 5).
        min_count: a group seen less often is not made.
        specials: role -> token, at most 256; default pad, bos, eos, unk.
        pattern: groups do not cross the cuts of this pattern, a name of `core.patterns.PATTERNS`.
        reading: `text`, `limit`, `skip_bad`, `cache` and `workers` of `count_pretokens`.

    Returns:
        A vocabulary that AutoTokenizer opens: `ord(c)` is the id of every character c of the plane outside the
        surrogates and the private use area; `decode(encode(text)) == text` for every text.

    Raises:
        ValueError: another size, too many special tokens, no text.

    Paper: Emergent Semantics Beyond Token Embeddings (arXiv 2507.04886).
    """
    if size not in SIZES:
        raise ValueError(
            f"size={size}; an id is a code point here, so the vocabulary has {SIZES[0]:,} or {SIZES[1]:,} ids. "
            "For another size train kind bpe or character."
        )
    if max_length < 2:
        raise ValueError(f"max_length={max_length}; a group has at least 2 characters.")
    specials = dict(SPECIALS if specials is None else specials)
    if len(specials) > FIRST_BYTE - FIRST_SPECIAL:
        raise ValueError(f"{len(specials)} special tokens; there is room for {FIRST_BYTE - FIRST_SPECIAL}.")
    spec = _spec(pattern, specials)
    table = source if isinstance(source, Pretokens) else count_pretokens(source, spec, by_source=False, **reading)
    groups, merges = _learned(table, size, max_length=max_length, min_count=min_count)
    vocab = {**spec["model"]["vocab"], **groups}
    model = {**spec["model"], "vocab": vocab, "merges": merges}
    config = {f"{role}_token": token for role, token in specials.items()}
    return Vocab.from_spec({**spec, "model": model}, config, "unicode")


def group_ids(size: int) -> Iterator[int]:
    """Ids of groups, in the order they are given out."""
    return islice(chain(_SURROGATES, range(FIRST_PRIVATE, _PRIVATE_END), range(_PLANE, size)), N_GROUPS[size])


def _spec(pattern: str, specials: Mapping[str, str]) -> dict:
    """The tokenizer without groups."""
    points = [*range(0xD800), *range(_PRIVATE_END, _PLANE)]
    vocab = {chr(point): point for point in points}
    vocab |= {byte_piece(byte): FIRST_BYTE + byte for byte in range(256)}
    splits = [
        {"type": "Split", "pattern": {"Regex": cut}, "behavior": "Isolated", "invert": False} for cut in known(pattern)
    ]
    return whole_spec(
        bpe_model(vocab, [], byte_fallback=True),
        added_tokens=added_tokens(dict(enumerate(specials.values(), FIRST_SPECIAL))),
        pre_tokenizer={"type": "Sequence", "pretokenizers": splits},
        decoder={"type": "Sequence", "decoders": [{"type": "ByteFallback"}, {"type": "Fuse"}]},
    )


def _learned(table: Pretokens, size: int, *, max_length: int, min_count: int) -> tuple[dict[str, int], list[list[str]]]:
    """Groups with their ids, and the merges that make them."""
    from tokenry.tokenization.merges import train_merges, usable_merges
    from tokenry.tokenization.word_tables import spell, used_points

    used = [chr(point) for point in used_points(table.words).tolist()]
    own = [c for c in used if ord(c) < 0xD800 or _PRIVATE_END <= ord(c) < _PLANE]
    place = {c: i for i, c in enumerate(own)}
    outside = len(own)  # what is spelled in bytes takes part in no group
    symbols, offsets = spell(table.words, {c: [place.get(c, outside)] for c in used})
    learned = train_merges(
        [symbols], offsets, table.total, n_symbols=outside + 1, n_merges=N_GROUPS[size], names=[*own, None],
        max_length=max_length, min_count=min_count,
    )  # fmt: skip
    merges, groups = usable_merges(learned, [*own, None], {byte_piece(byte) for byte in range(256)})
    literals = np.array([*own, "", *groups], object)
    pairs = [[literals[left], literals[right]] for left, right, _ in merges.tolist()]
    return dict(zip(groups, group_ids(size), strict=False)), pairs
