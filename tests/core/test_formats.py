import json
import lzma
import subprocess
import sys
import time

import pytest
from sample_texts import script_texts
from sample_vocabularies import byte_level_json, sentencepiece_model, write_json
from tokenizers import Tokenizer

from tokenry.core.formats import read_spec
from tokenry.core.vocab import Vocab

SMALL = {"model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": [["a", "b"]]}}


def test_a_folder_a_file_an_object_and_an_xz_file_are_the_same_vocabulary(tmp_path):
    folder = write_json(tmp_path / "tok", byte_level_json(), tokenizer_config={"eos_token": "<|end|>"})
    packed = tmp_path / "packed"
    packed.mkdir()
    (packed / "tokenizer.json.xz").write_bytes(lzma.compress((folder / "tokenizer.json").read_bytes()))
    (packed / "tokenizer_config.json").write_text('{"eos_token": "<|end|>"}')
    opened = [Vocab.open(source) for source in (folder, folder / "tokenizer.json", packed)]
    assert len({vocab.fingerprint for vocab in opened}) == 1
    assert [vocab.name for vocab in opened] == ["tok", "tok", "packed"]
    bare = Vocab.open(Tokenizer.from_str(byte_level_json()))
    assert bare.tokens == opened[0].tokens
    assert Vocab.open(bare) is bare


def test_a_folder_may_hold_any_one_format(tmp_path):
    (tmp_path / "my.model").write_bytes(sentencepiece_model("bpe", byte_fallback=True))
    assert Vocab.open(tmp_path).family == "metaspace"
    (tmp_path / "other.model").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"holds 2 tokenizer files \(my.model, other.model\); name the one"):
        Vocab.open(tmp_path)
    (tmp_path / "tokenizer.model").write_bytes(sentencepiece_model("unigram", byte_fallback=True))
    assert Vocab.open(tmp_path).family == "unigram"
    (tmp_path / "tokenizer.json").write_text(byte_level_json(), encoding="utf-8")
    assert Vocab.open(tmp_path).family == "byte-level"


def test_a_model_file_takes_its_special_tokens_from_the_config_beside_it(tmp_path):
    (tmp_path / "tokenizer.model").write_bytes(sentencepiece_model("bpe", byte_fallback=True))
    (tmp_path / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "LlamaTokenizer", "pad_token": "</s>", "bos_token": {"content": "<s>"}})
    )
    for source in (tmp_path, tmp_path / "tokenizer.model"):
        vocab = Vocab.open(source)
        assert vocab.specials == {"bos": 1, "eos": 2, "unk": 0, "pad": 2}
        assert vocab.backend.encode("a").ids[0] == 1


def test_ids_in_the_config_of_the_model_give_roles_where_the_tokenizer_is_silent(tmp_path):
    folder = write_json(tmp_path, byte_level_json(), config={"eos_token_id": [900], "bos_token_id": 900})
    assert Vocab.open(folder).specials == {"bos": 900, "eos": 900}
    write_json(tmp_path, byte_level_json(), tokenizer_config={"bos_token": None})
    assert Vocab.open(folder).specials == {"eos": 900}


def test_the_chat_template_file_is_carried(tmp_path):
    folder = write_json(tmp_path / "a", byte_level_json())
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    Vocab.open(folder).to_hf(tmp_path / "b")
    assert Vocab.open(tmp_path / "b").config["chat_template"] == "{{ messages }}"


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("tokenizer.json", b"", "is empty"),
        ("tokenizer.json", b"{", "is not JSON"),
        ("tokenizer.json", b"[" * 100_000, "is not JSON"),
        ("tokenizer.json", b"[1, 2]", "holds a JSON list"),
        ("tokenizer.json", b'{"a": 1, "b": 2}', "is not a tokenizer.json: it has no model with a vocab, but a, b"),
        ("x.json", b'{"model": {"type": "Magic", "vocab": {"a": 0}}}', "model of type 'Magic'"),
        ("x.json", b'{"model": {"type": "BPE", "vocab": {}, "merges": []}}', "whose vocab is empty"),
        ("x.json", b'{"model": {"type": "Unigram", "vocab": {"a": 0}}}', "whose vocab is dict"),
        ("x.json", b'{"model": {"type": "Unigram", "vocab": ["a"]}}', "not .piece, score. pairs"),
        ("x.json", b'{"model": {"type": "BPE", "vocab": {"a": -1}}}', "the id -1; need whole numbers"),
        ("x.json", b'{"model": {"type": "BPE", "vocab": {"a": 99999999}}}', "the id 99999999"),
        ("x.json", b'{"model": {"vocab": {"a": 0}, "merges": []}, "added_tokens": [{"id": 1}]}', "without content"),
        ("x.model", b"\x00\x01binary", "not a complete SentencePiece model, and no other"),
        ("x.tiktoken", b"IQ== 0\n\xff\xff 1\n", "line 2"),
        ("x.json.xz", b"\xfd7zXZ\x00broken", "not a complete .xz file"),
        ("x.json.xz", lzma.compress(b'{"a": 1, "b": 2}' * 9000)[:-40], "not a complete .xz file"),
    ],
)
def test_what_is_not_a_tokenizer_is_refused_in_a_sentence_which_names_the_file(name, content, sentence, tmp_path):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ValueError, match=sentence) as caught:
        Vocab.open(path)
    assert name in str(caught.value)


def test_a_merge_outside_the_vocabulary_is_refused():
    for merge in (["a", "x"], "a b c", ["b", "a"], 5):
        spec = {"model": {**SMALL["model"], "merges": [["a", "b"], merge]}}
        with pytest.raises(ValueError, match="merge 1 is"):
            Vocab.from_spec(spec)


def test_what_the_library_refuses_is_reported_by_name():
    spec = {"model": {**SMALL["model"], "merges": [["a", "b"]]}, "pre_tokenizer": {"type": "Nothing"}}
    with pytest.raises(ValueError, match=r"small: the tokenizers library cannot open this"):
        _ = Vocab.from_spec(spec, name="small").backend


def test_a_file_larger_than_any_tokenizer_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr("tokenry.core.formats.MAX_BYTES", 1000)
    (tmp_path / "a.json").write_bytes(b"{" + b" " * 1000)
    (tmp_path / "a.json.xz").write_bytes(lzma.compress(b"{" + b" " * 10**7))
    for name in ("a.json", "a.json.xz"):
        with pytest.raises(ValueError, match="more than any tokenizer"):
            Vocab.open(tmp_path / name)


def test_a_folder_without_a_tokenizer_says_what_it_looked_for(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(FileNotFoundError, match=r"holds no tokenizer: none of tokenizer.json"):
        Vocab.open(tmp_path)


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere/at/all", "a/b/c", "tokenizer.json", ""])
def test_a_path_that_does_not_exist_is_not_taken_for_a_hub_name(name):
    with pytest.raises((FileNotFoundError, ValueError), match=r"does not exist|holds no tokenizer"):
        read_spec(name or "./")


def test_a_hub_name_without_the_hub_fails_at_once():
    start = time.perf_counter()
    with pytest.raises(
        FileNotFoundError, match=r"'org/model' is not a file or folder here and the hub is switched off"
    ):
        Vocab.open("org/model")
    assert time.perf_counter() - start < 2
    with pytest.raises(FileNotFoundError, match="cannot be a hub name"):
        Vocab.open("not a name!")


def test_an_unreachable_hub_fails_within_seconds(monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "is_offline_mode", lambda: False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    start = time.perf_counter()
    with pytest.raises(FileNotFoundError, match="the hub is unreachable"):
        Vocab.open("org/model@main")
    assert time.perf_counter() - start < 5


def test_other_objects_are_refused():
    with pytest.raises(ValueError, match="cannot open a int as a tokenizer"):
        Vocab.open(5)


def test_a_missing_extra_is_named(tmp_path, monkeypatch):
    path = tmp_path / "x.model"
    path.write_bytes(sentencepiece_model("bpe", byte_fallback=True))
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    with pytest.raises(ImportError, match=r"tokenry\[formats\]"):
        Vocab.open(path)


def test_opening_needs_neither_torch_nor_transformers(tmp_path):
    write_json(tmp_path, byte_level_json())
    code = (
        "import sys; sys.modules['torch'] = sys.modules['transformers'] = None\n"
        f"from tokenry.core.vocab import Vocab; v = Vocab.open({str(tmp_path)!r}); print(v.encode(['a b'])[0].size)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 1


def test_texts_encode_alike_however_the_merges_are_written():
    spec = json.loads(byte_level_json())
    pairs = [merge if isinstance(merge, list) else merge.split(" ") for merge in spec["model"]["merges"]]
    lists = Vocab.from_spec({**spec, "model": {**spec["model"], "merges": pairs}})
    strings = Vocab.from_spec({**spec, "model": {**spec["model"], "merges": [" ".join(pair) for pair in pairs]}})
    assert (lists.merges == strings.merges).all()
    assert len(lists.merges) == len(pairs)
    for a, b in zip(lists.encode(script_texts()), strings.encode(script_texts()), strict=True):
        assert a.tolist() == b.tolist()


def test_an_empty_name_is_refused_and_does_not_mean_the_working_directory():
    with pytest.raises(ValueError, match="an empty name"):
        read_spec("")
