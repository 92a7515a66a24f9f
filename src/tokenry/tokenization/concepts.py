"""A pool of tokenizers over one vocabulary: word by word the segmentation that fits, sentence by sentence a guard.

Made for terms of a field (drugs, diseases, part numbers): pieces of such terms are added to a WordPiece vocabulary by
type, and a rule decides for each word whether base or a type segments it. Old ids stay, so a model needs new rows only.

Paper: Infusing clinical knowledge into tokenisers (K-Tokeniser; arXiv 2406.14312).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from tokenry.core.choosing import resolve
from tokenry.core.splitting import sentences
from tokenry.core.vocab import Vocab
from tokenry.tokenization.concept_rules import BASE, RULES, Material, Rule, Word

POOL_FILE = "pool.json"
_MARK = "##"
_MOST_BYTES = 1 << 28
_LONGEST_WORD = 100


@dataclass(frozen=True)
class Encoded:
    """A text in ids.

    Attributes:
        ids: of the shared vocabulary.
        offsets: (start, end) in the text of each id.
        word_ids: number of the word each id belongs to.
        routes: for each word, which candidate segmented it.
        rolled_back: number of sentences the guard gave back to base.
        n_sentences: sentences in all.
    """

    ids: tuple[int, ...]
    offsets: tuple[tuple[int, int], ...]
    word_ids: tuple[int, ...]
    routes: tuple[str, ...]
    rolled_back: int
    n_sentences: int


@dataclass(frozen=True, eq=False)
class TokenizerPool:
    """Several segmenters over one vocabulary.

    Attributes:
        vocab: the WordPiece vocabulary with all pieces; ids below `n_base` are the base's own.
        base: the vocabulary before.
        types: type -> ids of its pieces, new ones and base ones.
        rule: a key of `concept_rules.RULES`, `pkg.module:function`, or a function of a `Word`.
        threshold: a sentence goes back to base when it gets longer, or shorter by this share or more. 0 is base
            everywhere, 1 only undoes what got longer, None never looks.
        material: what rules look at.
    """

    vocab: Vocab
    base: Vocab
    types: Mapping[str, frozenset[int]]
    rule: str | Rule = "min_tokens"
    threshold: float | None = 1.0
    material: Material = field(default_factory=Material)

    def __post_init__(self) -> None:
        if self.base.family != "wordpiece" or self.vocab.family != "wordpiece":
            raise ValueError(
                f"{self.base.name} is {self.base.family}; a pool needs a WordPiece tokenizer (BERT's kind)."
            )
        if BASE in self.types:
            raise ValueError(f"a type may not be called {BASE!r}; that is the tokenizer underneath. Rename it.")
        if self.threshold is not None and not self.threshold >= 0:
            raise ValueError(f"threshold={self.threshold}; need 0 or more, or None for no guard.")
        object.__setattr__(self, "_choose", resolve(self.rule, RULES, kind="word rule"))

    @cached_property
    def _entries(self) -> dict[str, dict[str, int]]:
        """Candidate -> piece -> id; a type has the base's pieces and its own."""
        model = self.vocab.spec["model"]["vocab"]
        base = {piece: i for piece, i in model.items() if i < self.base.size}
        names = {i: piece for piece, i in model.items()}
        return {name: {**base, **{names[i]: i for i in ids}} for name, ids in self.types.items()}

    @cached_property
    def _longest(self) -> int:
        return max((len(piece) for entries in self._entries.values() for piece in entries), default=1)

    @cached_property
    def _is_cased(self) -> bool:
        return self._normal("Aa") == "Aa"

    def _normal(self, text: str) -> str:
        normalizer = self.base.backend.normalizer
        return normalizer.normalize_str(text) if normalizer is not None else text

    def encode(self, text: str) -> Encoded:
        """Segment a text. The same text gives the same ids; the guard looks at whole sentences, so a word may be cut
        otherwise in another sentence: keep no cache by word."""
        encoding = self.base.backend.encode(text, add_special_tokens=False)
        words: list[list[int]] = []
        last = None
        for place, number in enumerate(encoding.word_ids):
            if number is None or number != last:
                words.append([])
            words[-1].append(place)
            last = number
        chosen = [self._choose_word(text, encoding, places) for places in words]
        n_sentences, rolled_back = self._guard(text, encoding, words, chosen)
        return self._laid_out(encoding, words, chosen, rolled_back, n_sentences)

    def _choose_word(self, text: str, encoding: object, places: list[int]) -> tuple[str, list[tuple[int, int, int]]]:
        """Route and pieces (id, start, end) of one word; base's own pieces stay implicit (an empty list)."""
        start, end = encoding.offsets[places[0]][0], encoding.offsets[places[-1]][1]
        raw = text[start:end]
        plain = self._normal(raw)
        shout = len(raw) > 1 and raw.isupper()
        # Where normalising changes the length, characters and offsets no longer run together.
        if shout or len(plain) != len(raw) or not plain.isalnum() or len(plain) > _LONGEST_WORD:
            return BASE, []
        folded = plain.lower() if self._is_cased else plain
        if len(folded) != len(raw):
            return BASE, []
        found = {name: self.cut(folded, name) for name in self.types}
        found = {name: pieces for name, pieces in found.items() if pieces}
        candidates = {BASE: tuple(encoding.tokens[i] for i in places)}
        candidates |= {name: tuple(self.vocab.literal(i) for i, _, _ in pieces) for name, pieces in found.items()}
        route = self._choose(Word(folded, candidates, self.material))
        if route not in candidates:
            raise ValueError(f"rule {self.rule!r} chose {route!r} for {folded!r}; need one of {', '.join(candidates)}.")
        # A type that cuts where base does has nothing to say.
        if route == BASE or [(start + a, start + b) for _, a, b in found[route]] == [
            encoding.offsets[i] for i in places
        ]:
            return BASE, []
        return route, [(i, start + a, start + b) for i, a, b in found[route]]

    def cut(self, word: str, name: str) -> list[tuple[int, int, int]]:
        """(id, start, end) of the pieces of a folded word by one type, longest match first; [] when it cannot."""
        entries, pieces, start = self._entries[name], [], 0
        while start < len(word):
            mark = _MARK if start else ""
            for end in range(min(len(word), start + self._longest), start, -1):
                if (i := entries.get(mark + word[start:end])) is not None:
                    pieces.append((i, start, end))
                    start = end
                    break
            else:
                return []
        return pieces

    def _guard(self, text: str, encoding: object, words: list, chosen: list) -> tuple[int, int]:
        """Give sentences back to base in place; returns the number of sentences and of those given back."""
        ends, place = [], 0
        for sentence in sentences(text):
            place += len(sentence)
            ends.append(place)
        groups: list[list[int]] = [[] for _ in ends]
        number = 0
        for w, places in enumerate(words):
            while number < len(ends) - 1 and encoding.offsets[places[0]][0] >= ends[number]:
                number += 1
            groups[number].append(w)
        rolled_back = 0
        for group in groups:
            n_base = sum(len(words[w]) for w in group)
            n_pool = sum(len(chosen[w][1]) or len(words[w]) for w in group)
            if group and rolls_back(n_base, n_pool, self.threshold):
                rolled_back += any(chosen[w][0] != BASE for w in group)
                for w in group:
                    chosen[w] = (BASE, [])
        return len(ends), rolled_back

    def _laid_out(self, encoding: object, words: list, chosen: list, rolled_back: int, n_sentences: int) -> Encoded:
        ids, offsets, word_ids = [], [], []
        for w, (places, (_, pieces)) in enumerate(zip(words, chosen, strict=True)):
            own = [(encoding.ids[i], *encoding.offsets[i]) for i in places]
            for i, start, end in pieces or own:
                ids.append(int(i))
                offsets.append((start, end))
                word_ids.append(w)
        routes = tuple(route for route, _ in chosen)
        return Encoded(tuple(ids), tuple(offsets), tuple(word_ids), routes, rolled_back, n_sentences)

    def save(self, folder: str | Path) -> None:
        """Write `pool.json` beside the tokenizer's own files, which AutoTokenizer opens by themselves."""
        if not isinstance(self.rule, str):
            raise ValueError("a pool with a function as its rule cannot be written; name it: pkg.module:function.")
        from tokenry.core.runs import atomic_write

        material = self.material
        content = {
            "n_base": self.base.size,
            "rule": self.rule,
            "threshold": self.threshold,
            "types": {name: sorted(ids) for name, ids in self.types.items()},
            "counts": dict(material.counts),
            "bits": {name: [dict(known), unseen] for name, (known, unseen) in material.bits.items()},
            "lexicons": {name: sorted(words) for name, words in material.lexicons.items()},
            "priors": dict(material.priors),
            "margin_bits": material.margin_bits,
            "need_lexicon": material.need_lexicon,
        }
        self.vocab.to_hf(folder)
        atomic_write(Path(folder) / POOL_FILE, json.dumps(content, ensure_ascii=False, sort_keys=True))

    @classmethod
    def open(
        cls, folder: str | Path, *, rule: str | Rule | None = None, threshold: float | None = -1
    ) -> "TokenizerPool":
        """Open what `save` wrote; another rule or threshold may be given (-1: as written).

        Raises:
            FileNotFoundError: no pool there. ValueError: a file that is none.
        """
        path = Path(folder) / POOL_FILE
        if not path.is_file():
            raise FileNotFoundError(f"no {POOL_FILE} in {folder}; need a folder made by tokenizer concepts build.")
        if path.stat().st_size > _MOST_BYTES:
            raise ValueError(f"{path} holds {path.stat().st_size:,} bytes; a pool has at most {_MOST_BYTES:,}.")
        vocab = Vocab.open(str(folder))
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            bits = {name: (dict(known), float(unseen)) for name, (known, unseen) in content["bits"].items()}
            lexicons = {name: frozenset(map(str, words)) for name, words in content["lexicons"].items()}
            types = {name: frozenset(map(int, ids)) for name, ids in content["types"].items()}
            material = Material(dict(content["counts"]), bits, lexicons, dict(content["priors"]),
                                float(content["margin_bits"]), content["need_lexicon"])  # fmt: skip
            n_base, own_rule, own_threshold = int(content["n_base"]), content["rule"], content["threshold"]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path} is not a pool ({error}); need what tokenizer concepts build wrote.") from None
        if not 0 < n_base <= vocab.size or any(i >= vocab.size or i < 0 for ids in types.values() for i in ids):
            raise ValueError(
                f"{path} names ids outside the vocabulary of {vocab.size:,}; the two do not belong together."
            )
        threshold = own_threshold if threshold == -1 else threshold
        return cls(vocab, base_of(vocab, n_base), types, rule or own_rule, threshold, material)


def rolls_back(n_base: int, n_pool: int, threshold: float | None) -> bool:
    """Whether a sentence of `n_base` tokens by base and `n_pool` by the pool goes back to base.

    With f = (n_base - n_pool) / n_base: it does when f < 0 or f >= threshold: at 0 always, at 1 only when longer.
    """
    if threshold is None or n_base == 0:
        return False
    return n_pool > n_base or (n_base - n_pool) / n_base >= threshold


def choose_segmentation(
    candidates: Mapping[str, Sequence[str]], rule: str | Rule, material: Material | None = None
) -> str:
    """The name of the candidate a rule takes for one word given all ways to cut it (pieces, "##" inside).

    Raises:
        ValueError: no candidate called base, or an unknown rule.
    """
    if BASE not in candidates:
        raise ValueError(f"candidates {', '.join(candidates) or 'none'}; one must be {BASE!r}.")
    text = "".join(piece.removeprefix(_MARK) for piece in candidates[BASE])
    choose = resolve(rule, RULES, kind="word rule")
    return choose(Word(text, {name: tuple(pieces) for name, pieces in candidates.items()}, material or Material()))


def base_of(vocab: Vocab, n_base: int) -> Vocab:
    """The vocabulary without the ids from `n_base` on."""
    model = vocab.spec["model"]
    kept = {piece: i for piece, i in model["vocab"].items() if i < n_base}
    added = [token for token in vocab.spec["added_tokens"] if token["id"] < n_base]
    return Vocab.from_spec(
        {**vocab.spec, "model": {**model, "vocab": kept}, "added_tokens": added}, vocab.config, vocab.name
    )
