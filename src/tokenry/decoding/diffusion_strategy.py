"""The strategy `diffusion`: open a masked-diffusion model, continue prompts with it, and say what it cost."""

import weakref
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from tokenry.core.choosing import suggest
from tokenry.decoding.diffusion import diffuse
from tokenry.decoding.diffusion_cache import Freeze, sees_later_tokens
from tokenry.decoding.diffusion_guide import Guided, among_top, as_likely_as, check_same_vocabulary
from tokenry.decoding.diffusion_models import DiffusionSpec, open_diffusion
from tokenry.decoding.diffusion_unmasking import SCORES, Counted, EntropyBound, Threshold, Unmask
from tokenry.decoding.sampling import Settings
from tokenry.decoding.speculate import Statistics
from tokenry.decoding.strategies import Continuation, Prompt, ids_of, text_of
from tokenry.models.lm import LM

CONSENTS: dict[str, Callable] = {
    "argmax": lambda amount: among_top(1),
    "top": lambda amount: among_top(5 if amount is None else int(amount)),
    "likely": lambda amount: as_likely_as(0.1 if amount is None else amount),
}
"""When the guide consents: name -> (amount or None) -> Consent; the defaults are those of the paper's code."""
UNMASKING: dict[str, Callable] = {
    **{score: (lambda amount, score=score: Counted(int(amount or 1), score=score)) for score in SCORES},
    "threshold": lambda amount: Threshold(0.9 if amount is None else amount),
    "entropy-bound": lambda amount: EntropyBound(0.1 if amount is None else amount),
}
"""What a step uncovers: name -> (amount or None) -> Unmask."""
CACHES: dict[str, Callable] = {
    "none": lambda refresh, **how: _nothing_kept(refresh),
    "prompt": lambda **how: Freeze(unit="prompt", **how),
    "block": lambda **how: Freeze(unit="block", **how),
    "token": lambda **how: Freeze(unit="token", **how),
    "dual": lambda refresh, **how: Freeze(unit="block", suffix=True, refresh=refresh or "block", **how),
}
"""What is kept from step to step: name -> Freeze, or None."""


@dataclass
class Diffusion:
    """The strategy.

    Attributes:
        unmask: what a step uncovers.
        freeze: what is kept from step to step.
        block: places written before the next ones are looked at; None takes all.
        mask, shift: as for `DiffusionSpec.of`.
        own_code: run model code that lies in the folder.
        name: for reports.
    """

    unmask: Unmask
    freeze: Freeze | None = None
    block: int | None = 32
    mask: int | None = None
    shift: bool | None = None
    own_code: bool = False
    name: str = "diffusion"
    _probed: weakref.WeakSet = field(default_factory=weakref.WeakSet, repr=False)

    def open(self, source: object, *, device: str | None = None, dtype: str | torch.dtype | None = None) -> LM:
        """Open a model for this strategy; the guide, if any, goes to the same device."""
        lm = open_diffusion(source, own_code=self.own_code, device=device, dtype=dtype)
        self._ready(lm)
        return lm

    def __call__(self, lm: LM, prompt: Prompt, settings: Settings) -> Continuation:
        """Continue one prompt."""
        spec, guide = self._ready(lm), self.unmask if isinstance(self.unmask, Guided) else None
        before = (guide.n_forwards, guide.n_tokens) if guide else (0, 0)
        ids = ids_of(lm, prompt)
        how = {"unmask": self.unmask, "freeze": self.freeze, "block": self.block}
        found = diffuse(lm, [ids], spec, settings=settings, **how)
        new, cost = found.ids[0], found.cost
        stats = Statistics(
            n_prompt=len(ids), n_new=len(new), n_forwards=cost.n_forwards, n_steps=cost.n_forwards - 1,
            n_guesses=len(new) - 1, n_accepted=max(0, len(new) - cost.n_forwards), seconds=cost.seconds,
            verify_seconds=cost.seconds, ended_by=found.ended_by[0],
        )  # fmt: skip
        notes = {
            "full forwards": cost.n_full,
            "places computed": cost.n_computed,
            "places per token": cost.n_computed / len(new),
        }
        if guide:
            read = (guide.n_forwards - before[0], guide.n_tokens - before[1])
            notes |= dict(zip(("guide forwards", "guide tokens"), read, strict=True))
        return Continuation(ids, new, text_of(lm, [*ids, *new]), stats, notes)

    def _ready(self, lm: LM) -> DiffusionSpec:
        """How the model fills places; opens the guide the first time.

        Raises:
            ValueError: a causal model, no mask token, or a guide of another vocabulary.
        """
        spec = DiffusionSpec.of(lm, mask=self.mask, shift=self.shift)
        if lm.model not in self._probed and not sees_later_tokens(lm.model):
            raise ValueError(
                f"{lm.name} does not look at later tokens, so it cannot fill hidden ones; need a model trained by "
                "masked diffusion. A causal model writes by --strategy plain."
            )
        self._probed.add(lm.model)
        if isinstance(self.unmask, Guided):
            if not isinstance(self.unmask.guide, LM):
                guide = LM.open(self.unmask.guide, device=str(lm.device), dtype=lm.model.dtype)
                self.unmask = replace(self.unmask, guide=guide)
            check_same_vocabulary(lm.vocab, self.unmask.guide.vocab)
        return spec


def diffusion(
    *,
    unmask: str | Unmask = "confidence",
    cache: str | Freeze | None = "none",
    when: str = "delayed",
    refresh: int | str | None = None,
    block: int | None = 32,
    guide: "LM | str | Path | None" = None,
    mask: int | None = None,
    shift: bool | None = None,
    allow_own_code: bool = False,
) -> Diffusion:
    """Make the strategy. What it does by default is the slow reference: one token a step, nothing kept.

    Args:
        unmask: "confidence" (one token a step), "confidence:4" (four), also margin, entropy, random, left;
            "threshold:0.9", "entropy-bound:0.1"; "guided" or "guided:argmax", "guided:top:5", "guided:likely:0.1".
        cache: "none", "prompt", "block" (the paper's frozen prefix), "token" or "dual"; approximate.
        when, refresh: as for `Freeze`.
        block: places written before the next ones are looked at.
        guide: for "guided": an autoregressive model of the same vocabulary.
        mask, shift: what the model's configuration does not say.
        allow_own_code: run model code that lies in the folder (LLaDA, Dream); read it first.

    Raises:
        ValueError: an unknown name, or a guide that is missing or not asked for.
    """
    if isinstance(cache, str):
        cache = _named(cache, CACHES, "cache")(when=when, refresh=refresh)
    if isinstance(unmask, str):
        unmask = _unmasking(unmask, guide)
    elif guide is not None:
        raise ValueError("a guide beside an unmasking that is made already; give it to Guided(guide).")
    return Diffusion(unmask, cache, block, mask, shift, allow_own_code)


def _unmasking(text: str, guide: object) -> Unmask:
    name, _, rest = text.partition(":")
    if (name == "guided") != (guide is not None):
        raise ValueError(
            "unmask=guided without a guide; name an autoregressive model of the same vocabulary: --with guide=FOLDER."
            if guide is None
            else f"a guide beside unmask={text}; it is asked only by unmask=guided."
        )
    if name == "guided":
        rule, _, amount = (rest or "argmax").partition(":")
        return Guided(guide, _named(rule, CONSENTS, "consent of a guide")(_amount(amount, text)))
    return _named(name, UNMASKING, "unmasking")(_amount(rest, text))


def _amount(text: str, whole: str) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        raise ValueError(f"unmask={whole}: {text!r} is no number; need one, as in threshold:0.9.") from None


def _nothing_kept(refresh: object) -> None:
    if refresh is not None:
        raise ValueError(f"refresh={refresh} with cache=none, which keeps nothing; need cache=block or another.")


def _named(name: str, known: dict[str, Callable], kind: str) -> Callable:
    if name not in known:
        raise ValueError(f"{kind} {name!r} is not known.{suggest(name, known)} Known: {', '.join(known)}.")
    return known[name]
