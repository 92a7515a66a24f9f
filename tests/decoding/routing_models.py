"""A tiny pair of random models over one vocabulary of 61 words."""

import functools

from tiny_causal_models import N_TOKENS, tiny
from tokenry.models.lm import LM


@functools.cache
def words(n: int = N_TOKENS) -> object:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.WordLevel({f"w{at}": at for at in range(n)}, unk_token="w0"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=inner)


@functools.cache
def tiny_pair(small: str = "qwen3", large: str = "llama") -> tuple[LM, LM]:
    """(small, large): two kinds of model with unlike weights."""
    return LM.open((tiny(small), words())), LM.open((tiny(large), words()))
