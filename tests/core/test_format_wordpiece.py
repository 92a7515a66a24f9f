import pytest
from sample_texts import script_texts
from tokenizers.implementations import BertWordPieceTokenizer

from tokenry.core.format_wordpiece import spec_from_wordpiece
from tokenry.core.vocab import Kind, Vocab, check_vocab


def write_vocab(folder, *, lowercase: bool, config: str = "") -> BertWordPieceTokenizer:
    trained = BertWordPieceTokenizer(lowercase=lowercase)
    trained.train_from_iterator(script_texts(), vocab_size=900, show_progress=False)
    trained.save_model(str(folder))
    if config:
        (folder / "tokenizer_config.json").write_text(config)
    return BertWordPieceTokenizer(str(folder / "vocab.txt"), lowercase=lowercase)


@pytest.mark.parametrize(
    ("lowercase", "config"),
    [(True, ""), (True, '{"do_lower_case": true}'), (False, ""), (False, '{"do_lower_case": false}')],
)
def test_a_vocab_txt_encodes_as_the_library(lowercase, config, tmp_path):
    native, vocab = write_vocab(tmp_path, lowercase=lowercase, config=config), Vocab.open(tmp_path / "vocab.txt")
    for text, ids in zip(script_texts(), vocab.encode(script_texts()), strict=True):
        assert ids.tolist() == native.encode(text, add_special_tokens=False).ids, text[:80]
        assert vocab.backend.encode(text).ids == native.encode(text).ids
    assert vocab.backend.encode("a", "b").type_ids == native.encode("a", "b").type_ids
    check_vocab(vocab, script_texts())


def test_word_starts_carry_their_space_and_continuations_do_not(tmp_path):
    write_vocab(tmp_path, lowercase=True)
    vocab = Vocab.open(tmp_path)
    ids = {vocab.literal(i): i for i in range(vocab.size)}
    assert vocab.tokens[ids["a"]] == b" a"
    assert vocab.tokens[ids["##a"]] == b"a"
    assert vocab.tokens[ids["[CLS]"]] is None
    assert vocab.specials == {name.lower(): ids[f"[{name.upper()}]"] for name in ("unk", "sep", "pad", "cls", "mask")}
    assert vocab.decompose(b" aa") == [i for i in vocab.decompose(b" aa") if vocab.kinds[i] == Kind.NORMAL]
    assert vocab.decode_bytes(vocab.decompose(b" uber mass")) == b" uber mass"


def test_reserved_entries_are_unused():
    lines = "[PAD]\n[UNK]\n[unused1]\ndog\n##s\n"
    vocab = Vocab.from_spec(*spec_from_wordpiece(lines.encode(), "vocab.txt"))
    assert vocab.kinds.tolist() == [Kind.SPECIAL, Kind.SPECIAL, Kind.UNUSED, Kind.NORMAL, Kind.NORMAL]


@pytest.mark.parametrize(
    ("data", "sentence"),
    [(b"a\nb\n", "no unknown token"), (b"[UNK]\na\na\n", "'a' twice"), (b"\xff\xfe\n", "not UTF-8 text")],
)
def test_what_is_not_a_wordpiece_vocabulary_is_refused(data, sentence):
    with pytest.raises(ValueError, match=sentence):
        spec_from_wordpiece(data, "vocab.txt")
