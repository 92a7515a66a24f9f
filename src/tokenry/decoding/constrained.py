"""Text under a constraint: drawn from the model's law given that the constraint is met, not from a masked distortion.

`sample` gives weighted texts and an unbiased estimate of how probable the constraint was; `constrained` is the strategy
of `tokenry generate`. Masking alone (sampler "mask", one particle) is what most tools do, and can also be walked with
a drafter: the mask is then part of the law in the tree, and speculative decoding stays exact.

Paper: Fast Controlled Generation from Language Models with Adaptive Weighted Rejection Sampling (arXiv 2504.05410).
"""

# Axes: V vocabulary, M particles.

import math
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from tokenry.core.choosing import suggest
from tokenry.decoding.acceptance import Seeded
from tokenry.decoding.awrs import NO_LIMIT
from tokenry.decoding.constraint_options import constraint_from
from tokenry.decoding.constraints import Constraint, WithoutFirstSpace
from tokenry.decoding.particles import PROPOSERS, Samples, first_allowed, masked_likeliest, run
from tokenry.decoding.sampling import Settings
from tokenry.decoding.speculate import Statistics
from tokenry.decoding.speculate import generate as run_loop
from tokenry.decoding.strategies import Continuation, Drafted, Prompt, ids_of, make, settings_for, text_of
from tokenry.decoding.token_masks import DeadEndError, MaskedLogits, TokenView, View
from tokenry.models.lm import LM
from tokenry.models.session import Session

MAX_TRIES = 1000
"""Texts that plain rejection begins at most."""


class ModelLaws:
    """The laws of a model after a prompt; rows share one session. See `particles.Laws`."""

    def __init__(self, session: Session, prompt: Sequence[int], settings: Settings) -> None:
        self.session, self.prompt, self.settings = session, list(prompt), settings
        self._first: np.ndarray | None = None
        self._base = session

    def first(self) -> np.ndarray:
        """Run the prompt, once however often it is asked."""
        if self._first is None:
            self._first = self._laws(self._base.extend(self.prompt)[None])[0]
        self.session = self._base.fork()
        return self._first

    def next(self, rows: Sequence[int], tokens: Sequence[int]) -> list[np.ndarray]:
        """One forward pass for all rows."""
        if list(rows) != list(range(self.session.batch)):
            self.session.select(rows)
        logits = self.session.extend([[token] for token in tokens] if len(tokens) > 1 else list(tokens))
        return self._laws(logits if len(tokens) > 1 else logits[None])

    def _laws(self, logits_BV: Tensor) -> list[np.ndarray]:
        contexts = self.session.rows if self.settings.processors is not None else [None] * len(logits_BV)
        laws = [self.settings.law(logits_V, text) for logits_V, text in zip(logits_BV, contexts, strict=True)]
        return list(torch.stack(laws).cpu().numpy())


def sample(
    lm: LM,
    prompt: Prompt,
    constraint: "Constraint | View",
    *,
    sampler: str = "awrs",
    particles: int = 8,
    resample_below: float = 0.5,
    most_rejects: int | None = None,
    settings: Settings | None = None,
) -> Samples:
    """Weighted continuations of a prompt that meet a constraint.

    Args:
        lm: the model.
        prompt: a text or ids.
        constraint: on the bytes after the prompt.
        sampler: "awrs" (few checks), its single estimators "awrs-recursive", "awrs-two-loops" and "awrs-geometric",
            "mask" (the whole vocabulary at each step), or "reject" (whole texts until enough are accepted).
        particles: texts; with 1, "awrs" and "mask" give the law of masking.
        resample_below: share of effective particles below which they are resampled.
        most_rejects: refused tokens in one step before a particle is given up; for "reject" texts begun, 1,000 unless
            set. None is no bound.
        settings: length, temperature (which belongs to the law aimed at; 0 counts as 1 here), seed, end tokens.

    Returns:
        Samples; `log_evidence` is -inf and all weights are 0 when nothing met the constraint.

    Raises:
        ValueError: an unknown sampler, no particle, a prompt that is empty or fills the context, NaN logits.
    """
    _check_sampler(sampler, particles, resample_below)
    settings = settings_for(lm, settings or Settings())
    ids = ids_of(lm, prompt)
    view = (
        constraint
        if not isinstance(constraint, Constraint)
        else view_of(constraint, lm, ends=settings.ends, prompt=ids)
    )
    return _sample(lm, ids, view, settings, sampler, particles, resample_below, most_rejects)[0]


def view_of(constraint: Constraint, lm: LM, *, ends: Sequence[int] = (), prompt: Sequence[int] = ()) -> View:
    """A constraint as seen through a model's tokens; engines with masks of their own bring their own view.

    Where the tokenizer writes a space before a text, and the prompt holds no text yet, that space does not count.
    """
    made = getattr(constraint, "view_for", None)
    fresh = lm.adds_space and not lm.vocab.decode_bytes(list(prompt))
    if made is not None and not fresh:
        return made(lm.vocab, ends)
    return TokenView(WithoutFirstSpace(constraint) if fresh else constraint, lm.vocab, ends)


def _sample(
    lm: LM,
    ids: list[int],
    view: View,
    settings: Settings,
    sampler: str,
    particles: int,
    resample_below: float,
    most_rejects: int | None,
) -> tuple[Samples, Session]:
    session = Session.open(lm)
    room = session.context - len(ids) + 1
    if not ids or room < 2:
        raise ValueError(
            f"a prompt of {len(ids)} tokens; need at least one, and room for an answer in the {session.context} that "
            "the model holds. Start an empty one with the model's start token (LM.start); keep the end of a long one."
        )
    greedy = settings.is_greedy and particles == 1 and sampler != "reject"
    laws = ModelLaws(session, ids, replace(settings, temperature=settings.temperature or 1.0))
    propose = (masked_likeliest if sampler == "mask" else first_allowed) if greedy else PROPOSERS[sampler]
    asked = {
        "most_tokens": min(settings.max_new_tokens, room), "stop": settings.stop, "n_particles": particles,
        "propose": propose,
    }  # fmt: skip
    if sampler == "reject":
        found = _rejection(laws, view, settings.seed, most_rejects or MAX_TRIES, asked)
    else:
        found = run(laws, view, chance_of=_chances(settings.seed), resample_below=resample_below,
                    most_rejects=most_rejects or NO_LIMIT, **asked)  # fmt: skip
    if greedy and found.weights_M[0] > 0:
        found.factors = [math.nan]  # nothing was drawn, so nothing is estimated
    return found, session


def _chances(*key: int) -> Callable[[int, int], Seeded]:
    return lambda step, particle: Seeded(np.random.default_rng([*key, step, particle + 1]))


def _rejection(laws: ModelLaws, view: View, seed: int, most_tries: int, asked: dict) -> Samples:
    """Whole texts, refused as soon as a token is, until as many as particles (at least two) are accepted.

    The evidence is estimated as in `awrs.geometric`: unbiased, also where the tries ran out.
    """
    wanted = max(2, asked["n_particles"])
    kept: list[tuple[list[int], float, str]] = []
    found, n_tries, n_steps, n_tokens, turn = None, 0, 0, 0, 0
    while len(kept) < wanted and n_tries < most_tries:
        size = min(asked["n_particles"], most_tries - n_tries)
        found = run(laws, view, chance_of=_chances(seed, turn), resample_below=0.0, **{**asked, "n_particles": size})
        for i in range(size):
            if len(kept) < wanted:
                n_tries += 1
                if found.weights_M[i] > 0:
                    kept.append((found.ids[i], found.log_p[i], found.ended_by[i]))
        n_steps, n_tokens, turn = n_steps + found.n_steps, n_tokens + found.n_tokens, turn + 1
    if kept:
        share = min(wanted - 1, len(kept)) / (n_tries - 1) if n_tries > 1 else 1.0
        texts, log_p, ended_by = map(list, zip(*kept, strict=True))
        found = Samples(texts, np.ones(len(kept)), [share], log_p, ended_by)
    found.n_steps, found.n_tokens, found.n_tries = n_steps - turn + 1, n_tokens, n_tries  # the prompt was run once
    return found


@dataclass
class Constrained:
    """The strategy: sample, and give one text.

    Above temperature 0 a text is drawn by its weight. At 0 one particle takes the likeliest allowed token each time;
    several are drawn at temperature 1, and the text that is likeliest under the model is given.

    Attributes:
        constraint: on the bytes after the prompt.
        sampler, particles, resample_below, most_rejects: as for `sample`.
        drafter: with "mask" and one particle, a strategy with a drafter: the masked text in fewer forward passes.
        name: for reports.
    """

    constraint: Constraint
    sampler: str = "awrs"
    particles: int = 8
    resample_below: float = 0.5
    most_rejects: int | None = None
    drafter: Drafted | None = None
    name: str = "constrained"
    _views: dict = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        _check_sampler(self.sampler, self.particles, self.resample_below)
        if self.drafter is not None and (self.sampler, self.particles) != ("mask", 1):
            raise ValueError(
                f"a drafter with sampler={self.sampler!r} and particles={self.particles}; need sampler=mask and "
                "particles=1: a tree of guesses is verified for one text, without weights."
            )
        if self.drafter is not None and not isinstance(self.drafter, Drafted):
            raise ValueError(f"drafter {self.drafter!r} does not guess tokens; need a strategy such as lookup.")

    def __call__(self, lm: LM, prompt: Prompt, settings: Settings) -> Continuation:
        """Continue one prompt."""
        settings = settings_for(lm, settings)
        ids = ids_of(lm, prompt)
        view = self._view(lm, settings.ends, ids)
        before = view.n_checks, view.n_masks
        started = time.perf_counter()
        if self.drafter is not None:
            new, stats, notes = _walked(lm, ids, view, settings, self.drafter)
        else:
            how = (self.sampler, self.particles, self.resample_below, self.most_rejects)
            found, _session = _sample(lm, ids, view, settings, *how)
            chosen = _choose(found, settings)
            new = found.ids[chosen]
            stats = Statistics(n_prompt=len(ids), n_new=len(new), n_forwards=found.n_steps, n_steps=found.n_steps - 1)
            stats.ended_by = found.ended_by[chosen]
            notes = _notes(found, view, before)
        stats.seconds = time.perf_counter() - started
        if not notes["finished"]:
            warnings.warn(
                f"{stats.ended_by}: no text was found that meets the constraint; what is given is an unfinished one. "
                "Let the prompt lead to it, allow more tokens or particles, or loosen the constraint.",
                stacklevel=2,
            )
        return Continuation(ids, new, text_of(lm, [*ids, *new]), stats, notes)

    def _view(self, lm: LM, ends: Sequence[int], ids: list[int]) -> View:
        """The view of this model's tokens, kept from prompt to prompt with what it remembers."""
        key = (lm, tuple(ends), bool(lm.vocab.decode_bytes(ids)))
        if key not in self._views:
            self._views = {key: view_of(self.constraint, lm, ends=ends, prompt=ids)}
        return self._views[key]


def constrained(
    *,
    regex: object = None,
    schema: object = None,
    words: object = None,
    check: object = None,
    engine: str | None = None,
    sampler: str = "awrs",
    particles: int = 8,
    resample_below: float = 0.5,
    most_rejects: int | None = None,
    drafter: str | Drafted | None = None,
) -> Constrained:
    """The strategy from its options; of several constraints all must be met.

    Args:
        regex: the whole continuation matches it.
        schema: it is JSON of this schema: a dict, JSON text or the name of a file.
        words: it is one of these: a list, "a,b,c", or the name of a file with one a line after "@".
        check: a function bytes -> bool for whole texts, or an object with complete_ok and prefix_ok; in Python itself,
            or as `pkg.module:name` or `./file.py:name`.
        engine: for the schema: "llguidance" or "outlines"; None takes the first that is installed.
        sampler, particles, resample_below, most_rejects: as for `sample`.
        drafter: as for `Constrained`, or the name of such a strategy.

    Raises:
        ValueError: no constraint, or one that cannot be met or read.
        ImportError: a schema without an engine installed.
    """
    constraint = constraint_from(regex=regex, schema=schema, words=words, check=check, engine=engine)
    guesses = make(drafter) if isinstance(drafter, str) else drafter
    return Constrained(constraint, sampler, particles, resample_below, most_rejects, guesses)


def _walked(
    lm: LM, ids: list[int], view: View, settings: Settings, drafted: Drafted
) -> tuple[list[int], Statistics, dict[str, float]]:
    """The masked law in the decoding loop: guesses are verified under the mask."""
    processor = MaskedLogits(view, len(ids))
    first, stop = settings.processors, settings.stop
    settings = replace(settings, processors=processor if first is None else partial(_both, first, processor))
    if not settings.ends:
        settings = replace(settings, stop=lambda new: bool(stop and stop(new)) or processor.is_over(new))
    session, tokens = Session.open(lm), []
    try:
        _, stats = run_loop(session, ids, drafted.drafter, settings=settings, rule=drafted.rule, sizing=drafted.sizing,
                            on_token=tokens.append)  # fmt: skip
    except DeadEndError:
        stats = Statistics(n_prompt=len(ids), n_new=len(tokens), n_forwards=session.n_forwards, ended_by="dead end")
    if stats.ended_by == "stop" and not settings.ends and processor.is_over(tokens):
        stats.ended_by = "complete"
    state = processor.state(tokens[: len(tokens) - (stats.ended_by == "end")])
    finished = state is not None and view.accepts(state)
    return tokens, stats, {"finished": int(finished), "checks": view.n_checks, "masks": view.n_masks}


def _both(first: Callable, second: Callable, ids_1T: object, logits_1V: object) -> object:
    return second(ids_1T, first(ids_1T, logits_1V))


def _choose(found: Samples, settings: Settings) -> int:
    """One particle: by its weight, or at temperature 0 the likeliest; of unfinished ones the longest."""
    if not found.effective:
        order = {"length": 0, "stop": 1, "dead end": 2}
        return min(range(len(found.ids)), key=lambda i: (order.get(found.ended_by[i], 3), -len(found.ids[i]), i))
    if settings.is_greedy:
        return max(range(len(found.ids)), key=lambda i: (found.weights_M[i] > 0, found.log_p[i], -i))
    return Seeded(np.random.default_rng([settings.seed])).draws(found.weights_M)


def _notes(found: Samples, view: View, before: tuple[int, int]) -> dict[str, float]:
    finished = [tuple(ids) for ids, weight in zip(found.ids, found.weights_M, strict=True) if weight > 0]
    checks, masks = view.n_checks - before[0], view.n_masks - before[1]
    return {
        "log evidence": found.log_evidence,
        "effective particles": found.effective,
        "finished": len(finished),
        "distinct": len(set(finished)),
        "checks": checks,
        "masks": masks,
        "checks per token": checks / max(1, found.n_tokens),
        "tokens of all particles": found.n_tokens,
    }


def _check_sampler(sampler: str, particles: int, resample_below: float) -> None:
    if sampler not in PROPOSERS:
        raise ValueError(
            f"sampler {sampler!r} is not known.{suggest(sampler, PROPOSERS)} Known: {', '.join(PROPOSERS)}."
        )
    if particles < 1 or not 0 <= resample_below <= 1:
        raise ValueError(
            f"particles={particles}, resample_below={resample_below}; need at least 1 particle, a share from 0 to 1."
        )
