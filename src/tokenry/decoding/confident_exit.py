"""Early exit by confidence: a token leaves after the first layers when they are sure of it, else all layers decide.

The baseline of early exit by position: its cost is not known beforehand, and rows of a batch would want different
exits, so it runs one text at a time. Tokens that left early have no keys in the upper layers; they are run again
through all layers, together, when the next token needs them. The text changes; at a threshold above 1 it is exact.

Papers: CALM (arXiv 2207.07061), LITE (arXiv 2310.18581); what SkipDecode (arXiv 2307.02628) sets out to replace.
"""

# Axes: V vocabulary.

import time
from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from tokenry.decoding.acceptance import Seeded
from tokenry.decoding.layer_schedules import LayerSchedule
from tokenry.decoding.layer_switch import LayerSwitch, decoder_layers
from tokenry.decoding.sampling import Settings
from tokenry.decoding.speculate import Statistics
from tokenry.decoding.strategies import Continuation, Prompt, ids_of, text_of
from tokenry.models.lm import LM
from tokenry.models.session import Session


@dataclass
class ConfidentExit:
    """The strategy: exit after `layers` when sure.

    Attributes:
        layers: after how many layers a token may leave; None is half of them.
        threshold: least probability of the likeliest token to leave; above 1 nothing does.
        max_pending: most tokens that may wait for the upper layers.
    """

    layers: int | None = None
    threshold: float = 0.9
    max_pending: int = 32
    name: str = "confident-exit"

    def __post_init__(self) -> None:
        if self.max_pending < 1 or self.threshold < 0:
            raise ValueError(
                f"threshold={self.threshold}, max_pending={self.max_pending}; need at least 0, and at least 1."
            )

    def __call__(self, lm: LM, prompt: Prompt, settings: Settings) -> Continuation:
        """Continue one prompt."""
        ids = ids_of(lm, prompt)
        new, stats, notes = self.run(lm.model, ids, settings)
        return Continuation(ids, new, text_of(lm, [*ids, *new]), stats, notes)

    def run(
        self, model: nn.Module, prompt: Sequence[int], settings: Settings
    ) -> tuple[list[int], Statistics, dict[str, float]]:
        """New ids, what they cost, and notes: "layer passes a token" (in order, the time when memory binds), "layers a
        token" (summed over tokens, the arithmetic; what is run again counts again) and "left early", a share."""
        n_layers = len(decoder_layers(model))
        n_exit = max(1, n_layers // 2) if self.layers is None else self.layers
        first_layers = LayerSchedule.from_counts(n_layers, [n_exit - 1], place="bottom").layers(0)
        session, chance, started = Session.open(model), Seeded(settings.seed), time.perf_counter()
        context, new, stats = list(map(int, prompt)), [], Statistics(n_prompt=len(prompt))
        passes, n_early, n_shallow = 0, 0, 0
        with LayerSwitch(model) as switch:
            law_V, shallow = settings.law(session.extend(context), context), None
            of_prompt = switch.token_layers
            while True:
                token = int(law_V.argmax()) if settings.is_greedy else chance.draws(law_V)
                context.append(token)
                new.append(token)
                stats.ended_by = _ended(new, settings, len(context) > session.context)
                if stats.ended_by:
                    break
                pending, stats.n_steps = context[len(session) :], stats.n_steps + 1
                if self.threshold <= 1 and len(pending) <= self.max_pending:
                    switch.run(first_layers)
                    shallow = shallow or session.fork()
                    logits_V = shallow.extend(context[len(shallow) :])
                    passes, n_shallow = passes + n_exit, n_shallow + 1
                    if float(settings.processed(logits_V, context).double().softmax(-1).max()) >= self.threshold:
                        law_V, n_early = settings.law(logits_V, context), n_early + 1
                        continue
                switch.run()
                shallow = None  # dropped first: its rows are then written over in place
                law_V = settings.law(session.extend(pending), context)
                passes += n_layers
        stats.n_forwards, stats.n_new = session.n_forwards + n_shallow, len(new)
        stats.seconds = time.perf_counter() - started
        n = max(1, stats.n_steps)
        run = switch.token_layers - of_prompt
        notes = {"layer passes a token": passes / n, "layers a token": run / n, "left early": n_early / n}
        return new, stats, notes


def _ended(new: list[int], settings: Settings, is_full: bool) -> str:
    if new[-1] in settings.ends:
        return "end"
    if settings.stop is not None and settings.stop(new):
        return "stop"
    if len(new) >= settings.max_new_tokens:
        return "length"
    return "context" if is_full else ""


def confident_exit(*, layers: int | None = None, threshold: float = 0.9, max_pending: int = 32) -> ConfidentExit:
    """The strategy `confident-exit`: see `ConfidentExit`."""
    return ConfidentExit(layers, threshold, max_pending)
