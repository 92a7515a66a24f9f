"""The library's own decoders as strategies, to stand beside ours in a benchmark: greedy, prompt lookup, assisted.

They call `model.generate`; what is counted are the forward passes of the models. Their first pass over the prompt may
verify guesses already, which ours does not: per pass they may gain a token on short answers.

Papers: speculative decoding (arXiv 2211.17192); prompt lookup decoding (Saxena 2023).
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

from tokenry.decoding.sampling import Settings
from tokenry.decoding.speculate import Statistics
from tokenry.decoding.strategies import Continuation, Prompt, ids_of, text_of
from tokenry.models.generation import library_config
from tokenry.models.lm import LM
from tokenry.models.opening import quiet_library


@dataclass
class LibraryDecoder:
    """`model.generate` with some of its own options.

    Attributes:
        name: for reports.
        options: fields of its GenerationConfig.
        draft: the smaller model of assisted decoding: what `LM.open` takes, opened at the first prompt.
    """

    name: str
    options: dict[str, object] = field(default_factory=dict)
    draft: object = None

    def __call__(self, lm: LM, prompt: Prompt, settings: Settings) -> Continuation:
        """Continue one prompt."""
        ids = ids_of(lm, prompt)
        with counted_calls(lm.model) as target, counted_calls(self._opened(lm)) as draft:
            started = time.perf_counter()
            new = self._generate(lm, ids, settings)
            seconds = time.perf_counter() - started
        ended = "end" if new and new[-1] in settings.ends else "length"
        ended = "stop" if ended == "length" and len(new) < settings.max_new_tokens else ended
        stats = Statistics(
            n_prompt=len(ids), n_new=len(new), n_forwards=target[0], n_steps=target[0] - 1, seconds=seconds,
            n_accepted=max(0, len(new) - target[0]), verify_seconds=seconds, ended_by=ended,
        )  # fmt: skip
        return Continuation(ids, new, text_of(lm, [*ids, *new]), stats, {"draft forwards": draft[0]})

    def _generate(self, lm: LM, ids: list[int], settings: Settings) -> list[int]:
        from transformers import LogitsProcessorList

        config = library_config(lm, max_new_tokens=settings.max_new_tokens, temperature=settings.temperature)
        config.eos_token_id = list(settings.ends) or None
        wanted = dict(self.options) if settings.is_greedy else {
            "top_k": settings.top_k, "top_p": settings.top_p, **self.options
        }  # fmt: skip
        for name, value in wanted.items():
            setattr(config, name, value)
        extra: dict[str, object] = {}
        if self.draft is not None:
            extra["assistant_model"] = self.draft.model
        if settings.processors is not None:
            extra["logits_processor"] = LogitsProcessorList([settings.processors])
        if settings.stop is not None:
            extra["stopping_criteria"] = [_Stop(settings.stop, len(ids))]
        ids_1T = torch.tensor([ids], device=lm.device)
        devices = [lm.device] if lm.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices), quiet_library(), torch.inference_mode():
            torch.manual_seed(settings.seed)
            mask_1T = torch.ones_like(ids_1T)
            full_1T = lm.model.generate(ids_1T, attention_mask=mask_1T, generation_config=config, **extra)
        return full_1T[0, len(ids) :].tolist()

    def _opened(self, lm: LM) -> torch.nn.Module | None:
        if self.draft is None:
            return None
        self.draft = LM.open(self.draft, device=None if isinstance(self.draft, LM) else str(lm.device))
        if self.draft.vocab.size != lm.vocab.size:
            raise ValueError(
                f"a draft of {self.draft.vocab.size} tokens for a model of {lm.vocab.size}; need the same vocabulary. "
                "Move one onto the other's: tokenry transplant."
            )
        return self.draft.model


class _Stop:
    """`Settings.stop` as the library asks it."""

    def __init__(self, stop: object, n_prompt: int) -> None:
        self.stop, self.n_prompt = stop, n_prompt

    def __call__(self, ids_BT: torch.Tensor, scores: object, **_: object) -> torch.Tensor:
        done = [bool(self.stop(row[self.n_prompt :].tolist())) for row in ids_BT]
        return torch.tensor(done, device=ids_BT.device)


@contextmanager
def counted_calls(model: torch.nn.Module | None) -> Iterator[list[int]]:
    """Forward passes of a model while inside, as the one entry of a list; none without a model."""
    found = [0]

    def count(*_: object) -> None:
        found[0] += 1

    handle = model.register_forward_pre_hook(count) if model is not None else None
    try:
        yield found
    finally:
        if handle is not None:
            handle.remove()


def greedy() -> LibraryDecoder:
    """The strategy "transformers:greedy": `model.generate` as it comes (draws at a temperature above 0)."""
    return LibraryDecoder("transformers:greedy")


def prompt_lookup(*, n_guesses: int = 10, longest: int = 2) -> LibraryDecoder:
    """The strategy "transformers:prompt-lookup".

    Args:
        n_guesses: tokens guessed (`prompt_lookup_num_tokens`).
        longest: most tokens compared (`max_matching_ngram_size`).
    """
    options = {"prompt_lookup_num_tokens": n_guesses, "max_matching_ngram_size": longest}
    return LibraryDecoder("transformers:prompt-lookup", options)


def assisted(*, draft: object = None) -> LibraryDecoder:
    """The strategy "transformers:assisted".

    Args:
        draft: folder or hub name of the smaller model (or an LM), of the same vocabulary.

    Raises:
        ValueError: no draft.
    """
    if draft is None:
        raise ValueError("assisted decoding needs a smaller model of the same vocabulary. Give --with draft=FOLDER.")
    return LibraryDecoder("transformers:assisted", draft=draft)
