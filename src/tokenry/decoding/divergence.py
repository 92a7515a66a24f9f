"""Which tokens of a small model spoil a text: path-following labels, identical, neutral or divergent.

Along a text of the large model, each token where the small one would write another is tried out: the large model goes
on from both tokens to the end of the sentence, and a verifier says whether the two mean the same. All tries of a text
grow as one token tree, a layer a forward pass, over one cached prompt.

Paper: R2R (arXiv 2505.21600), section 3 (path-following routing).
"""

# Axes: N tokens of a response, D width of the small model, K largest logits, V vocabulary.

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from tokenry.core.vocab import Vocab
from tokenry.decoding.routers import N_LOGITS, RoutingStep, entropy_nats, top_logits
from tokenry.decoding.trees import TokenTree
from tokenry.decoding.verifiers import UNCLEAR, Fork, Verifier
from tokenry.models.generation import end_ids
from tokenry.models.lm import LM
from tokenry.models.session import Session

IDENTICAL, NEUTRAL, DIVERGENT, DROPPED = "identical", "neutral", "divergent", "dropped"
KINDS = (IDENTICAL, NEUTRAL, DIVERGENT, DROPPED)
"""The number of a kind in `Labels.kinds`."""
SENTENCE_MARKS, CLOSING = ".!?。！？…\n", "\"')]}»”’」』）"
LONGEST_END = 5
BRANCHES_AT_ONCE = 64


@dataclass(frozen=True)
class Labels:
    """One labelled text.

    Attributes:
        response: ids (N,) that the labels stand along.
        small, large: the likeliest token of each model at each place, ids (N,).
        kinds: int8 (N,), index into KINDS.
        hidden_ND, top_NK: the small model's last hidden state and largest logits where it proposed, float32: of the
            position BEFORE the token, so that nothing of the token itself leaks into them.
        entropy: of the small model's law there, nats (N,).
        forks: place -> the two continuations, for every mismatch.
        n_forwards: forward passes of the large model for this text.
    """

    response: np.ndarray
    small: np.ndarray
    large: np.ndarray
    kinds: np.ndarray
    hidden_ND: np.ndarray
    top_NK: np.ndarray
    entropy: np.ndarray
    forks: dict[int, Fork] = field(repr=False)
    n_forwards: int


def sentence_ends(vocab: Vocab) -> frozenset[int]:
    """Ids that end a sentence: at most 5 characters, closing with a mark (brackets and quotes aside), no colon."""
    found = []
    for number, token in enumerate(vocab.tokens):
        text = token.decode("utf-8", "ignore") if token else ""
        bare = text.rstrip(" ").rstrip(CLOSING)
        if 0 < len(text) <= LONGEST_END and bare and bare[-1] in SENTENCE_MARKS and ":" not in text:
            found.append(number)
    return frozenset(found)


@torch.inference_mode()
def label_text(
    small: LM,
    large: LM,
    prompt: Sequence[int],
    *,
    response: Sequence[int],
    verifier: Verifier,
    sentences: int = 1,
    max_new_tokens: int = 256,
    ends: frozenset[int] | None = None,
    n_logits: int = N_LOGITS,
) -> Labels:
    """Label every token of a response.

    Args:
        small, large: the pair.
        prompt: ids; not labelled.
        response: ids of a text to follow, the large model's own (its greedy text costs least: its continuation is the
            text itself).
        verifier: judges the mismatches.
        sentences: how many sentence ends a continuation runs to, an end in the differing token counted; 0 runs to the
            end of the text.
        max_new_tokens: bound of a continuation after the differing token; one that reaches it is marked `is_cut`.
        ends: ids that end a sentence; None finds them in the vocabulary.
        n_logits: K.

    Raises:
        ValueError: an empty prompt or response, text beyond the context.
    """
    prompt, response = list(map(int, prompt)), list(map(int, response))
    if not prompt or not response:
        raise ValueError("a label needs a prompt and a response of at least one token each. Leave empty texts out.")
    hidden_ND, logits_NV = small_states(small, prompt, response)
    stops = frozenset(end_ids(large))
    marks = sentence_ends(large.vocab) if ends is None else ends
    walk = _Walk(large, prompt, response, marks, stops, max(0, sentences), max_new_tokens)
    ours_N, theirs_N = logits_NV.argmax(-1).tolist(), walk.trunk()
    places = [at for at in range(len(response)) if ours_N[at] != theirs_N[at]]
    forks = walk.forks(places, ours_N, theirs_N)
    kinds = np.zeros(len(response), dtype=np.int8)
    verdicts = list(verifier([forks[at] for at in places])) if places else []
    if len(verdicts) != len(places):
        raise ValueError(f"the verifier gave {len(verdicts)} labels for {len(places)} forks; need one each.")
    for at, verdict in zip(places, verdicts, strict=True):
        kinds[at] = _kind(verdict)
    return Labels(
        response=np.array(response),
        small=np.array(ours_N),
        large=np.array(theirs_N),
        kinds=kinds,
        hidden_ND=hidden_ND.float().cpu().numpy(),
        top_NK=top_logits(logits_NV, n_logits).cpu().numpy(),
        entropy=entropy_nats(logits_NV).cpu().numpy(),
        forks=forks,
        n_forwards=walk.session.n_forwards,
    )


def small_states(small: LM, prompt: list[int], response: list[int]) -> tuple[Tensor, Tensor]:
    """Hidden states (N, D) and logits (N, V) of the small model where it proposes each token of the response."""
    session = Session.open(small, hidden_states=True)
    logits_TV = session.extend([*prompt, *response[:-1]], keep="all")
    start = len(prompt) - 1
    return session.hidden[-1][0, start:], logits_TV[start:, : small.vocab.size]


def _kind(verdict: int) -> int:
    names = {0: NEUTRAL, 1: DIVERGENT, UNCLEAR: DROPPED}
    if int(verdict) not in names:
        raise ValueError(f"verdict {verdict!r}; need 0 (neutral), 1 (divergent) or -1 (cannot tell).")
    return KINDS.index(names[int(verdict)])


class _Branch:
    """A continuation from one place: its tokens, the first of them the differing one, and its newest node."""

    def __init__(self, parent: int, token: int) -> None:
        self.parent, self.tokens, self.node = parent, [token], -1
        self.is_cut = False


class _Walk:
    """The large model along one text: its own picks at every place, and the continuations from others."""

    def __init__(
        self,
        large: LM,
        prompt: list[int],
        response: list[int],
        marks: frozenset[int],
        stops: frozenset[int],
        sentences: int,
        bound: int,
    ) -> None:
        self.lm, self.prompt, self.response = large, prompt, response
        self.marks, self.stops, self.sentences, self.bound = marks, stops, sentences, bound
        self.session = Session.open(large)
        if len(prompt) > 1:
            self.session.extend(prompt[:-1])
        self.trunk_tokens = [prompt[-1], *response[:-1]]
        self.picks: list[int] = []
        self.trunk_is_verified = False

    def trunk(self) -> list[int]:
        """The large model's pick at every place of the response."""
        n_nodes = len(self.trunk_tokens)
        tree = TokenTree(self.trunk_tokens, list(range(-1, n_nodes - 1)))
        self.picks = self._picks(self.session.verify(tree))
        self.trunk_is_verified = True
        return self.picks

    def forks(self, places: list[int], ours: list[int], theirs: list[int]) -> dict[int, Fork]:
        """Both continuations at each place."""
        small = {at: _Branch(at, ours[at]) for at in places}
        large = {at: _Branch(at, theirs[at]) for at in places if not self._follows(at)}
        branches = [*small.values(), *large.values()]
        for first in range(0, len(branches), BRANCHES_AT_ONCE):
            self._grow(branches[first : first + BRANCHES_AT_ONCE])
        return {at: self._fork(at, small[at], large.get(at)) for at in places}

    def _follows(self, place: int) -> bool:
        """Whether the response from here on is what the large model writes, up to where a continuation would stop."""
        stop = self._stop(self.response[place : place + self.bound + 1])
        within = stop is not None or place + self.bound < len(self.response)
        stop = min(self.bound + 1, len(self.response) - place) if stop is None else stop
        return within and self.picks[place : place + stop] == self.response[place : place + stop]

    def _stop(self, tokens: list[int]) -> int | None:
        """How many of the tokens a continuation takes until it ends; None when it does not end among them."""
        n_ends = 0
        for count, token in enumerate(tokens, start=1):
            n_ends += token in self.marks
            if token in self.stops or (self.sentences and n_ends >= self.sentences):
                return count
        return None

    def _grow(self, branches: list[_Branch]) -> None:
        """Continue branches greedily, all by one token a forward pass, as nodes of a tree whose trunk is the text."""
        tokens, parents = list(self.trunk_tokens), list(range(-1, len(self.trunk_tokens) - 1))
        known = len(tokens) if self.trunk_is_verified else 0
        running = [branch for branch in branches if not self._is_done(branch)]
        while running:
            for branch in running:
                parents.append(branch.parent if branch.node < 0 else branch.node)
                branch.node = len(tokens)
                tokens.append(branch.tokens[-1])
            picks = self._picks(self.session.verify(TokenTree(tokens, parents), known=known))
            self.trunk_is_verified = False  # from now on there are branches behind it
            for branch in running:
                branch.tokens.append(picks[branch.node - known])
            known = len(tokens)
            running = [branch for branch in running if not self._is_done(branch)]

    def _is_done(self, branch: _Branch) -> bool:
        if self._stop(branch.tokens) is not None:
            return True
        n_text = len(self.prompt) + branch.parent + len(branch.tokens)
        branch.is_cut = len(branch.tokens) > self.bound or n_text >= self.lm.context
        return branch.is_cut

    def _fork(self, place: int, small: _Branch, large: _Branch | None) -> Fork:
        if large is None:
            rest = self.response[place : place + self.bound + 1]
            stop = self._stop(rest)
            tokens, is_cut = rest[:stop], stop is None
        else:
            tokens, is_cut = large.tokens, large.is_cut
        start = place
        while start and self.sentences and self.response[start - 1] not in self.marks:
            start -= 1
        start = 0 if not self.sentences else start
        prefix = self.response[start:place]
        before = _spelt(self.lm, [*self.prompt, *self.response[:start]])
        ours, ours_rest = self._parts(prefix, small.tokens)
        theirs, theirs_rest = self._parts(prefix, tokens)
        is_cut = is_cut or small.is_cut
        return Fork(before, _spelt(self.lm, prefix), ours, theirs, ours_rest, theirs_rest, is_cut)

    def _parts(self, prefix: list[int], tokens: list[int]) -> tuple[str, str]:
        """The first token, and the others, as they read behind the prefix."""
        texts = [_spelt(self.lm, [*prefix, *tokens[:n]]) for n in (0, 1, len(tokens))]
        return texts[1][len(texts[0]) :], texts[2][len(texts[1]) :]

    def _picks(self, logits_NV: Tensor) -> list[int]:
        return logits_NV[:, : self.lm.vocab.size].argmax(-1).tolist()


def _spelt(lm: LM, ids: Sequence[int]) -> str:
    """Text with special tokens shown: an end of text written too early is a difference to be seen."""
    return lm.tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)


@dataclass
class PathRouter:
    """Routes by the true label, found on the spot: what a perfect router would reach, at a price nobody would pay.

    Attributes:
        large: the large model.
        verifier, sentences, max_new_tokens: as for `label_text`.
        kinds: how many proposals it found of each kind.
    """

    large: LM
    verifier: Verifier
    sentences: int = 1
    max_new_tokens: int = 64
    threshold: float = 0.5
    kinds: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))

    def __call__(self, step: RoutingStep) -> Tensor:
        """1 where the small model's token is divergent, else 0 (B,)."""
        theirs_B = step.large()[..., : step.logits_BV.shape[-1]].argmax(-1)
        scores = []
        for context, ours, theirs in zip(step.contexts, step.tokens_B.tolist(), theirs_B.tolist(), strict=True):
            kind = IDENTICAL if ours == theirs else self._kind(context, ours, theirs)
            self.kinds[kind] += 1
            scores.append(float(kind == DIVERGENT))
        return torch.tensor(scores, dtype=torch.float64)

    def _kind(self, context: list[int], ours: int, theirs: int) -> str:
        stops = frozenset(end_ids(self.large))
        marks = sentence_ends(self.large.vocab)
        walk = _Walk(self.large, context, [theirs], marks, stops, self.sentences, self.max_new_tokens)
        walk.trunk()
        return KINDS[_kind(self.verifier([walk.forks([0], [ours], [theirs])[0]])[0])]
