"""Tiny causal models, one of each kind that decoding must run; widely spread random weights, so that nothing ties."""

import functools

import torch

N_TOKENS = 61
KINDS = ("llama", "qwen3", "gpt2", "gpt-neox", "opt", "mistral", "gemma3")
WINDOW = 9
"""Of the sliding layers of mistral and gemma3: smaller than the texts of the tests."""


def _config(kind: str) -> object:
    import transformers as tf

    ids = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "vocab_size": N_TOKENS}
    body = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "max_position_embeddings": 128}
    grouped = {
        **ids,
        **body,
        "intermediate_size": 48,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "initializer_range": 0.3,
    }
    if kind == "llama":
        return tf.LlamaConfig(**grouped)
    if kind == "qwen3":
        return tf.Qwen3Config(**grouped)
    if kind == "mistral":
        return tf.MistralConfig(**grouped, sliding_window=WINDOW)
    if kind == "gemma3":
        layers = ["sliding_attention", "full_attention", "sliding_attention"]
        return tf.Gemma3TextConfig(**grouped, sliding_window=WINDOW, layer_types=layers, query_pre_attn_scalar=8)
    if kind == "gpt2":
        return tf.GPT2Config(**ids, n_embd=32, n_layer=3, n_head=4, n_positions=128, initializer_range=0.3)
    if kind == "gpt-neox":
        return tf.GPTNeoXConfig(**ids, **body, intermediate_size=48, initializer_range=0.3)
    if kind == "opt":
        return tf.OPTConfig(**ids, **body, ffn_dim=48, word_embed_proj_dim=32, init_std=0.3)
    raise ValueError(kind)


@functools.cache
def tiny(kind: str = "llama", implementation: str = "sdpa") -> torch.nn.Module:
    """The model of a kind, in float32, with attention computed by `implementation`; made once."""
    from transformers import AutoModelForCausalLM

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = AutoModelForCausalLM.from_config(_config(kind), attn_implementation=implementation)
    model.generation_config.eos_token_id = None
    return model.float().eval()


def full_logits(model: torch.nn.Module, tokens: list[int]) -> torch.Tensor:
    """Logits (T, V) of a text by one forward pass without cache and mask: the oracle of every session."""
    with torch.inference_mode():
        return model(input_ids=torch.tensor([tokens]), use_cache=False).logits[0]
