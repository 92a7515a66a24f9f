import json
import lzma

import gguf
import pytest
from sample_texts import script_texts
from sample_vocabularies import byte_level_json, sentencepiece_model
from sentencepiece import SentencePieceProcessor, sentencepiece_model_pb2
from tokenizers import Tokenizer
from tokenizers.implementations import BertWordPieceTokenizer

from tokenry.core.vocab import Kind, Vocab, check_vocab


def write(path, model, tokens, types, **more):
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_tokenizer_model(model)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_bool("general.flag", True)
    writer.add_array("general.numbers", [1, 2, 3])
    for name, value in more.items():
        if hasattr(writer, f"add_{name}"):
            getattr(writer, f"add_{name}")(value)
        else:
            writer.add_uint32(f"tokenizer.ggml.{name}", value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return path


def write_byte_level(path, pattern, pre, **more):
    spec = json.loads(byte_level_json(pattern))
    pieces = sorted(spec["model"]["vocab"], key=spec["model"]["vocab"].get)
    merges = [" ".join(merge) for merge in spec["model"]["merges"]]
    tokens, types = [*pieces, "<|end|>", "<tool>", "[PAD902]"], [1] * len(pieces) + [3, 4, 5]
    return write(path, "gpt2", tokens, types, tokenizer_pre=pre, token_merges=merges, eos_token_id=len(pieces), **more)


@pytest.mark.parametrize(
    ("pattern", "pre"),
    [
        ("gpt2", "gpt-2"),
        ("llama3", "llama-bpe"),
        ("o200k", "gpt-4o"),
        ("deepseek3", "deepseek-v3"),
        ("starcoder", "smollm"),
        ("tekken", "tekken"),
        ("falcon", "falcon"),
    ],
)
def test_a_byte_level_vocabulary_encodes_as_the_tokenizer_it_was_made_from(pattern, pre, tmp_path):
    vocab = Vocab.open(write_byte_level(tmp_path / "m.gguf", pattern, pre))
    original = Tokenizer.from_str(byte_level_json(pattern))
    for text, ids in zip(script_texts(), vocab.encode(script_texts()), strict=True):
        assert ids.tolist() == original.encode(text).ids, text[:80]
    check_vocab(vocab, script_texts())
    end = original.token_to_id("<|end|>")
    assert vocab.specials == {"eos": end}
    assert vocab.encode(["x<tool>y"])[0].tolist()[1] == end + 1
    assert vocab.tokens[end + 1] == b"<tool>"
    assert vocab.kinds[end:].tolist() == [Kind.SPECIAL, Kind.NORMAL, Kind.UNUSED]


def test_qwen_text_is_composed_first_as_in_the_original(tmp_path):
    vocab = Vocab.open(write_byte_level(tmp_path / "m.gguf", "qwen2", "qwen2"))
    assert vocab.encode(["e\u0301"])[0].tolist() == vocab.encode(["é"])[0].tolist()


def test_bos_and_eos_are_added_where_the_file_says_so(tmp_path):
    path = write_byte_level(tmp_path / "m.gguf", "gpt2", "gpt-2", add_eos_token=True, chat_template="{{x}}")
    vocab = Vocab.open(path)
    assert vocab.backend.encode("a").ids == [*vocab.encode(["a"])[0].tolist(), vocab.specials["eos"]]
    assert vocab.config["chat_template"] == "{{x}}"


@pytest.mark.parametrize(("kind", "model"), [("bpe", "llama"), ("unigram", "t5")])
def test_a_sentencepiece_vocabulary_encodes_as_sentencepiece(kind, model, tmp_path):
    options = {"normalization_rule_name": "nmt_nfkc"} if kind == "unigram" else {}
    proto = sentencepiece_model(kind, byte_fallback=kind == "bpe", **options)
    content = sentencepiece_model_pb2.ModelProto()
    content.ParseFromString(proto)
    more = {"bos_token_id": 1, "eos_token_id": 2, "unk_token_id": 0, "remove_extra_whitespaces": True}
    if options:
        more["precompiled_charsmap"] = content.normalizer_spec.precompiled_charsmap
    tokens, types = [piece.piece for piece in content.pieces], [piece.type for piece in content.pieces]
    scores = [piece.score for piece in content.pieces]
    vocab = Vocab.open(write(tmp_path / "m.gguf", model, tokens, types, token_scores=scores, **more))
    native = SentencePieceProcessor(model_proto=proto)
    different = [
        text
        for text, ids in zip(script_texts(), vocab.encode(script_texts()), strict=True)
        if ids.tolist() != native.encode(text)
    ]
    # Unigram: equally good paths, see test_format_sentencepiece.
    assert len(different) <= (2 if kind == "unigram" else 0)
    around = vocab.backend.encode("a").ids
    assert (around[0] == 1) == (kind == "bpe")
    assert (around[-1] == 2) == (kind == "unigram")


def test_a_bert_vocabulary_encodes_as_wordpiece(tmp_path):
    native = BertWordPieceTokenizer(lowercase=True)
    native.train_from_iterator(script_texts(), vocab_size=900, show_progress=False)
    ids = native.get_vocab()
    pieces = sorted(ids, key=ids.get)
    tokens = [
        piece if piece[0] == "[" and piece[-1] == "]" else piece[2:] if piece[:2] == "##" else f"▁{piece}"
        for piece in pieces
    ]
    types = [3 if piece[0] == "[" and len(piece) > 3 else 1 for piece in pieces]
    more = {"unk_token_id": ids["[UNK]"], "cls_token_id": ids["[CLS]"], "seperator_token_id": ids["[SEP]"]}
    vocab = Vocab.open(write(tmp_path / "m.gguf", "bert", tokens, types, **more))
    for text, found in zip(script_texts(), vocab.encode(script_texts()), strict=True):
        assert found.tolist() == native.encode(text, add_special_tokens=False).ids, text[:80]
        assert vocab.backend.encode(text).ids == [ids["[CLS]"], *found, ids["[SEP]"]]


def test_an_xz_file_opens_in_memory(tmp_path):
    plain = write_byte_level(tmp_path / "m.gguf", "gpt2", "gpt-2")
    packed = tmp_path / "m.gguf.xz"
    packed.write_bytes(lzma.compress(plain.read_bytes()))
    assert Vocab.open(packed).fingerprint == Vocab.open(plain).fingerprint


def test_damaged_and_unknown_files_are_refused(tmp_path):
    good = write_byte_level(tmp_path / "m.gguf", "gpt2", "gpt-2").read_bytes()
    bad = tmp_path / "bad.gguf"
    for size in (6, 20, 40, 300, len(good) // 2):
        bad.write_bytes(good[:size])
        with pytest.raises(ValueError, match="not a complete GGUF file"):
            Vocab.open(bad)
    bad.write_bytes(b"GGUF" + (1).to_bytes(4, "little") + bytes(64))
    with pytest.raises(ValueError, match="version 1"):
        Vocab.open(bad)
    with pytest.raises(ValueError, match=r"pre-tokeniser 'smollmm'.*Did you mean 'smollm'"):
        Vocab.open(write_byte_level(tmp_path / "pre.gguf", "gpt2", "smollmm"))
    with pytest.raises(ValueError, match="kind 'rwkv'"):
        Vocab.open(write(tmp_path / "kind.gguf", "rwkv", ["a"], [1]))
    with pytest.raises(ValueError, match="without scores"):
        Vocab.open(write(tmp_path / "scores.gguf", "llama", ["a"], [1]))
    with pytest.raises(ValueError, match="the same token twice"):
        Vocab.open(write(tmp_path / "twice.gguf", "gpt2", ["a", "a"], [1, 1]))
    writer = gguf.GGUFWriter(str(tmp_path / "none.gguf"), "llama")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    with pytest.raises(ValueError, match="without a vocabulary"):
        Vocab.open(tmp_path / "none.gguf")
