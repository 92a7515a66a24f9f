"""A causal model that runs here as a rater: it answers under the grammar of the rubric, so every answer can be read.

At every place of the answer only the tokens that may stand there are compared. The question is read once and its
states are shared by all documents; a document is spelt without special tokens, between marks that do not occur in it,
so none can end the question early.

Paper: DataMan: Data Manager for Pre-training Large Language Models (arXiv 2502.19363), section 3 (preparation) and its
released code; decoding under a grammar and expected scores are ours.
"""

import copy
import functools
import inspect
from collections.abc import Callable, Sequence

import numpy as np

from tokenry.core.hashing import fingerprint
from tokenry.corpora.chat import said
from tokenry.corpora.raters import VERSION, Rated, read_record
from tokenry.corpora.rubrics import Rubric, marks, prepare, rubric, rubric_of

# Axes: D documents, B documents of a batch, T positions, V ids, K values of one place.

__all__ = ["ASKING", "LocalRater", "fit_document"]

ASKING = ("full", "bare")
"""How a model is asked: with the whole rubric, or with the document alone (one that was trained on it)."""
ELLIPSIS = "..."
BATCH_TOKENS = 8192
_LEAST_ROOM = 8


class LocalRater:
    """A causal model that answers under the grammar of the rubric.

    Args:
        source: folder, hub name, pair or LM. A folder that `raters_training.train_rater` wrote brings its rubric and
            its way of being asked; any other is asked in full, through its chat template where it has one.
        scheme: the rubric; None takes the one in the folder, else "dataman".
        asking: one of `ASKING`; None takes what the folder says, else "full".
        device: where it runs.
        batch_tokens: positions of one padded batch.

    Attributes:
        lm: the model.
        steps: the grammar as tokens.
        room: tokens a document may have.

    Raises:
        ValueError: the question leaves no room for a document; the vocabulary cannot spell an answer by fixed places;
            another rubric than the one it was trained on.
    """

    def __init__(
        self,
        source: object,
        scheme: Rubric | None = None,
        *,
        asking: str | None = None,
        device: str | None = None,
        batch_tokens: int = BATCH_TOKENS,
    ) -> None:
        from tokenry.corpora.chat_local import model_revision
        from tokenry.models.lm import LM

        told = read_record(source)
        own = rubric_of(told["rubric"]) if told else None
        if own and scheme and own.hash != scheme.hash:
            raise ValueError(f"{source} was trained on another rubric ({own.name!r}). Leave --rubric out.")
        self.lm = LM.open(source, device=device)
        self.rubric = own or scheme or rubric("dataman")
        self.asking = asking or (told or {}).get("asking", "full")
        self.name, self.batch_tokens = self.lm.name, batch_tokens
        self.revision = fingerprint("local", VERSION, model_revision(source, self.lm), self.asking)
        self.steps = self.rubric.answer_grammar(self.lm.vocab)
        self.before, self.after = self._question()
        self._n_marks = 0 if self.asking == "bare" else sum(len(self._plain(mark)) for mark in marks(""))
        n_fixed = len(self.before) + self._n_marks + len(self.after) + len(self.steps)
        self.room = min(self.rubric.tokens, self.lm.context - n_fixed)
        if self.room < _LEAST_ROOM:
            raise ValueError(
                f"{self.name} sees {self.lm.context} tokens, and the question of the rubric {self.rubric.name!r} takes "
                f"{n_fixed}: no room for a document. Take a shorter rubric (quality), or a model with a longer context."
            )

    def rate(self, texts: Sequence[str]) -> Rated:
        """As `raters.Rater.rate`."""
        made = Rated.none(len(texts), len(self.rubric.criteria))
        documents = []
        for row, text in enumerate(texts):
            ids, made.truncated_D[row] = self.document(text)
            documents.append(ids)
        order = sorted(range(len(texts)), key=lambda row: (-len(documents[row]), row))
        while order:
            longest = len(self.before) + len(documents[order[0]]) + len(self.after) + len(self.steps)
            size = max(1, self.batch_tokens // longest)
            rows, order = order[:size], order[size:]
            self._fill(made, rows, self.probabilities([documents[row] for row in rows]))
        return made

    def document(self, text: str) -> tuple[list[int], bool]:
        """Ids of a text between its marks as the model sees it, and whether its middle was taken out."""
        text, was_cut = prepare(text, self.rubric.characters)
        begin, end = ([], []) if self.asking == "bare" else (self._plain(mark) for mark in marks(text))
        room = self.room - max(0, len(begin) + len(end) - self._n_marks)
        ids, cut_again = fit_document(self._plain(text), room, self._plain(ELLIPSIS))
        return [*begin, *ids, *end], was_cut or cut_again

    def prompt(self, document: list[int]) -> list[int]:
        """Ids of the whole question about a document (with its marks)."""
        return [*self.before, *document, *self.after]

    def probabilities(self, documents: Sequence[list[int]]) -> list[np.ndarray]:
        """For each choice of the answer the probabilities (B, K) of its values, given the likeliest ones before it."""
        import torch

        device, n, found = self.lm.device, len(documents), []
        tails = [[*document, *self.after] for document in documents]
        longest = max(map(len, tails))
        ids_BT = torch.tensor([[0] * (longest - len(tail)) + tail for tail in tails], device=device)
        seen_BT = torch.tensor([[0] * (longest - len(tail)) + [1] * len(tail) for tail in tails], device=device)
        with torch.inference_mode():
            cache = self._opened(n)
            held = 0 if cache is None else len(self.before)
            if cache is None and self.before:
                before_BT = torch.tensor([self.before] * n, device=device)
                ids_BT = torch.cat([before_BT, ids_BT], dim=1)
            seen_BT = torch.cat([seen_BT.new_ones((n, len(self.before))), seen_BT], dim=1)
            assert seen_BT.shape[1] == held + ids_BT.shape[1]
            for step in self.steps:
                if step.values:
                    allowed_K = torch.tensor(step.tokens, device=device)
                    logits_BV, cache = self._forward(ids_BT, seen_BT, cache)
                    shares_BK = logits_BV[:, allowed_K].double().softmax(dim=-1)
                    found.append(shares_BK.cpu().numpy())
                    ids_BT = allowed_K[shares_BK.argmax(dim=-1)][:, None]
                else:  # what is fixed is fed together with what stands before it
                    ids_BT = torch.cat([ids_BT, ids_BT.new_full((n, 1), step.tokens[0])], dim=1)
                seen_BT = torch.cat([seen_BT, seen_BT.new_ones((n, 1))], dim=1)
        return found

    def _forward(self, ids_BT: object, seen_BT: object, cache: object) -> tuple[object, object]:
        """Logits (B, V) at the last position, and the states of all."""
        width = ids_BT.shape[1]
        more = {"position_ids": (seen_BT.cumsum(dim=1) - 1).clamp(min=0)[:, -width:], "logits_to_keep": 1}
        more = {name: value for name, value in more.items() if name in self._takes}
        states = "cache" if "cache" in self._takes else "past_key_values"  # the older name
        out = self.lm.model(input_ids=ids_BT, attention_mask=seen_BT, use_cache=True, **{states: cache}, **more)
        return out.logits[:, -1, :], getattr(out, states)

    def _opened(self, n: int) -> object:
        """The states after the question's beginning, for `n` documents; None where they cannot be shared."""
        import torch

        if not self.before:
            return None
        if self._shared is None:
            ids_1T = torch.tensor([self.before], device=self.lm.device)
            _, cache = self._forward(ids_1T, torch.ones_like(ids_1T), None)
            self._shared = (cache if hasattr(cache, "batch_repeat_interleave") else None,)
        if self._shared[0] is None:
            return None
        cache = copy.deepcopy(self._shared[0])
        cache.batch_repeat_interleave(n)
        return cache

    _shared: tuple | None = None

    @functools.cached_property
    def _takes(self) -> frozenset[str]:
        return frozenset(inspect.signature(self.lm.model.forward).parameters)

    @functools.cached_property
    def _plain(self) -> Callable[[str], list[int]]:
        from tokenry.corpora.chat_local import plain_encoder

        return plain_encoder(self.lm)

    def _fill(self, made: Rated, rows: list[int], found: list[np.ndarray]) -> None:
        if self.rubric.domains:
            names = list(self.rubric.domains.values())
            for row, choice in zip(rows, found[0].argmax(axis=1), strict=True):
                made.domains[row] = names[choice]
            found = found[1:]
        low, high = self.rubric.scale
        levels_K = np.arange(low, high + 1)
        for criterion, shares_BK in enumerate(found):
            made.scores_DC[rows, criterion] = low + shares_BK.argmax(axis=1)
            made.expected_DC[rows, criterion] = np.clip(shares_BK @ levels_K, low, high)

    def _question(self) -> tuple[list[int], list[int]]:
        """Ids before the document and after it. Special tokens of the template are meant here."""
        from tokenry.corpora.chat_local import templated

        if self.asking not in ASKING:
            raise ValueError(f"asking={self.asking!r}; need one of {', '.join(ASKING)}.")
        lm, opening = self.lm, [] if self.lm.bos is None else [self.lm.bos]
        before, after = ("", "\n") if self.asking == "bare" else self.rubric.question()
        if self.asking == "full" and getattr(lm.tokenizer, "chat_template", None):
            place = "\ue000document\ue001"  # of the private use area: no template holds it
            whole = templated(lm, [said(f"{before}{place}{after}")])
            if whole.count(place) != 1:
                raise ValueError(f"{self.name}: its chat template repeats or drops a message, so it cannot rate.")
            before, after = whole.split(place)
            opening = []
        elif self.asking == "full":
            after += "\nAnswer:\n"
        left, right = ([] if not part else lm.vocab.encode([part])[0].tolist() for part in (before, after))
        return [*opening, *left], right


def fit_document(ids: Sequence[int], room: int, dots: Sequence[int]) -> tuple[list[int], bool]:
    """At most `room` ids of a document: its head, dots, its tail.

    Returns:
        The ids, and whether the middle was taken out.
    """
    if len(ids) <= room:
        return list(ids), False
    kept = room - len(dots)
    if kept < 2:
        return list(ids[:room]), True
    head = (kept + 1) // 2
    return [*ids[:head], *dots, *ids[len(ids) - (kept - head) :]], True
