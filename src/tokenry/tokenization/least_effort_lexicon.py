"""A learned lexicon in use: cut text with it, take its entries apart, write it as a tokenizer that AutoTokenizer opens.

Papers: Rethinking Tokenization (Less-is-Better, arXiv 2403.00417).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from tokenry.core.alphabets import BYTE_TO_CHAR, to_byte_level
from tokenry.core.cutters import Cutter
from tokenry.core.hf_json import added_tokens, whole_spec
from tokenry.core.patterns import byte_level, split_pretokenizer
from tokenry.core.trie import ByteTrie
from tokenry.core.vocab import Vocab

DECODINGS = ("greedy", "fewest")
"""Longest match from the left; fewest tokens, among equals the smallest sum of ranks."""

_END = ".!?。！？"
SENTENCE = rf"[^\n{_END}]{{0,96}}[{_END}]{{1,32}}|[^\n{_END}]{{1,96}}(?!\S)|[^\n{_END}]{{1,96}}|\n{{1,32}}"
"""Sentences, long ones cut before a space: no entry crosses these places, neither while learning nor in use. They also
bound what longest match costs, which grows with the square of the piece it works on."""
_LONGEST_PIECE = 4 * (96 + 32)
_SPECIALS = {"bos": "<s>", "eos": "</s>", "pad": "<pad>", "unk": "<unk>"}


@dataclass(frozen=True)
class Lexicon:
    """Entries by priority, the most useful first."""

    entries: tuple[str, ...]
    frames: tuple[tuple[str, str], ...] = ()
    """Pairs of chunks around a gap, by priority among themselves; "" is an edge of the sentence. They have taught what
    stands in them and cut nothing themselves, so no tokenizer holds them."""

    def __len__(self) -> int:
        return len(self.entries)

    @cached_property
    def rank(self) -> dict[str, int]:
        """Entry -> its place."""
        return {entry: i for i, entry in enumerate(self.entries)}

    @cached_property
    def _trie(self) -> ByteTrie:
        return ByteTrie.build([entry.encode("utf-8", "surrogatepass") for entry in self.entries] + _BYTES,
                              preference=[0] * len(self.entries) + [1] * 256)  # fmt: skip

    def segment(self, text: str, *, decoding: str = "greedy") -> list[str]:
        """Cut a text; a character without an entry stands alone.

        Args:
            decoding: one of `DECODINGS`.

        Raises:
            ValueError: another decoding.
        """
        if decoding not in DECODINGS:
            raise ValueError(f"decoding={decoding!r}; need {' or '.join(DECODINGS)}.")
        data = text.encode("utf-8", "surrogatepass")
        if decoding == "greedy":
            ids = self._trie.segment(data, greedy=True)
        else:
            from tokenry.tokenization.least_effort_lexicon_kernels import fewest_by_rank

            trie = self._trie
            ranks = np.minimum(np.arange(len(self.entries) + 256), len(self.entries))
            ids = fewest_by_rank(trie.child_start, trie.labels, trie.children, trie.values, ranks,
                                 np.frombuffer(data, np.uint8)).tolist()  # fmt: skip
        pieces, raw = [], b""
        for i in ids:
            if i < len(self.entries):
                pieces.append(self.entries[i])
                continue
            raw += _BYTES[i - len(self.entries)]
            try:
                pieces.append(raw.decode("utf-8", "surrogatepass"))
                raw = b""
            except UnicodeDecodeError:
                pass  # the character goes on
        return pieces

    def subchunks(self, entry: str, *, levels: int = 2) -> tuple[str, ...]:
        """Take an entry apart into two entries of higher priority each, and those again, `levels` deep.

        Of several ways the one whose first part has the highest priority is taken. What cannot be split stays whole.
        """
        own = self.rank.get(entry, len(self.entries))
        ways = [
            (self.rank[entry[:cut]], self.rank[entry[cut:]], cut)
            for cut in range(1, len(entry))
            if entry[:cut] in self.rank and entry[cut:] in self.rank
        ]
        if not levels or not ways:
            return (entry,)
        first, second, cut = min(ways)
        if max(first, second) >= own:
            return (entry,)
        return tuple(p for part in (entry[:cut], entry[cut:]) for p in self.subchunks(part, levels=levels - 1))


_BYTES = [bytes((byte,)) for byte in range(256)]


def least_effort_spec(*, keep_spaces: bool = True) -> dict:
    """A `tokenizer.json` without vocabulary: sentences, then bytes."""
    removed = {"type": "Replace", "pattern": {"String": " "}, "content": ""}
    coder = byte_level(use_regex=False)
    return whole_spec(
        {},
        normalizer=None if keep_spaces else removed,
        pre_tokenizer=split_pretokenizer((SENTENCE,)),
        post_processor=coder,
        decoder=coder,
    )


def sentences(texts: Iterable[str], spec: dict) -> list[str]:
    """Every sentence of the texts as the tokenizer cuts it, in order, in characters (not yet bytes)."""
    split = {"type": "Sequence", "pretokenizers": spec["pre_tokenizer"]["pretokenizers"][:-1]}
    cutter = Cutter({**spec, "pre_tokenizer": split})
    return [sentence for text in texts for sentence in cutter(text)]


def to_vocab(
    lexicon: Lexicon,
    spec: dict,
    *,
    size: int,
    decoding: str = "greedy",
    specials: Mapping[str, str] | None = None,
    characters: Iterable[str] = (),
) -> Vocab:
    """Write a lexicon as a tokenizer of at most `size` entries.

    Every character is bytes first, as in GPT-2, so that any text can be spelled; entries are runs of them. Longest
    match is a WordPiece model without continuation mark, the fewest tokens a Unigram model in which each token costs
    the same up to its rank. Special tokens come first, then the 256 bytes, the characters, and the entries by priority.

    Args:
        lexicon: the entries.
        spec: of `least_effort_spec`.
        size: entries in all.
        decoding: one of `DECODINGS`.
        specials: role -> special token; default <s> </s> <pad> <unk>.
        characters: of several bytes, to be kept whatever the lexicon holds.

    Raises:
        ValueError: when `size` does not hold special tokens, bytes and characters.
    """
    roles = dict(_SPECIALS if specials is None else specials)
    first = list(dict.fromkeys(roles.values()))
    singles = [entry for entry in lexicon.entries if len(entry) == 1]
    kept = dict.fromkeys([*first, *BYTE_TO_CHAR, *(_spelled(c) for c in [*characters, *singles])])
    if size < len(kept):
        raise ValueError(
            f"size={size} does not hold the {len(first)} special tokens, 256 bytes and {len(kept) - len(first) - 256} "
            f"characters of the text. Ask for at least {len(kept)}."
        )
    for entry in lexicon.entries:
        if len(kept) == size:
            break
        kept.setdefault(_spelled(entry))
    pieces = list(kept)
    added = added_tokens(dict(enumerate(first)))
    unk = roles.get("unk", "<unk>")
    if decoding == "greedy":
        place = {piece: i for i, piece in enumerate(pieces)}
        model = {"type": "WordPiece", "unk_token": unk, "continuing_subword_prefix": "",
                 "max_input_chars_per_word": _LONGEST_PIECE, "vocab": place}  # fmt: skip
    else:
        # A sentence has at most 512 tokens, so ranks never add up to the cost of one token.
        rank = {_spelled(entry): i for i, entry in enumerate(lexicon.entries)}
        step = 0.5 / (_LONGEST_PIECE * (len(rank) + 1))
        costs = [-1e6] * len(first) + [-1.0 - rank.get(piece, len(rank)) * step for piece in pieces[len(first) :]]
        model = {"type": "Unigram", "unk_id": pieces.index(unk) if unk in kept else None, "byte_fallback": False,
                 "vocab": [[piece, cost] for piece, cost in zip(pieces, costs, strict=True)]}  # fmt: skip
    config = {f"{role}_token": token for role, token in roles.items() if role != token}
    return Vocab.from_spec({**spec, "model": model, "added_tokens": added}, config, "trained")


def _spelled(entry: str) -> str:
    return to_byte_level(entry.encode("utf-8", "surrogatepass"))
