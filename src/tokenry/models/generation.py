"""Continue text with the library's own `generate`, and measure how many bytes a second it writes."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from tokenry.core.intervals import Interval, ratio_interval
from tokenry.models.opening import quiet_library

if TYPE_CHECKING:
    from tokenry.models.lm import LM


@dataclass(frozen=True)
class Speed:
    """Greedy generation speed, intervals over prompts.

    Attributes:
        per_cpu_second: bytes per second of processor time, all threads together; the figure to compare on a machine
            that other work shares.
        per_wall_second: bytes per second on the clock.
        per_token: bytes per generated token (of a model step).
    """

    per_cpu_second: Interval
    per_wall_second: Interval
    per_token: Interval


def generate(lm: "LM", prompt: str, *, max_new_tokens: int, temperature: float = 0.0, seed: int = 0) -> str:
    """Prompt and continuation as one text; see `LM.generate`."""
    if max_new_tokens < 1:
        raise ValueError(f"max_new_tokens={max_new_tokens}; need at least 1. Ask for more tokens.")
    if temperature < 0:
        raise ValueError(f"temperature={temperature}; need 0 (greedy) or more. Lower values are surer, not negative.")
    ids = prompt_ids(lm, prompt)
    devices = [lm.device] if lm.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        full = _continue(lm, ids, max_new_tokens=max_new_tokens, temperature=temperature)
    return lm.tokenizer.decode(full.tolist(), skip_special_tokens=True, clean_up_tokenization_spaces=False)


def speed(lm: "LM", prompts: Sequence[str], *, max_new_tokens: int = 64) -> Speed:
    """Bytes per second of greedy generation with a key-value cache, one prompt at a time.

    Every prompt gets exactly `max_new_tokens` steps (the end token is held back), after one unmeasured warm-up run.

    Args:
        prompts: at least one; the interval is over prompts.
        max_new_tokens: steps measured on each; with the prompt they must fit the model's context.

    Raises:
        ValueError: without prompts.
    """
    if not prompts:
        raise ValueError("No prompt to time on; need at least one. Give the opening words of a few documents.")
    n_bytes, cpu, wall = [], [], []
    _continue(lm, prompt_ids(lm, prompts[0]), max_new_tokens=min(8, max_new_tokens), fixed=True)
    for prompt in prompts:
        ids = prompt_ids(lm, prompt)
        cpu_0, wall_0 = time.process_time(), time.perf_counter()
        full = _continue(lm, ids, max_new_tokens=max_new_tokens, fixed=True)
        if lm.device.type == "cuda":
            torch.cuda.synchronize(lm.device)
        cpu.append(time.process_time() - cpu_0)
        wall.append(time.perf_counter() - wall_0)
        new = full[len(ids) :].cpu().numpy()
        n_bytes.append(int(lm.vocab.byte_lengths[new[new < lm.vocab.size]].sum()))
    steps = np.full(len(prompts), max_new_tokens)
    return Speed(
        ratio_interval(n_bytes, cpu, unit="bytes/CPU s"),
        ratio_interval(n_bytes, wall, unit="bytes/s"),
        ratio_interval(n_bytes, steps, unit="bytes/token"),
    )


def prompt_ids(lm: "LM", prompt: str) -> np.ndarray:
    """Ids (T,) of a prompt as the model expects it; the start token for an empty one."""
    ids = lm.encode([prompt])[0].astype(np.int64)
    return ids if len(ids) else np.array([lm.start], dtype=np.int64)


def end_ids(lm: "LM") -> tuple[int, ...]:
    """Ids that end a text: those the model declares for generation, else the tokenizer's eos; none if none is known."""
    ends = getattr(getattr(lm.model, "generation_config", None), "eos_token_id", None)
    ends = lm.vocab.specials.get("eos") if ends is None else ends
    return tuple(ends) if isinstance(ends, list | tuple) else (() if ends is None else (int(ends),))


def library_config(lm: "LM", *, max_new_tokens: int, temperature: float = 0.0, fixed: bool = False) -> object:
    """What the library's `generate` is asked: the model's own end and padding, no rows that stand for no token.

    Args:
        lm: the model.
        max_new_tokens: most tokens to add.
        temperature: 0 is greedy.
        fixed: add exactly so many.

    Returns:
        A transformers GenerationConfig.
    """
    from transformers import GenerationConfig

    ends = list(end_ids(lm))
    pad = getattr(getattr(lm.model, "generation_config", None), "pad_token_id", None)
    settings = {"do_sample": temperature > 0, "max_new_tokens": max_new_tokens, "eos_token_id": ends or None}
    settings["pad_token_id"] = pad if pad is not None else next(iter(ends), None)
    if temperature > 0:
        settings |= {"temperature": temperature, "top_k": 0, "top_p": 1.0}
    if fixed:
        settings["min_new_tokens"] = max_new_tokens
    n_rows = lm.model.get_output_embeddings().weight.shape[0]
    if n_rows > lm.vocab.size:  # rows which only round the matrix up stand for no token
        settings["suppress_tokens"] = list(range(lm.vocab.size, n_rows))
    return GenerationConfig(**settings)


def _continue(
    lm: "LM", ids: np.ndarray, *, max_new_tokens: int, temperature: float = 0.0, fixed: bool = False
) -> torch.Tensor:
    """Ids (T,) of the prompt and what follows; `fixed` takes exactly `max_new_tokens` steps."""
    config = library_config(lm, max_new_tokens=max_new_tokens, temperature=temperature, fixed=fixed)
    ids_BT = torch.from_numpy(ids)[None].to(lm.device)
    was_training = lm.model.training
    lm.model.eval()
    try:
        with quiet_library(), torch.inference_mode():
            full_BT = lm.model.generate(ids_BT, attention_mask=torch.ones_like(ids_BT), generation_config=config)
    finally:
        lm.model.train(was_training)
    return full_BT[0]
