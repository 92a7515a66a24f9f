"""Tiny models that look both ways, of the kinds a diffusion decoder must run; widely spread random weights."""

import functools

import torch

from tiny_causal_models import N_TOKENS, tiny
from tokenry.decoding.diffusion_models import DiffusionSpec

MASK = N_TOKENS - 1
SPEC = DiffusionSpec(MASK)
KINDS = ("llama", "qwen3", "gpt2")


@functools.cache
def both_ways(kind: str = "llama", implementation: str = "sdpa") -> torch.nn.Module:
    """The model of `tiny_causal_models.tiny`, bidirectional."""
    from transformers import AutoModelForCausalLM

    config = type(tiny(kind).config).from_dict(tiny(kind).config.to_dict())
    config.is_causal = False
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        return AutoModelForCausalLM.from_config(config, attn_implementation=implementation).float().eval()


def small(n_tokens: int, *, seed: int = 0) -> torch.nn.Module:
    """A bidirectional Llama of very few tokens, for exact enumeration; the last token is the mask."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=n_tokens, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, max_position_embeddings=32, initializer_range=0.4, bos_token_id=0, eos_token_id=None,
    )  # fmt: skip
    config.is_causal = False
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(config).float().eval()
