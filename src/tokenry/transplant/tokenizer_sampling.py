"""Draw a new tokenizer for every pool of texts: what a hypernetwork is trained on, so that it serves any tokenizer.

Paper: Zero-Shot Tokenizer Transfer (arXiv 2405.07883).
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from tokenry.core.alphabets import BYTE_TO_CHAR
from tokenry.core.cutters import Cutter
from tokenry.core.hf_json import added_tokens, whole_spec
from tokenry.core.patterns import byte_level, known, split_pretokenizer
from tokenry.core.vocab import Vocab

_SPECIAL_SCORE = -1e4
"""Special tokens are matched before the model runs; their score only fills the place."""


@dataclass(frozen=True)
class SamplerConfig:
    """How tokenizers are drawn.

    Attributes:
        size: entries in all, the 256 bytes and the special tokens included. Fewer where the text has fewer substrings.
        longest: bytes of the longest entry.
        pool: texts read for one tokenizer.
        queue: pools whose counts are added up. The paper does not say how many; 1 counts the newest alone.
        noise_centre, noise_spread: ln z ~ Normal(centre, spread), z the standard deviation of the noise that is added
            to scores which sum to 1. `noise_centre` of -inf is no noise.
        pattern: name of the split pattern that makes the pre-tokens.
    """

    size: int = 32_768
    longest: int = 16
    pool: int = 2048
    queue: int = 1
    noise_centre: float = math.log(1e-5)
    noise_spread: float = 4.0
    pattern: str = "gpt2"

    def __post_init__(self) -> None:
        for name in ("size", "longest", "pool", "queue"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}; need at least 1. Correct the sampler's settings.")
        if not self.noise_spread >= 0 or math.isnan(self.noise_centre) or self.noise_centre == math.inf:
            raise ValueError(
                f"noise of ln z ~ Normal({self.noise_centre}, {self.noise_spread}); need a centre below infinity and a "
                "spread of 0 or more. The paper takes ln 1e-5 and 4."
            )


class TokenizerSampler:
    """Tokenizers by number, each from its own pool of texts; number and seed decide everything.

    Args:
        reference: the vocabulary whose special tokens every tokenizer has. They keep their ids where those lie below
            the size of what is drawn, and are its last ids otherwise.
        texts: gone round in their order, `pool` at a time.
        seed: of the noise.

    Raises:
        ValueError: no text, or a size that does not hold 256 bytes and the special tokens.
    """

    def __init__(
        self, reference: Vocab, texts: Sequence[str], *, config: SamplerConfig | None = None, seed: int = 0
    ) -> None:
        self.reference, self.texts, self.seed = reference, texts, seed
        self.config = config or SamplerConfig()
        least = 256 + len(reference.special_ids)
        if not len(texts):
            raise ValueError("no text to draw tokenizers from; need at least one. Give --data.")
        if self.config.size < least:
            raise ValueError(
                f"size={self.config.size}; need at least {least}, for 256 bytes and the {least - 256} special tokens "
                f"of {reference.name}. Ask for more."
            )
        self._counts: dict[int, Counter[str]] = {}

    def pool(self, number: int) -> list[str]:
        """The texts of tokenizer `number`, counted from 0."""
        size = min(self.config.pool, len(self.texts))
        return [self.texts[place % len(self.texts)] for place in range(number * size, (number + 1) * size)]

    def sample(self, number: int) -> Vocab:
        """Tokenizer `number`: Unigram over bytes, its scores the logarithms of the noisy shares."""
        counts: Counter[str] = Counter()
        wanted = range(max(0, number - self.config.queue + 1), number + 1)
        self._counts = {n: self._counts[n] if n in self._counts else self._count(n) for n in wanted}
        for held in self._counts.values():
            counts.update(held)
        rng = np.random.default_rng([self.seed, number])
        room = self.config.size - len(self.reference.special_ids)
        pieces, log_p = best_pieces(counts, room=room, spread=self._noise(rng), rng=rng)
        return self._vocab(pieces, log_p, f"sampled-{self.seed}-{number}")

    def _noise(self, rng: np.random.Generator) -> float:
        # Beyond e^50 the noise is all there is; the bound keeps it a finite number.
        exponent = self.config.noise_centre + self.config.noise_spread * rng.standard_normal()
        return math.exp(min(50.0, exponent))

    def _count(self, number: int) -> "Counter[str]":
        return count_substrings(Counter(p for text in self.pool(number) for p in self._cutter(text)),
                                longest=self.config.longest)  # fmt: skip

    @cached_property
    def _pre_tokenizer(self) -> dict:
        return split_pretokenizer(known(self.config.pattern))

    @cached_property
    def _cutter(self) -> Cutter:
        return Cutter(whole_spec({"type": "BPE", "vocab": {}, "merges": []}, pre_tokenizer=self._pre_tokenizer))

    def _vocab(self, pieces: list[str], log_p: np.ndarray, name: str) -> Vocab:
        specials = sorted(self.reference.special_ids)
        size = len(pieces) + len(specials)
        kept = [i for i in specials if i < size]
        moved = dict(zip(kept, kept, strict=True))
        free = iter(sorted(set(range(size)) - set(kept), reverse=True))
        moved |= {i: next(free) for i in reversed(specials) if i >= size}
        literals = {moved[i]: self.reference.literal(i) for i in specials}
        rest = iter(zip(pieces, log_p.tolist(), strict=True))
        entries = [[literals[i], _SPECIAL_SCORE] if i in literals else list(next(rest)) for i in range(size)]
        coder = byte_level(use_regex=False)
        model = {"type": "Unigram", "unk_id": None, "vocab": entries, "byte_fallback": False}
        spec = whole_spec(model, added_tokens=added_tokens(literals), pre_tokenizer=self._pre_tokenizer,
                          post_processor=coder, decoder=coder)  # fmt: skip
        roles = {f"{role}_token": self.reference.literal(i) for role, i in self.reference.specials.items()}
        return Vocab.from_spec(spec, roles, name)


def count_substrings(words: "Counter[str]", *, longest: int = 16) -> "Counter[str]":
    """How often each substring of up to `longest` characters occurs in pre-tokens, given how often those occur.

    Args:
        words: pre-tokens in byte-level spelling, a character a byte.
    """
    counts: Counter[str] = Counter()
    for word, times in words.items():
        for start in range(len(word)):
            for stop in range(start + 1, min(len(word), start + longest) + 1):
                counts[word[start:stop]] += times
    return counts


def best_pieces(
    counts: "Counter[str]", *, room: int, spread: float = 0.0, rng: np.random.Generator
) -> tuple[list[str], np.ndarray]:
    """The `room` substrings with the best noisy score, and every byte.

    The score of a substring is how often it occurs times its length, over the sum of all scores, plus noise of
    standard deviation `spread`. A byte that is not among the best takes the place of the worst entry that is none.

    Args:
        counts: substrings in byte-level spelling.
        room: entries, at least 256.
        spread: of the noise; 0 leaves the plain top.
        rng: of the noise.

    Returns:
        Entries, best first, and float64 log-probabilities, falling. Scores that noise (or absence) took to zero or
        below count as the least positive score, so that each entry can still be used.
    """
    if room < 256:
        raise ValueError(f"room={room}; need at least 256, one entry for each byte. Ask for a larger vocabulary.")
    names = sorted({*counts, *BYTE_TO_CHAR})  # an order that does not depend on how the text was counted
    clean = np.array([counts[name] * len(name) for name in names], dtype=np.float64)
    clean /= max(1.0, clean.sum())
    noisy = clean + spread * rng.standard_normal(len(names)) if spread else clean
    order = np.argsort(-noisy, kind="stable")
    is_byte = np.fromiter((len(name) == 1 for name in names), bool, len(names))
    others = order[~is_byte[order]]
    n_bytes_in_top = int(is_byte[order[:room]].sum())
    n_others = min(len(others), room - 256, room - n_bytes_in_top)
    kept = np.concatenate([np.flatnonzero(is_byte), others[:n_others]])
    kept = kept[np.argsort(-noisy[kept], kind="stable")]
    positive = noisy[kept][noisy[kept] > 0]
    floor = float(positive.min()) if len(positive) else 1.0
    shares = np.maximum(noisy[kept], floor)
    return [names[i] for i in kept], np.log(shares / shares.sum())
