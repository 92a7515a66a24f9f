"""Early-exit self-drafts: the first layers guess, all layers verify; the text is the model's own, with no second model.

The guesses are made on a fork of the verified session: the keys of the lower layers are those of the whole model, so
neither the prompt nor accepted tokens are run again for the draft.

Papers: LayerSkip (arXiv 2404.16710), Draft & Verify (arXiv 2309.08168); the other use of the same layers, without
verification, is SkipDecode (arXiv 2307.02628).
"""

# Axes: V vocabulary.

from collections.abc import Sequence

from torch import Tensor

from tokenry.decoding.acceptance import Seeded
from tokenry.decoding.layer_schedules import LayerSchedule
from tokenry.decoding.layer_switch import LayerSwitch, decoder_layers
from tokenry.decoding.sampling import Settings
from tokenry.decoding.speculate import Draft, Verified
from tokenry.decoding.strategies import Drafted
from tokenry.decoding.trees import chain
from tokenry.models.session import Session


class SelfDrafter:
    """Guesses a chain with some of the model's own layers.

    Attributes:
        layers: how many layers guess; None is half of them.
        n_guesses: most tokens guessed in a step.
        confidence: guessing stops where the draft gives its likeliest token less than this.
        place, warmup: where they lie, see `LayerSchedule.from_counts`: "bottom" is early exit.
        notes: draft passes, and the layers run for each new token, drafts and verification together.
    """

    def __init__(
        self,
        *,
        layers: int | None = None,
        n_guesses: int = 4,
        confidence: float = 0.4,
        place: str = "bottom",
        warmup: int = 1,
    ) -> None:
        if n_guesses < 1 or not 0 <= confidence <= 1:
            raise ValueError(
                f"n_guesses={n_guesses}, confidence={confidence}; need at least 1 guess, and 0 to 1 for the latter."
            )
        self.layers, self.n_guesses, self.confidence = layers, n_guesses, confidence
        self.place, self.warmup = place, warmup
        self.notes: dict[str, float] = {}

    def begin(self, prompt: Sequence[int], session: Session, settings: Settings) -> None:
        """Choose the layers of this model."""
        n_layers = len(decoder_layers(session.model))
        n_drafting = max(1, n_layers // 2) if self.layers is None else self.layers
        if not self.warmup <= n_drafting <= n_layers:
            raise ValueError(
                f"layers={n_drafting} of {n_layers} guess, {self.warmup} of them always; need {self.warmup} to "
                f"{n_layers}."
            )
        counts = [n_drafting - self.warmup]
        self._layers = LayerSchedule.from_counts(n_layers, counts, warmup=self.warmup, place=self.place).layers(0)
        self._session, self._settings, self._n_layers = session, settings, n_layers
        self._chance = Seeded([settings.seed, 1])
        self._n_drafts, self._n_verified, self._n_tokens = 0, 0, 0

    def propose(self, context: Sequence[int], *, budget: int, depth: int) -> Draft | None:
        """A chain of guesses: the likeliest tokens of the shorter model, or drawn from its law at a temperature."""
        tokens, laws = [context[-1]], {}
        fork = self._session.fork()
        with LayerSwitch(self._session.model) as switch:
            switch.run(self._layers)
            for node in range(min(self.n_guesses, budget, depth)):
                logits_V = fork.extend(tokens[-1:])
                self._n_drafts += 1
                token, law_V, certainty = self._guess(logits_V, [*context[:-1], *tokens])
                if certainty < self.confidence:
                    break
                if law_V is not None:
                    laws[node] = law_V
                tokens.append(token)
        return Draft(chain(tokens), laws or None) if len(tokens) > 1 else None

    def update(self, step: Verified) -> None:
        """Count what the step cost."""
        self._n_verified += 1
        self._n_tokens += len(step.tokens)
        run = self._n_drafts * len(self._layers) + self._n_verified * self._n_layers
        self.notes = {"draft passes": self._n_drafts, "layer passes a token": run / max(1, self._n_tokens)}

    def _guess(self, logits_V: Tensor, context: list[int]) -> tuple[int, Tensor | None, float]:
        """(token, the law it was drawn from or None, probability of the likeliest token)."""
        if self._settings.is_greedy:
            processed_V = self._settings.processed(logits_V, context).double()
            return int(processed_V.argmax()), None, float(processed_V.softmax(-1).max())
        law_V = self._settings.law(logits_V, context)
        return self._chance.draws(law_V), law_V, float(law_V.max())


def self_draft(
    *, layers: int | None = None, n_guesses: int = 4, confidence: float = 0.4, place: str = "bottom", warmup: int = 1
) -> Drafted:
    """The strategy `self-draft`: see `SelfDrafter`."""
    drafter = SelfDrafter(layers=layers, n_guesses=n_guesses, confidence=confidence, place=place, warmup=warmup)
    return Drafted(drafter, name="self-draft")
