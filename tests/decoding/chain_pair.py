"""A pair of models whose every disagreement is known: two Markov chains written into the weights of stock Llamas.

States 0 to N_STATES - 1 stand in a ring, each said in one of two wordings. Token "say s" is followed by wording a or b
of s, and that by "say" of the state after. The large model prefers wording a and steps by one. The small one prefers b
at every third state (neutral: what follows is the same) and steps by two after a hard state (divergent), with full
confidence, while its wordings are nearly tied: entropy points at the wrong places.
"""

import functools

import torch

from tokenry.models.lm import LM

N_STATES = 12
HARD = frozenset({4, 7})
WORDED = frozenset(range(0, N_STATES, 3))
SAY, A, B = range(3)
N_TOKENS = 3 * N_STATES


def token(state: int, kind: int) -> int:
    """Id of a state's word."""
    return 3 * (state % N_STATES) + kind


def states(ids: list[int]) -> list[int]:
    """States a text passes through."""
    return [each // 3 for each in ids if each % 3 == SAY]


def law(size: str) -> torch.Tensor:
    """Logits (V, V) of the token after each token."""
    logits_VV = torch.full((N_TOKENS, N_TOKENS), -20.0)
    for state in range(N_STATES):
        prefers_b = size == "small" and state in WORDED
        logits_VV[token(state, SAY), token(state, A)] = 10 - prefers_b * 0.2
        logits_VV[token(state, SAY), token(state, B)] = 9.9
        step = 2 if size == "small" and state in HARD else 1
        for kind in (A, B):
            logits_VV[token(state, kind), token(state + step, SAY)] = 10
    return logits_VV


def chain_tokenizer() -> object:
    """One word a token; the wordings end a sentence."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {
        f"{'sab'[kind]}{state}{'.' * (kind > 0)}": token(state, kind) for state in range(N_STATES) for kind in range(3)
    }
    inner = Tokenizer(models.WordLevel(words, unk_token="s0"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=inner)


@functools.cache
def chain_model(size: str) -> LM:
    """The LM of a chain: one-hot embeddings, one layer that adds nothing, the law as its head."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=N_TOKENS,
        hidden_size=40,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=128,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=None,
    )
    model = LlamaForCausalLM(config).float().eval()
    with torch.no_grad():
        for parameter in (model.model.layers[0].self_attn.o_proj.weight, model.model.layers[0].mlp.down_proj.weight):
            parameter.zero_()
        model.get_input_embeddings().weight.copy_(torch.eye(N_TOKENS, 40))
        # The last norm scales a unit vector to length sqrt(D).
        model.lm_head.weight.zero_()
        model.lm_head.weight[:, :N_TOKENS] = law(size).T / 40**0.5
    return LM.open((model, chain_tokenizer()))
