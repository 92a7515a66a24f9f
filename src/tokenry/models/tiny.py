"""Small models made in a moment, for tests, recipes and `--tiny` runs: the mechanics of a real one, not its quality."""

from collections.abc import Iterable

import torch

from tokenry.core.vocab import Vocab
from tokenry.models.batches import draw, pack, tokenise
from tokenry.models.lm import LM, tokenizer_of
from tokenry.models.training import FitConfig, fit


def tiny_llama(
    vocab: Vocab,
    *,
    width: int = 64,
    layers: int = 2,
    heads: int = 4,
    positions: int = 512,
    tied: bool = True,
    spread: float = 0.02,
    rows: int | None = None,
    seed: int = 0,
) -> LM:
    """A Llama with random weights for a vocabulary; 0.1 million parameters and the embedding at the default size.

    Args:
        vocab: its tokenizer.
        width, layers, heads: of the body; key-value heads are half the heads, the inner width is twice the width.
        positions: longest sequence.
        tied: whether head and embedding are one matrix.
        spread: standard deviation of the weights. 0.02 is fit for training; an untrained model for tests of decoding
            wants 0.2 or more, else its logits are nearly equal and ties decide.
        rows: rows of embedding and head, at least `vocab.size`; None means as many as ids.
        seed: of the weights; the global generator is left alone.

    Raises:
        ValueError: rows below the size of the vocabulary, or a width that the heads do not divide.
    """
    from transformers import LlamaConfig, LlamaForCausalLM

    rows = vocab.size if rows is None else rows
    if rows < vocab.size:
        raise ValueError(f"rows={rows} for a vocabulary of {vocab.size} ids; every id needs a row. Ask for more rows.")
    if heads < 1 or width % (2 * heads):
        raise ValueError(f"width={width} with heads={heads}; need a width divisible by 2 x heads. Change either.")
    roles = {f"{role}_token_id": vocab.specials.get(role) for role in ("bos", "eos", "pad")}
    config = LlamaConfig(
        vocab_size=rows,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=max(1, heads // 2),
        max_position_embeddings=positions,
        tie_word_embeddings=tied,
        initializer_range=spread,
        **roles,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    return LM.open((model.float().eval(), tokenizer_of(vocab)))


def tiny_bert(
    vocab: Vocab,
    *,
    width: int = 64,
    layers: int = 2,
    heads: int = 4,
    positions: int = 512,
    kind: str = "bert",
    tied: bool = True,
    seed: int = 0,
) -> LM:
    """A masked model (BERT, or RoBERTa by `kind`) with random weights for a vocabulary.

    Args:
        vocab: its tokenizer; RoBERTa needs a pad token, from whose id it counts positions.
        width, layers, heads: of the body; the inner width is twice the width.
        positions: longest sequence.
        kind: "bert" or "roberta".
        tied: whether head and embedding are one matrix.
        seed: of the weights; the global generator is left alone.

    Raises:
        ValueError: another kind.
    """
    from transformers import BertConfig, BertForMaskedLM, RobertaConfig, RobertaForMaskedLM

    known = {"bert": (BertConfig, BertForMaskedLM), "roberta": (RobertaConfig, RobertaForMaskedLM)}
    if kind not in known:
        raise ValueError(f"kind={kind!r} of a tiny masked model; need one of {', '.join(known)}.")
    make_config, make_model = known[kind]
    pad = vocab.specials.get("pad")
    config = make_config(
        vocab_size=vocab.size,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        max_position_embeddings=positions + (0 if kind == "bert" else (pad or 0) + 1),
        type_vocab_size=1,
        pad_token_id=pad,
        bos_token_id=vocab.specials.get("bos"),
        eos_token_id=vocab.specials.get("eos"),
        tie_word_embeddings=tied,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = make_model(config)
    return LM.open((model.float().eval(), tokenizer_of(vocab)))


def trained_tiny(
    texts: Iterable[str],
    vocab: Vocab,
    *,
    steps: int = 200,
    length: int = 128,
    batch_size: int = 16,
    rate: float = 1e-2,
    seed: int = 0,
    **shape: object,
) -> LM:
    """`tiny_llama` trained on texts for a few seconds.

    Args:
        texts: what it learns; all ids are held in memory.
        vocab: its tokenizer.
        steps, length, batch_size, rate: of the training (linear to zero after a tenth of warm-up).
        seed: of weights and order.
        shape: passed on to `tiny_llama`.

    Raises:
        ValueError: no text, or as for `tiny_llama`.
    """
    lm = tiny_llama(vocab, seed=seed, **shape)
    packs = pack(tokenise(vocab, texts), length=length, bos=lm.bos, eos=vocab.specials.get("eos"))
    config = FitConfig(rate=rate, warmup=max(1, steps // 10), seed=seed)
    fit(lm.model, draw(packs, batch_size=batch_size, seed=seed), steps=steps, config=config, label="tiny model")
    return lm
