"""A small task with known answers: which of four names stands by the key that is asked for, told early or late."""

import numpy as np
import torch

N_KEYS, N_NAMES = 4, 12
START, END, GIVES, KEYS = 1, 2, 3, 4
NAMES, FILLERS = KEYS + N_KEYS, KEYS + N_KEYS + N_NAMES
N_FILLERS = 7
N_WORDS = FILLERS + N_FILLERS
N_PROMPT, N_TEXT = 2 * N_KEYS + 2, N_FILLERS + 2


def record(generator: np.random.Generator, *, early: bool = True) -> tuple[list[int], list[int]]:
    """(prompt, text): four pairs of key and name in random order; the text names that of the first key.

    The other words are always the same ones. The name is the second word (the first to be made by a shortened model, as
    the prompt's own pass makes the first), or the last before the end.
    """
    names = generator.choice(N_NAMES, N_KEYS, replace=False)
    pairs = [part for key in generator.permutation(N_KEYS) for part in (KEYS + key, NAMES + names[key])]
    fillers, answer = list(range(FILLERS, FILLERS + N_FILLERS)), NAMES + names[0]
    text = [fillers[0], answer, *fillers[1:], END] if early else [*fillers, answer, END]
    return [int(token) for token in (START, *pairs, GIVES)], [int(token) for token in text]


def records_batch(seed: int, number: int, *, early: bool = True, size: int = 32) -> dict[str, torch.Tensor]:
    """Fresh records for `fit`; only the text is learned."""
    generator = np.random.default_rng([seed, number])
    ids = torch.tensor([prompt + text for prompt, text in (record(generator, early=early) for _ in range(size))])
    labels = ids.clone()
    labels[:, :N_PROMPT] = -100
    return {"input_ids": ids, "labels": labels}
