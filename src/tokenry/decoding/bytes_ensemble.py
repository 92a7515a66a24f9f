"""Models with different vocabularies as one: their laws of the next byte are averaged, every byte moves all of them on.

Paper: Exact Byte-Level Probabilities from Tokenized Language Models (arXiv 2410.09303), section 5 (mean with equal
weights); the product of experts is ours.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from tokenry.core.numerics import logsumexp
from tokenry.decoding.bytes import ByteLM
from tokenry.decoding.bytes_state import ByteState
from tokenry.decoding.bytes_tokens import END

COMBINE = ("mean", "product")


@dataclass(frozen=True)
class ByteEnsemble:
    """Byte models that write or score together.

    Attributes:
        models: at least one, of any vocabularies.
        weights: one for each, summing to one after division by their sum; None gives equal ones.
        combine: "mean" of probabilities, or "product" (mean of log-probabilities, normalised).
    """

    models: Sequence[ByteLM]
    weights: Sequence[float] | None = None
    combine: str = "mean"

    def __post_init__(self) -> None:
        if self.combine not in COMBINE:
            raise ValueError(f"combine={self.combine!r}; need one of {', '.join(COMBINE)}.")
        weights = np.asarray(self.weights if self.weights is not None else [1.0] * len(self.models), float)
        if not len(self.models) or len(weights) != len(self.models) or (weights < 0).any() or not weights.sum() > 0:
            raise ValueError(
                f"{len(self.models)} models with weights {weights.tolist()}; need at least one model, and for each a "
                "weight of 0 or more, not all 0."
            )

    @cached_property
    def shares(self) -> np.ndarray:
        """Weights that sum to one."""
        weights = np.asarray(self.weights if self.weights is not None else [1.0] * len(self.models), float)
        return weights / weights.sum()

    def start(self) -> "EnsembleState":
        """The state before the first byte."""
        return EnsembleState(self, tuple(model.start() for model in self.models))

    def after(self, text: str | bytes, *, window: int | None = None) -> "EnsembleState":
        """The state after a prompt; its `log_p` counts from there."""
        states = (m.after(text, window=window if m.target == "all" else None) for m in self.models)
        return EnsembleState(self, tuple(states))

    def states(self, text: str | bytes, state: "EnsembleState | None" = None) -> Iterator["EnsembleState"]:
        """The state before each byte of a known text, and the last one; the models run over many bytes at once."""
        data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
        state = self.start() if state is None else state
        walks = [m.states(data, own) for m, own in zip(self.models, state.states, strict=True)]
        log_p = state.log_p
        for place, states in enumerate(zip(*walks, strict=True)):
            now = EnsembleState(self, states, log_p)
            yield now
            if place < len(data):
                log_p += float(now.next_log_p[data[place]])

    def log_prob(self, text: str | bytes, *, end: bool = False) -> float:
        """Natural log-probability that a text starts with these bytes, or, with `end`, is just them."""
        for state in self.states(text):
            last = state
        return last.log_p + (float(last.next_log_p[END]) if end else 0.0)


@dataclass(frozen=True, eq=False)
class EnsembleState:
    """What the members know after some bytes; it never changes.

    Attributes:
        ensemble: whose it is.
        states: one for each member.
        log_p: natural log-probability of the bytes so far under the ensemble.
    """

    ensemble: ByteEnsemble
    states: tuple[ByteState, ...]
    log_p: float = 0.0

    @cached_property
    def next_log_p(self) -> np.ndarray:
        """Natural log-probabilities (257,) of the next byte, the end of the text at 256.

        Raises:
            ValueError: the members agree on no byte (product).
        """
        shares = self.ensemble.shares
        laws = np.stack([s.next_log_p for s, share in zip(self.states, shares, strict=True) if share > 0])
        shares = shares[shares > 0]
        if self.ensemble.combine == "mean":
            return logsumexp(laws + np.log(shares)[:, None], axis=0)
        mixed = (laws * shares[:, None]).sum(0)
        total = float(logsumexp(mixed))
        if total == -np.inf:
            raise ValueError("no byte is possible for every member; take the mean, which any one of them may lead.")
        return mixed - total

    def advance(self, data: bytes | int) -> "EnsembleState":
        """The state after one more byte, or several."""
        state = self
        for byte in (data,) if isinstance(data, int | np.integer) else data:
            log_p = state.log_p + float(state.next_log_p[byte])
            state = EnsembleState(self.ensemble, tuple(own.advance(int(byte)) for own in state.states), log_p)
        return state

    @property
    def n_forwards(self) -> int:
        """Forward passes of all members so far."""
        return sum(state.runner.session.n_forwards for state in self.states)


def write(
    state: ByteState | EnsembleState,
    *,
    n_bytes: int,
    temperature: float = 0.0,
    top_p: float = 1.0,
    seed: int = 0,
) -> bytes:
    """Write byte by byte until the end of the text, or `n_bytes`.

    A byte that the law gives no probability is never written: temperature and top-p act on what is possible. A
    character that the last byte leaves unfinished is taken off again.

    Args:
        state: after the prompt.
        n_bytes: most bytes.
        temperature: 0 takes the likeliest byte; above 0 draws from p ** (1 / temperature).
        top_p: draw from the likeliest bytes that sum to this (after the temperature).
        seed: of the drawing.
    """
    if n_bytes < 1 or temperature < 0 or not 0 < top_p <= 1:
        raise ValueError(
            f"n_bytes={n_bytes}, temperature={temperature}, top_p={top_p}; need n_bytes >= 1, temperature >= 0 and "
            "0 < top_p <= 1."
        )
    rng, written = np.random.default_rng(seed), bytearray()
    for _ in range(n_bytes):
        log_p = state.next_log_p
        byte = int(log_p.argmax()) if temperature == 0 else _drawn(log_p / temperature, top_p, rng)
        if byte == END:
            break
        written.append(byte)
        state = state.advance(byte)
    return finished(bytes(written))


def finished(data: bytes) -> bytes:
    """The bytes without a character that their end leaves unfinished."""
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.reason == "unexpected end of data":
            return data[: error.start]
    return data


def _drawn(log_p: np.ndarray, top_p: float, rng: np.random.Generator) -> int:
    law = np.exp(log_p - logsumexp(log_p))
    order = np.argsort(-law, kind="stable")
    before = np.cumsum(law[order]) - law[order]
    law[order[before >= top_p]] = 0.0
    return int(rng.choice(len(law), p=law / law.sum()))
