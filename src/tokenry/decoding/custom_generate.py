"""Use a drafter inside the library's own `generate`: model.generate(ids, custom_generate=drafted(PromptLookup()), ...).

The library prepares what it always does (temperature, top-p, penalties, end tokens, stop strings, lengths); the loop of
`speculate` takes its place, one row at a time, and each guess is judged after the processors have seen its own path.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from tokenry.decoding.sampling import Settings
from tokenry.decoding.speculate import Drafter, Sizing, generate
from tokenry.models.session import Session


def drafted(drafter: Drafter | None = None, *, sizing: Sizing | int = 64) -> Callable[..., Tensor]:
    """What `model.generate(custom_generate=...)` takes.

    Args:
        drafter: what guesses; None is plain decoding.
        sizing: as for `speculate.generate`.

    Returns:
        A function; after a call its attribute `stats` holds the Statistics of the last row. Sampling draws its seed
        from torch's generator, so `torch.manual_seed` repeats a text.

    Raises:
        ValueError: (when called) padded rows, or a cache that cannot be rolled back.
    """

    def decode(
        model, input_ids, *, logits_processor=None, stopping_criteria=None, generation_config=None, **kwargs
    ) -> Tensor:
        mask = kwargs.get("attention_mask")
        if mask is not None and not bool(mask.all()):
            raise ValueError("padded rows; this decodes rows of one length without padding. Generate them one by one.")
        sampled = bool(getattr(generation_config, "do_sample", False))
        rows = [
            _row(model, row.tolist(), logits_processor, stopping_criteria, sampled=sampled, kwargs=kwargs)
            for row in input_ids
        ]
        longest = max(len(row) for row in rows)
        pad = getattr(generation_config, "_pad_token_tensor", None)
        pad = 0 if pad is None else int(pad)
        return torch.tensor([[*row, *[pad] * (longest - len(row))] for row in rows], device=input_ids.device)

    def _row(model, prompt: list[int], processors, criteria, *, sampled: bool, kwargs: dict) -> list[int]:
        device = model.get_input_embeddings().weight.device

        def stop(new: list[int]) -> bool:
            ids_1T = torch.tensor([[*prompt, *new]], device=device)
            return criteria is not None and bool(criteria(ids_1T, None).all())

        settings = Settings(
            max_new_tokens=1 << 30,
            temperature=1.0 if sampled else 0.0,
            seed=int(torch.randint(1 << 62, ())) if sampled else 0,
            stop=stop,
            processors=processors if processors is not None and len(processors) else None,
        )
        session = Session.open(model, cache=kwargs.get("past_key_values", kwargs.get("cache")))
        new, decode.stats = generate(session, prompt, drafter, settings=settings, sizing=sizing)
        return [*prompt, *new]

    decode.stats = None
    return decode
