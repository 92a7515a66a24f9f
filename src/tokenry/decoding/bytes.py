"""A token model as an exact model over bytes: P(next byte | bytes so far), with no training.

Tokens are an accident of the tokenizer: a prompt that ends inside a token asks the model for something it never saw.
Summing over every way to cover the prompt with tokens gives the probability that the model truly means. Three targets:

- "canonical": only token sequences the tokenizer itself writes; the model's law is renormalised over them at every
  step. A proper process over bytes; the default.
- "restricted": the same sequences with the model's own probabilities, as in the paper; only the next-byte law is
  normalised. What the model puts on other sequences is lost, so probabilities do not add up over longer texts.
- "all": every token sequence that spells the bytes, which is what sampling tokens and reading bytes gives. Their
  number grows with the text: a beam keeps the heaviest (no beam is exact, for short texts).

Papers: Exact Byte-Level Probabilities from Tokenized Language Models for FIM-Tasks and Model Ensembles (arXiv
2410.09303), sections 3 and 4; From Language Models over Tokens to Language Models over Characters (arXiv 2412.03719),
the beam of "all".
"""

# Axes: S sorted tokens, V ids.

from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from tokenry.decoding.bytes_contexts import Context, ContextRunner
from tokenry.decoding.bytes_state import ByteState, Candidate
from tokenry.decoding.bytes_tokens import END, SortedTokens
from tokenry.decoding.bytes_viability import Viability, check_family
from tokenry.decoding.sampling import check_numbers
from tokenry.models.generation import end_ids
from tokenry.models.lm import LM

TARGETS = ("canonical", "restricted", "all")
DEFAULT_BEAM = 16
AHEAD = 96
"""Bytes of a known text whose contexts are run together."""


class ByteLM:
    """The byte model of a token model.

    Args:
        lm: the model and its tokenizer.
        target: "canonical", "restricted" or "all".
        beam: most candidates kept at a time; None keeps all, except for "all", where it is DEFAULT_BEAM. 0 keeps all.
        prune: a candidate below this share of the probability is dropped, before the model is asked about it.

    Raises:
        ValueError: an unknown target, a negative beam, a tokenizer whose encoding cannot be turned back.
    """

    runner = ContextRunner
    """What asks the model; a subclass may put another in its place."""

    def __init__(self, lm: LM, *, target: str = "canonical", beam: int | None = None, prune: float = 0.0) -> None:
        if target not in TARGETS:
            raise ValueError(f"target={target!r}; need one of {', '.join(TARGETS)}.")
        if (beam is not None and beam < 0) or not 0 <= prune < 1:
            raise ValueError(f"beam={beam}, prune={prune}; need beam >= 0 (0 keeps all) and 0 <= prune < 1.")
        check_family(lm.vocab)
        self.lm, self.target, self.prune = lm, target, prune
        self.beam = (DEFAULT_BEAM if target == "all" else 0) if beam is None else beam
        self.sorted = SortedTokens(lm.vocab)
        self.ends = [end for end in end_ids(lm) if end < lm.vocab.size]
        self.viability = None if target == "all" else Viability(lm.vocab)
        self._ends_S = np.isin(self.sorted.ids_S, self.ends)
        self._place_of = {int(token): place for place, token in enumerate(self.sorted.ids_S)}

    def start(self, before: Sequence[int] | None = None, *, spaced: bool | None = None) -> ByteState:
        """The state before the first byte.

        Args:
            before: ids the model has seen already, all of what they spell cut off from what follows; None is the
                start token.
            spaced: whether the text begins with the space that a SentencePiece tokenizer puts in front of it, which
                is part of the context and not of the bytes; None where `before` is None.
        """
        runner = self.runner(self.lm, [self.lm.start] if before is None else list(before), self._set_laws)
        state = ByteState(self, runner, (Candidate(runner.root, self.sorted.root, 0.0),))
        if self.lm.adds_space and (before is None if spaced is None else spaced):
            state = state.advance(b" ")
            state = ByteState(self, runner, state.candidates, offset=state.log_p)
        return state

    def after(
        self,
        text: str | bytes,
        *,
        before: Sequence[int] | None = None,
        spaced: bool | None = None,
        window: int | None = None,
    ) -> ByteState:
        """The state after a prompt, in a few forward passes.

        Every cover passes through the last certain cut of the prompt (a space between two words, which no token
        crosses): up to there the prompt is encoded once and run as tokens; its `log_p` counts from there.

        Args:
            text: the prompt; text is normalised as the tokenizer does, bytes are taken as they are.
            before, spaced: as for `start`.
            window: for target "all", how many last bytes are covered in all ways after canonical tokens; None for all
                of them, which is slow for a long prompt.

        Raises:
            ValueError: bytes that the target cannot spell, or more than the context holds.
        """
        data = self.bytes_of(text)
        spaced = self.lm.adds_space and (before is None if spaced is None else spaced)
        whole = (self.target == "all" and window is None) or spaced != self.lm.adds_space
        ids, place = ([], 0) if whole else self._certain(data, window or 1)
        if not ids:
            return self.start(before, spaced=spaced).advance(data)
        head = [self.lm.start] if before is None else list(before)
        room = self.lm.context - len(head) - len(data[place:]) - 1
        if len(ids) > room:
            raise ValueError(
                f"a prompt of {len(ids)} tokens and {len(data) - place} bytes; the model holds {self.lm.context}. "
                "Keep its end, or take a model with a longer context."
            )
        return self.start([*head, *ids], spaced=False).advance(data[place:])

    def bytes_of(self, text: str | bytes) -> bytes:
        """Bytes of a text as the tokenizer sees it: normalised, without the space it would add."""
        if isinstance(text, bytes):
            return text
        normalizer = self.lm.vocab.backend.normalizer
        if self.lm.vocab.family == "metaspace" or normalizer is None or not text:
            return text.encode("utf-8", "surrogatepass")
        return normalizer.normalize_str(text).encode("utf-8", "surrogatepass")

    def log_prob(self, text: str | bytes, *, end: bool = False) -> float:
        """Natural log-probability that a text starts with these bytes, or, with `end`, is just them."""
        data = self.bytes_of(text)
        state = self.start()
        if self.target != "all":
            state, data = self._along(state, data)
            state = state.advance(data)
        else:
            for state in self.states(data):  # noqa: B007
                pass
        return state.log_p + (float(state.masses[END]) if end else 0.0)

    def states(self, text: str | bytes, state: ByteState | None = None) -> Iterator[ByteState]:
        """The state before each byte of a known text, and the last one; the model runs over many bytes at once.

        Args:
            text: what is read.
            state: where to begin; None is the start.
        """
        data = self.bytes_of(text)
        state = self.start() if state is None else state
        for begin in range(0, len(data), AHEAD):
            part = data[begin : begin + AHEAD]
            kept = self._look_ahead(state, part)
            for byte in part:
                yield state
                state = state.advance(bytes((byte,)))
            del kept
        yield state

    def _certain(self, data: bytes, window: int) -> tuple[list[int], int]:
        """Ids up to the last certain cut at least `window` bytes before the end, and its place."""
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError as error:
            text = data[: error.start].decode("utf-8")
        known = text.encode()
        place = known.rfind(b" ", 1, max(1, min(len(known), len(data) - window) - 1))
        while place > 0:
            apart = not known[place - 1 : place].isspace() and not known[place + 1 : place + 2].isspace()
            if apart and known[place - 1 : place + 1] not in self._crossed:
                head = known[:place].decode("utf-8")
                ids, whole = (self.lm.vocab.encode([part])[0].tolist() for part in (head, text))
                spelt = self.lm.vocab.decode_bytes(ids)
                if whole[: len(ids)] == ids and spelt[self.lm.adds_space :] == known[:place]:
                    return ids, place
            place = known.rfind(b" ", 1, place)
        return [], 0

    @cached_property
    def _crossed(self) -> set[bytes]:
        """Pairs of a byte and a space inside some token: no certain cut there."""
        pairs = set()
        for string in self.sorted.strings:
            if b" " in string[1:]:
                pairs |= {string[i - 1 : i + 1] for i in range(1, len(string)) if string[i] == 32}
        return pairs

    def _along(self, state: ByteState, data: bytes) -> tuple[ByteState, bytes]:
        """The state at the last certain cut of a text, its tokens run in one pass, and the bytes after it."""
        ids, place = self._certain(data, 1)
        if not ids:
            return state, data
        context, contexts = state.runner.root, []
        for token in ids:
            contexts.append(context)
            context = self._child(context, token)
        state.runner.run(contexts)
        log_p = 0.0
        for context, token in zip(contexts, ids, strict=True):
            with np.errstate(divide="ignore"):
                log_p += float(np.log(context.law_S[self._place_of[token]])) if token in self._place_of else -np.inf
        last = self._child(contexts[-1], ids[-1])
        last.log_p = log_p
        candidate = Candidate(last, self.sorted.root, log_p)
        return ByteState(self, state.runner, (candidate,), offset=state.offset), data[place:]

    def _child(self, context: Context, token: int) -> Context:
        found = context.children.get(token)
        if found is None:
            tail = () if self.viability is None else self.viability.step(context.tail, token)
            found = context.children[token] = Context(context, token, -np.inf, tail)
        return found

    def _look_ahead(self, state: ByteState, data: bytes) -> list[Context]:
        """Run every context that a known text will need. Which ones does not depend on the model's numbers."""
        if self.viability is None:
            return self._look_along(state, data)
        found: dict[int, Context] = {}
        live = [(candidate.context, candidate.node) for candidate in state.candidates]
        for byte in data:
            for context, node in list(live):
                for place in self.sorted.whole(node) if node.depth else ():
                    token = int(self.sorted.ids_S[place])
                    if self.viability.mask(context.tail)[0][token]:
                        child = self._child(context, token)
                        found[id(child)] = child
                        live.append((child, self.sorted.root))
            below = ((context, self.sorted.below(node, byte)) for context, node in live)
            live = [(context, node) for context, node in below if node is not None]
        contexts = [*(candidate.context for candidate in state.candidates), *found.values()]
        state.runner.run(contexts)
        return contexts

    def _look_along(self, state: ByteState, data: bytes) -> list[Context]:
        """Run contexts that a beam will most likely need: the tokenizer's own way, one step aside, and back on it.

        What it needs beside them is asked when it comes.
        """
        if not state.candidates:
            return []
        context, node, _ = max(state.candidates, key=lambda candidate: candidate.log_weight)
        begun = self.sorted.strings[node.low][: node.depth]
        data, place, trie = begun + data, 0, self.lm.vocab.trie
        contexts = [context]
        for token in self.lm.vocab.decompose(data):
            for other, length in trie.covers(data, place):
                aside = self._child(context, other)
                contexts.append(aside)
                back = trie.longest_match(data, place + length)[0]
                if other != token and back >= 0:
                    contexts.append(self._child(aside, back))
            context = self._child(context, token)
            contexts.append(context)
            place += len(self.lm.vocab.tokens[token])
        state.runner.run(contexts)
        return contexts

    def _set_laws(self, contexts: Sequence[Context], logits_NV: Tensor) -> None:
        """What the target makes of the model's laws after contexts."""
        law_NV = torch.softmax(check_numbers(logits_NV[:, : self.lm.vocab.size]).double(), -1).cpu().numpy()
        law_NS, end_N = law_NV[:, self.sorted.ids_S], law_NV[:, self.ends].sum(-1)
        law_NS[:, self._ends_S] = 0.0
        if self.viability is not None:
            masks = [self.viability.mask(context.tail) for context in contexts]
            law_NS *= np.stack([mask_V for mask_V, _ in masks])[:, self.sorted.ids_S]
            end_N *= [ends for _, ends in masks]
        kept_N = law_NS.sum(-1) + end_N
        if self.target != "restricted":
            divisor_N = np.where(kept_N > 0, kept_N, 1.0)
            law_NS /= divisor_N[:, None]
            end_N /= divisor_N
        for context, law_S, end, kept in zip(contexts, law_NS, end_N.tolist(), kept_N.tolist(), strict=True):
            context.law_S, context.end, context.leaked = law_S, end, max(0.0, 1.0 - kept)
