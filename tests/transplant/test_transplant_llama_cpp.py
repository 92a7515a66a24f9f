"""A moved model goes into llama.cpp's file format: every row has a token, every token a row."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from small_models import small_model

from small_vocabularies import ENGLISH, GERMAN, byte_level_of
from tokenry.core.vocab import Kind, Vocab
from tokenry.models.files import read_tensor
from tokenry.models.lm import LM
from tokenry.transplant.surgery import apply_plan, plan

gguf = pytest.importorskip("gguf")
TEXTS = [*ENGLISH[:3], *GERMAN[:3], "x = 12345\n\n\tif y:  # 👍🏽"]


def gpt2_like(size: int = 420) -> Vocab:
    """Byte-level BPE that cuts text as GPT-2 does."""
    return byte_level_of(ENGLISH + GERMAN, size, ("<|end|>", "<|start|>"), "new")


@pytest.fixture(params=[None, 64], ids=["as many rows as tokens", "padded rows"])
def moved(request, old, tmp_path) -> Path:
    small_model("llama-untied", old).save(tmp_path / "old")
    new = gpt2_like()
    apply_plan(tmp_path / "old", plan(old, new), new, out=tmp_path / "moved", pad_to_multiple_of=request.param)
    return tmp_path / "moved"


def entries(vocab: Vocab, n_rows: int) -> tuple[list[str], list[int]]:
    """Token strings and GGUF token types, one for each row, as llama.cpp's own converter fills them."""
    kinds = gguf.TokenType
    tokens, types = [], []
    for i in range(n_rows):
        if i >= vocab.size or vocab.kinds[i] == Kind.UNUSED:
            tokens.append(f"[PAD{i}]")
            types.append(kinds.UNUSED)
        else:
            tokens.append(vocab.literal(i))
            types.append(kinds.CONTROL if vocab.kinds[i] == Kind.SPECIAL else kinds.NORMAL)
    return tokens, types


def write_gguf(folder: Path, path: Path) -> None:
    """The tokenizer and the tensors of a Llama folder as a GGUF file."""
    vocab, config = Vocab.open(folder), json.loads((folder / "config.json").read_text())
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_vocab_size(config["vocab_size"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_rope_dimension_count(config["hidden_size"] // config["num_attention_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    tokens, types = entries(vocab, config["vocab_size"])
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges([" ".join(merge) for merge in vocab.spec["model"]["merges"]])
    writer.add_bos_token_id(vocab.specials["bos"])
    writer.add_eos_token_id(vocab.specials["eos"])
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config["num_hidden_layers"])
    for name, tensor in LM.open(folder).model.state_dict().items():
        data = tensor.float().numpy()
        if name.endswith(("q_proj.weight", "k_proj.weight")):
            # llama.cpp keeps the two halves of a rotation side by side.
            data = data.reshape(config["num_attention_heads"], 2, -1, data.shape[1]).swapaxes(1, 2).reshape(data.shape)
        writer.add_tensor(names.get_name(name, try_suffixes=(".weight", ".bias")), np.ascontiguousarray(data))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def check_file(path: Path, folder: Path) -> None:
    """Tokens, rows and the declared size are one number; the rows are the folder's own; the vocabulary cuts alike."""
    reader = gguf.GGUFReader(path)
    declared = json.loads((folder / "config.json").read_text())["vocab_size"]
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    n_tokens = len(reader.fields["tokenizer.ggml.tokens"].data)
    assert n_tokens == len(reader.fields["tokenizer.ggml.token_type"].data) == declared
    assert reader.fields["llama.vocab_size"].parts[-1][0] == declared
    for ours, theirs in (("model.embed_tokens.weight", "token_embd.weight"), ("lm_head.weight", "output.weight")):
        assert tensors[theirs].shape.tolist() == [16, declared]
        assert np.array_equal(tensors[theirs].data.reshape(declared, 16), read_tensor(folder, ours).float().numpy())
    ours, theirs = Vocab.open(folder), Vocab.open(path)
    assert theirs.size == declared
    assert theirs.tokens[: ours.size] == ours.tokens
    assert all(kind == Kind.UNUSED for kind in theirs.kinds[ours.size :])
    assert theirs.specials == ours.specials
    assert [ids.tolist() for ids in theirs.encode(TEXTS)] == [ids.tolist() for ids in ours.encode(TEXTS)]


def test_rows_tokens_and_declared_size_agree_in_the_file(moved, tmp_path):
    write_gguf(moved, tmp_path / "model.gguf")
    check_file(tmp_path / "model.gguf", moved)


def test_transformers_opens_the_file_with_the_same_logits(moved, tmp_path):
    import transformers as tf

    write_gguf(moved, tmp_path / "model.gguf")
    opened = tf.AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file="model.gguf").eval()
    expected = LM.open(moved)
    ids = torch.tensor([expected.vocab.encode(TEXTS[:1])[0].tolist()])
    with torch.inference_mode():
        assert torch.allclose(opened(ids).logits, expected.model(ids).logits, atol=1e-5)


def converter() -> Path:
    """llama.cpp's own converter, where it is; skips otherwise."""
    place = Path(os.environ.get("TOKENRY_LLAMA_CPP", "~/.cache/tokenry-bench/llama.cpp")).expanduser()
    if not (place / "convert_hf_to_gguf.py").is_file():
        pytest.skip(f"needs llama.cpp's convert_hf_to_gguf.py in {place}; set TOKENRY_LLAMA_CPP to its folder.")
    return place / "convert_hf_to_gguf.py"


def convert(folder: Path, out: Path) -> subprocess.CompletedProcess:
    command = [sys.executable, str(converter()), str(folder), "--outfile", str(out), "--outtype", "f32"]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


@pytest.mark.slow  # a process of its own imports torch and transformers
def test_llama_cpp_converts_what_cuts_text_as_a_model_it_knows(old, tmp_path):
    """The converter knows a tokenizer by a hash of the ids of one text, so only a known model's vocabulary passes."""
    known = os.environ.get("TOKENRY_KNOWN_TOKENIZER")
    if not known:
        pytest.skip("set TOKENRY_KNOWN_TOKENIZER to the tokenizer folder of a model that llama.cpp knows.")
    new = Vocab.open(known)
    small_model("llama-untied", old).save(tmp_path / "old")
    apply_plan(tmp_path / "old", plan(old, new), new, out=tmp_path / "moved")
    done = convert(tmp_path / "moved", tmp_path / "model.gguf")
    assert done.returncode == 0, done.stderr[-2000:]
    reader = gguf.GGUFReader(tmp_path / "model.gguf")
    rows = {tensor.name: tensor.shape.tolist()[-1] for tensor in reader.tensors}
    declared = json.loads((tmp_path / "moved/config.json").read_text())["vocab_size"]
    assert len(reader.fields["tokenizer.ggml.tokens"].data) == rows["token_embd.weight"] == declared
    assert Vocab.open(tmp_path / "model.gguf").tokens[: new.size] == new.tokens


@pytest.mark.slow  # the same
def test_llama_cpp_refuses_a_vocabulary_it_has_not_seen(moved, tmp_path):
    done = convert(moved, tmp_path / "model.gguf")
    assert done.returncode != 0
    assert "BPE pre-tokenizer was not recognized" in done.stderr


@pytest.mark.slow  # the same
def test_llama_cpp_converts_a_new_vocabulary_once_it_is_told_how_text_is_cut(moved, tmp_path):
    """The answer of its table is given, as its message asks users to do; all else is the converter's own."""
    code = (
        f"import sys; sys.path.insert(0, {str(converter().parent)!r});"
        "import convert_hf_to_gguf as c; kind = getattr(c, 'TextModel', None) or c.Model;"
        "kind.get_vocab_base_pre = lambda self, tokenizer: 'gpt-2'; c.main()"
    )
    options = [str(moved), "--outfile", str(tmp_path / "model.gguf"), "--outtype", "f32"]
    done = subprocess.run([sys.executable, "-c", code, *options], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    check_file(tmp_path / "model.gguf", moved)
