"""Tiny models of several architectures with random weights, for a given vocabulary."""

import torch

from tokenry.core.vocab import Vocab
from tokenry.models.lm import LM, tokenizer_of

FAMILIES = ("llama", "llama-untied", "gpt2", "gpt-neox", "phi", "gemma")


def small_model(family: str, vocab: Vocab, *, extra: int = 0, dtype=torch.float32) -> LM:
    """A random model; "phi" has a head with a bias, "gemma" scales its embedding, "gpt-neox" names its head apart."""
    import transformers as tf

    ids = {f"{role}_token_id": vocab.specials.get(role) for role in ("bos", "eos", "pad")}
    shape = {"vocab_size": vocab.size + extra, "hidden_size": 16, "intermediate_size": 24, **ids}
    layers = {"num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 64}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if family in ("llama", "llama-untied"):
            tied = family == "llama"
            model = tf.LlamaForCausalLM(tf.LlamaConfig(**shape, **layers, tie_word_embeddings=tied))
        elif family == "gpt2":
            size = {"vocab_size": vocab.size + extra, "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 64}
            model = tf.GPT2LMHeadModel(tf.GPT2Config(**size, **ids))
        elif family == "gpt-neox":
            model = tf.GPTNeoXForCausalLM(tf.GPTNeoXConfig(**shape, **layers, tie_word_embeddings=False))
        elif family == "phi":
            model = tf.PhiForCausalLM(tf.PhiConfig(**shape, **layers, tie_word_embeddings=False))
        else:
            model = tf.GemmaForCausalLM(tf.GemmaConfig(**shape, **layers, num_key_value_heads=1, head_dim=8))
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.data.normal_(0, 0.3)
        if getattr(model.get_output_embeddings(), "bias", None) is not None:
            model.get_output_embeddings().bias.data.normal_(0, 1)
    model.tie_weights()
    return LM(model.to(dtype).eval(), tokenizer_of(vocab), vocab, family)


def logits(model, ids: list[int]) -> torch.Tensor:
    """Logits (T, V) of one sequence."""
    with torch.inference_mode():
        return model(input_ids=torch.tensor([ids]), use_cache=False).logits[0]
