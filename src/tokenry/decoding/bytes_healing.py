"""Heal the end of a prompt exactly, then go on with ordinary generation: the strategy `bytes`; and fill in the middle.

A prompt cut inside a word ("retu") makes the model see tokens it never saw in that place. Of all token sequences that
cover the prompt one is taken with its probability (at temperature 0 the likeliest); what it says beyond the prompt is
the beginning of the answer, and what follows is plain generation. That is exact sampling from the model given that the
text starts with the prompt, for a handful of forward passes. `generate(token_healing=True)` of the library is not: it
drops one token and favours what begins alike.

Paper: Exact Byte-Level Probabilities from Tokenized Language Models (arXiv 2410.09303), sections 3 and 5.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from tokenry.core.vocab import Kind
from tokenry.decoding.bytes import ByteLM
from tokenry.decoding.bytes_ensemble import ByteEnsemble, write
from tokenry.decoding.bytes_state import ByteState, CoverMember
from tokenry.decoding.sampling import Settings
from tokenry.decoding.speculate import Statistics
from tokenry.decoding.speculate import generate as run_loop
from tokenry.decoding.strategies import Continuation, Prompt, ids_of, text_of
from tokenry.models.lm import LM

WINDOW = 48
"""Last bytes of a prompt that target "all" covers in every way."""
INFILL_MARKS = (
    ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),
    ("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),
    ("<fim-prefix>", "<fim-suffix>", "<fim-middle>"),
    ("▁<PRE>", "▁<SUF>", "▁<MID>"),
    ("<PRE>", "<SUF>", "<MID>"),
)
"""How models spell the marks before prefix, suffix and middle."""


@dataclass(frozen=True)
class Healed:
    """A prompt whose end is healed.

    Attributes:
        ids: to go on from, by any generation; the last one may say more than the prompt does.
        n_whole: how many of them lie within the prompt.
        beyond: bytes the last one says beyond the prompt.
        p: share of the covering sequences that this one has.
        n_cover: covering sequences with any probability.
        state: what was known after the prompt.
    """

    ids: list[int]
    n_whole: int
    beyond: bytes
    p: float
    n_cover: int
    state: ByteState


def heal(
    model: LM | ByteLM,
    text: str | bytes,
    *,
    before: Sequence[int] | None = None,
    spaced: bool | None = None,
    temperature: float = 0.0,
    seed: int = 0,
) -> Healed:
    """Choose tokens that cover a prompt, so that generation goes on as if there had been no cut.

    Args:
        model: an LM (target "canonical"), or a byte model.
        text: the prompt; it may end anywhere, even inside a character. Not empty.
        before, spaced: as for `ByteLM.start`.
        temperature: 0 takes the likeliest cover; 1 draws one with its probability (exact); others sharpen or flatten.
        seed: of the drawing.

    Raises:
        ValueError: an empty prompt, bytes that no tokens of the target spell, a prompt longer than the context.
    """
    if not text:
        raise ValueError("an empty prompt has no end to heal; need at least one byte. Generate from the start instead.")
    byte_lm = model if isinstance(model, ByteLM) else ByteLM(model)
    state = byte_lm.after(text, before=before, spaced=spaced, window=WINDOW if byte_lm.target == "all" else None)
    if not state.candidates:
        state.masses  # noqa: B018  (says why nothing covers the prompt)
    members = state.cover()
    chosen = _chosen(members, temperature, seed)
    n_whole = len(chosen.ids) - bool(chosen.beyond)
    return Healed(chosen.ids, n_whole, chosen.beyond, chosen.p, len(members), state)


def _chosen(members: list[CoverMember], temperature: float, seed: int) -> CoverMember:
    if temperature == 0 or len(members) == 1:
        return members[0]
    log_p = np.log([member.p for member in members]) / temperature
    weights = np.exp(log_p - log_p.max())
    return members[np.random.default_rng(seed).choice(len(members), p=weights / weights.sum())]


def exact_heal(lm: LM, text: str, *, temperature: float = 0.0, seed: int = 0) -> list[int]:
    """Ids to hand to any `generate` instead of the tokenizer's: see `heal`."""
    return heal(lm, text, temperature=temperature, seed=seed).ids


def infill_ids(
    lm: LM, prefix: str, suffix: str, *, order: str = "spm", marks: Sequence[str] | None = None
) -> tuple[list[int], str]:
    """What stands before the text to go on from, when the middle between prefix and suffix is to be filled in.

    Args:
        prefix, suffix: what stands around the gap.
        order: "spm" (suffix first; generation goes on from the prefix, whose end has to be healed) or "psm" (prefix
            first; the middle begins afresh).
        marks: literals before prefix, suffix and middle; None looks for a known set.

    Returns:
        ids, and the text that follows them: the prefix, or nothing.

    Raises:
        ValueError: another order, or marks the tokenizer does not have.
    """
    if order not in ("spm", "psm"):
        raise ValueError(f"order={order!r}; need 'spm' (suffix, prefix, middle) or 'psm' (prefix, suffix, middle).")
    vocab = lm.vocab
    known = {vocab.literal(token["id"]): token["id"] for token in vocab.spec["added_tokens"]}
    known |= {vocab.literal(i): i for i in vocab.special_ids}
    sets = [tuple(marks)] if marks else INFILL_MARKS
    found = next((names for names in sets if all(name in known for name in names)), None)
    if found is None or len(found) != 3:
        asked = f"marks {', '.join(marks)}" if marks else "marks to fill in a middle"
        raise ValueError(
            f"{lm.name}: its tokenizer has no {asked}. Need a model trained to fill in; name its three marks (prefix, "
            "suffix, middle) as marks=(...)."
        )
    pre, suf, mid = (known[name] for name in found)
    head = [] if lm.bos is None else [lm.bos]
    inner = [ids.tolist() for ids in vocab.encode([prefix, suffix])]
    if order == "psm":
        return [*head, pre, *inner[0], suf, *inner[1], mid], ""
    return [*head, pre, suf, *inner[1], mid], prefix


class HealedGeneration:
    """The strategy: heal, then plain generation.

    Attributes:
        name: for reports.
    """

    name = "bytes"

    def __init__(self, *, target: str, beam: int | None, suffix: str, order: str) -> None:
        self.target, self.beam, self.suffix, self.order = target, beam, suffix, order
        self._byte_lm: ByteLM | None = None

    def byte_lm(self, lm: LM) -> ByteLM:
        """The byte model; its tables are kept from one prompt to the next."""
        if self._byte_lm is None or self._byte_lm.lm is not lm:
            self._byte_lm = ByteLM(lm, target=self.target, beam=self.beam)
        return self._byte_lm

    def __call__(self, lm: LM, prompt: Prompt, settings: Settings) -> Continuation:
        """Continue one prompt."""
        started = time.perf_counter()
        byte_lm = self.byte_lm(lm)
        before, text, spaced = self._split(lm, prompt)
        if not text:
            session, ids, n_whole, notes = byte_lm.start(before).runner.session, before, len(before), {}
        else:
            healed = heal(byte_lm, text, before=before, spaced=spaced, temperature=settings.temperature,
                          seed=settings.seed)  # fmt: skip
            session, ids, n_whole = healed.state.runner.session, healed.ids, healed.n_whole
            notes = {"healed_bytes": len(healed.beyond), "cover": healed.n_cover, "cover_share": healed.p}
            notes["heal_forwards"] = session.n_forwards
        healing, seconds = session.n_forwards, time.perf_counter() - started
        new, stats = _go_on(session, ids, n_whole, settings)
        stats.n_forwards += healing
        stats.seconds += seconds
        stats.prompt_seconds += seconds
        return Continuation(ids[:n_whole], new, text_of(lm, [*ids[:n_whole], *new]), stats, notes)

    def _split(self, lm: LM, prompt: Prompt) -> tuple[list[int], bytes, bool]:
        """Ids up to the last special token, the bytes after it, and whether the tokenizer's own space was taken off."""
        if self.suffix:
            if not isinstance(prompt, str):
                raise ValueError("a suffix beside a prompt of ids; need the prompt as text to fill in the middle.")
            before, text = infill_ids(lm, prompt, self.suffix, order=self.order)
            return before, text.encode(), False
        ids = ids_of(lm, prompt)
        last = max((i for i, token in enumerate(ids) if lm.vocab.kinds[token] >= Kind.SPECIAL), default=-1)
        data = lm.vocab.decode_bytes(ids[last + 1 :])
        spaced = lm.adds_space and data.startswith(b" ")
        return ids[: last + 1] or [lm.start], data[spaced:], spaced


def _go_on(session: object, ids: list[int], n_whole: int, settings: Settings) -> tuple[list[int], Statistics]:
    """Plain generation after healed ids, on the cache that healing filled."""
    session.accept([])
    held = session.tokens
    shared = next((i for i, (a, b) in enumerate(zip(held, ids, strict=False)) if a != b), min(len(held), len(ids)))
    session.rollback(len(held) - min(shared, len(ids) - 1))
    first = ids[n_whole:]
    if first and (settings.max_new_tokens == len(first) or first[-1] in settings.ends):
        return first, Statistics(n_prompt=n_whole, n_new=len(first), ended_by="length")
    new, stats = run_loop(session, ids, settings=replace(settings, max_new_tokens=settings.max_new_tokens - len(first)))
    stats.n_prompt, stats.n_new = n_whole, stats.n_new + len(first)
    return [*first, *new], stats


class EnsembleGeneration:
    """The strategy of two models at once: every byte is drawn from both. See `ByteEnsemble`."""

    name = "bytes"

    def __init__(self, partner: object, *, target: str, beam: int | None, weight: float, combine: str) -> None:
        self.partner = LM.open(partner)
        self.target, self.beam, self.weight, self.combine = target, beam, weight, combine

    def __call__(self, lm: LM, prompt: Prompt, settings: Settings) -> Continuation:
        """Continue one prompt by at most four bytes for each token asked."""
        if not isinstance(prompt, str):
            raise ValueError("a prompt of ids for an ensemble; its members have different ids. Give the text.")
        started = time.perf_counter()
        members = [ByteLM(one, target=self.target, beam=self.beam) for one in (lm, self.partner)]
        both = ByteEnsemble(members, weights=(1 - self.weight, self.weight), combine=self.combine)
        state = both.after(prompt, window=WINDOW)
        data = write(
            state,
            n_bytes=4 * settings.max_new_tokens,
            temperature=settings.temperature,
            top_p=settings.top_p,
            seed=settings.seed,
        )
        text = prompt + data.decode("utf-8", "replace")
        new = lm.vocab.encode([data.decode("utf-8", "replace")])[0].tolist()
        stats = Statistics(n_prompt=len(ids_of(lm, prompt)), n_new=len(new), ended_by="length")
        stats.n_forwards, stats.seconds = state.n_forwards, time.perf_counter() - started
        return Continuation(ids_of(lm, prompt), new, text, stats, {"bytes": float(len(data))})


def bytes_strategy(
    *,
    target: str = "canonical",
    beam: int | None = None,
    suffix: str = "",
    order: str = "spm",
    partner: str = "",
    weight: float = 0.5,
    combine: str = "mean",
) -> HealedGeneration | EnsembleGeneration:
    """The strategy `bytes`.

    Args:
        target, beam: as for `ByteLM`.
        suffix: text after the gap, for a model that fills in; then the prompt is what stands before it.
        order: of prefix and suffix, "spm" or "psm".
        partner: another model (folder or hub name), of any tokenizer, to write together with.
        weight: the partner's share in an ensemble.
        combine: "mean" or "product" of the members' laws.
    """
    if partner:
        return EnsembleGeneration(partner, target=target, beam=beam, weight=weight, combine=combine)
    return HealedGeneration(target=target, beam=beam, suffix=suffix, order=order)
