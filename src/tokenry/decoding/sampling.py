"""How the next token is chosen: greedy, or drawn with temperature, top-k and top-p; and when to stop."""

# Axes: V vocabulary.

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Settings:
    """What is asked of a continuation, whatever the strategy.

    Attributes:
        max_new_tokens: most tokens to add.
        temperature: 0 takes the likeliest token each time; above 0 draws.
        top_k: draw only from the k likeliest tokens; 0 means all.
        top_p: draw only from the smallest set of likeliest tokens whose probabilities sum to at least this.
        seed: of the drawing.
        ends: ids that end the text (kept as its last token).
        stop: called with the new ids after each token; True ends the text.
        n_tokens: ids from here on stand for no token (rows that round a matrix up); None means all rows count.
        processors: functions (ids (1, T), logits (1, V)) -> logits (1, V) applied before everything else, as the
            library's LogitsProcessorList; at a node of a tree the ids end with the node's own path.
    """

    max_new_tokens: int = 64
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0
    ends: tuple[int, ...] = ()
    stop: Callable[[Sequence[int]], bool] | None = None
    n_tokens: int | None = None
    processors: Callable[[Tensor, Tensor], Tensor] | None = None

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise ValueError(f"max_new_tokens={self.max_new_tokens}; need at least 1. Ask for more tokens.")
        if not self.temperature >= 0:
            raise ValueError(f"temperature={self.temperature}; need 0 (greedy) or more.")
        if self.top_k < 0 or not 0 < self.top_p <= 1:
            raise ValueError(f"top_k={self.top_k}, top_p={self.top_p}; need top_k >= 0 and 0 < top_p <= 1.")

    @property
    def is_greedy(self) -> bool:
        """Whether nothing is drawn."""
        return self.temperature == 0

    def processed(self, logits_V: Tensor, context: Sequence[int] | None = None) -> Tensor:
        """Logits (V,) after the processors, as far as they stand for tokens."""
        if self.processors is not None:
            ids_1T = torch.tensor([list(context or ())], device=logits_V.device)
            logits_V = self.processors(ids_1T, logits_V[None])[0]
        return logits_V if self.n_tokens is None else logits_V[..., : self.n_tokens]

    def law(self, logits_V: Tensor, context: Sequence[int] | None = None) -> Tensor:
        """Probabilities (V,) in float64 that a token is drawn with; a draft must use the same on its own logits.

        Logits (..., V) of several places give (..., V).

        At temperature 0 all the mass is on the likeliest token.

        Raises:
            ValueError: NaN among the logits, or none that is finite.
        """
        logits_V = check_numbers(self.processed(logits_V, context)).double()
        if self.is_greedy:
            return torch.nn.functional.one_hot(logits_V.argmax(-1), logits_V.shape[-1]).double()
        logits_V = logits_V / self.temperature
        if 0 < self.top_k < logits_V.shape[-1]:
            least = logits_V.topk(self.top_k).values[..., -1:]
            logits_V = logits_V.masked_fill(logits_V < least, -torch.inf)
        law_V = logits_V.softmax(-1)
        return law_V if self.top_p == 1 else _nucleus(law_V, self.top_p)


def _nucleus(law_V: Tensor, top_p: float) -> Tensor:
    """The law within the smallest set of likeliest tokens that reaches `top_p`."""
    sorted_V, order_V = law_V.sort(descending=True, stable=True)
    before_V = sorted_V.cumsum(-1) - sorted_V
    kept_V = torch.zeros_like(law_V).scatter_(-1, order_V, sorted_V * (before_V < top_p))
    return kept_V / kept_V.sum(-1, keepdim=True)


def check_numbers(logits: Tensor) -> Tensor:
    """The logits, unless one is NaN or a row of them holds nothing finite.

    Raises:
        ValueError: with what to do.
    """
    largest = logits.amax(-1)
    if not bool(torch.isfinite(largest).all()):
        raise ValueError(
            "the model's logits hold NaN or no finite number; need finite ones. The weights are damaged or the number "
            "type is too small for them: try --dtype float32."
        )
    return logits
