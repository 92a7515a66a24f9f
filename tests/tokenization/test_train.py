"""Training tokenizers: the library's own result where it has one, and laws where it has none."""

import json
import warnings

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from trained_vocabularies import fiction, mixture, script_lines, small

from tokenry.core.pretokens import count_pretokens
from tokenry.core.vocab import Kind, Vocab, check_vocab
from tokenry.tokenization.train import METASPACE_PATTERNS, train


def _library_byte_level(texts: list[str], size: int, specials: list[str]) -> dict:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=2,
        special_tokens=specials,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return json.loads(tokenizer.to_str())["model"]


def _no_metaspace() -> list[str]:
    """Texts without "▁", which metaspace spelling turns into a space."""
    return [text for text in script_lines() if "▁" not in text]


def test_byte_level_bpe_has_the_ids_and_merges_of_the_library():
    texts = fiction() + script_lines()
    ours = train(texts, size=1500, pattern="gpt2", specials=["<|endoftext|>", "<pad>"]).spec["model"]
    theirs = _library_byte_level(texts, 1500, ["<|endoftext|>", "<pad>"])
    assert ours["vocab"] == theirs["vocab"]
    assert ours["merges"] == theirs["merges"]


def test_a_special_token_written_out_in_the_text_is_never_a_merge():
    texts = ["<s> a <s> b"] * 30
    vocab = train(texts, size=258, pattern=r"\S+|\s+", specials={"bos": "<s>"})
    assert all(vocab.kinds[i] == Kind.NORMAL for i in vocab.merges.ravel())
    check_vocab(vocab, texts)


@pytest.mark.parametrize("style", ["byte-level", "metaspace"])
def test_trained_vocabularies_keep_their_laws_and_their_size(style):
    vocab = small(style)
    assert vocab.size == 700
    assert vocab.family == style
    check_vocab(vocab, fiction()[:20] + script_lines())
    for text in [*fiction()[:20], *_no_metaspace(), "\n\t tabs\r\n", "  two  spaces "]:
        assert vocab.decode(vocab.encode([text])[0]) == text
    for i in range(len(vocab.merges)):
        result = int(vocab.merges[i, 2])
        assert vocab.decompose(vocab.tokens[result]) == [result]


def test_no_metaspace_token_holds_two_digits_or_a_space_after_a_letter():
    vocab = small("metaspace")
    for token in (t for t in vocab.tokens if t and len(t) > 1):
        assert sum(48 <= byte < 58 for byte in token) < 2
        assert b" " not in token.lstrip(b" ")
        assert b"\n" not in token


def test_numbers_become_tokens_where_asked():
    texts = ["in 1984 and 1984 or 2024"] * 5
    runs = train(texts, size=286, style="metaspace", pattern="words", min_count=1)
    assert any(token and token.endswith(b"1984") for token in runs.tokens)


def test_the_same_text_gives_the_same_tokenizer():
    for options in ({"size": 500}, {"size": 500, "style": "metaspace"}, {"size": 400, "kind": "wordpiece"}):
        assert train(fiction(60), **options).fingerprint == train(fiction(60), **options).fingerprint


def test_a_longest_token_is_inclusive():
    vocab = train(fiction(60), size=600, max_length=3)
    assert max(len(token) for token in vocab.tokens if token) == 3


def _merged(entries: list[str]) -> list[str]:
    return [entry for entry in entries if len(entry.removeprefix("##")) > 1 and not entry.startswith("[")]


def test_wordpiece_learns_what_the_library_learns_where_no_tie_is_broken_at_random():
    texts = ["ab abc xy xyz"] * 2 + ["ab"] * 3 + ["abc"] + ["xy"] * 8
    ours = train(texts, size=15, kind="wordpiece", min_count=1)
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=60, special_tokens=["[PAD]", "[UNK]"], show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    theirs = sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().get)
    found = _merged([ours.literal(i) for i in range(ours.size)])
    assert found == _merged(theirs) == ["xy", "ab", "abc", "xyz"]


@pytest.mark.parametrize("kind", ["unigram", "wordpiece"])
def test_unigram_and_wordpiece_open_and_encode(kind):
    vocab = train(fiction(100), size=400, kind=kind)
    assert vocab.family == kind
    assert vocab.size <= 400
    check_vocab(vocab, fiction()[:10])
    if kind == "wordpiece":
        ids = vocab.backend.encode("Hello there").ids
        assert [ids[0], ids[-1]] == [vocab.specials["cls"], vocab.specials["sep"]]


def test_bytes_and_characters_need_no_merges():
    plain = train(["any"], kind="byte")
    assert plain.size == 256 + 4
    assert len(plain.merges) == 0
    characters = train(script_lines(), size=300, kind="character")
    assert characters.size == 300
    assert len(characters.merges) == 0
    for text in _no_metaspace():
        assert characters.decode(characters.encode([text])[0]) == text


def test_a_counted_table_trains_the_same_as_its_text():
    vocab = small()
    table = count_pretokens(fiction(), vocab)
    assert train(table, size=700).fingerprint == vocab.fingerprint
    with pytest.raises(ValueError, match="another normaliser"):
        train(table, size=700, pattern="gpt2")


@pytest.mark.parametrize("style", ["byte-level", "metaspace"])
def test_training_like_a_vocabulary_on_its_text_gives_it_back(style):
    vocab = small(style)
    again = train(fiction(), size=700, like=vocab)
    assert again.spec["model"]["vocab"] == vocab.spec["model"]["vocab"]
    assert again.spec["model"]["merges"] == vocab.spec["model"]["merges"]
    assert again.specials == vocab.specials


def test_a_template_keeps_its_special_tokens_under_their_new_ids():
    bert = train(fiction(60), size=300, kind="wordpiece")
    moved = train(fiction(60), size=260, like=bert)
    ids = moved.backend.encode("Hello").ids
    assert [moved.literal(ids[0]), moved.literal(ids[-1])] == ["[CLS]", "[SEP]"]


def test_text_with_too_little_to_learn_warns_and_gives_less():
    with pytest.warns(UserWarning, match="nothing more to learn"):
        assert train(["one two two"], size=400).size < 400
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(["one two two"], kind="byte", size=400)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"size": 400, "kind": "bpee"}, "Did you mean 'bpe'"),
        ({"size": 400, "style": "bytelevel"}, "byte-level"),
        ({"size": 400, "pattern": "gtp2"}, "gpt2"),
        ({"size": 400, "style": "metaspace", "pattern": "digit"}, "digits"),
        ({"size": 100}, "does not hold"),
        ({}, "size is missing"),
        ({"size": 400, "specials": {"boss": "<s>"}}, "no role"),
        ({"size": 400, "specials": "<s>"}, "list of tokens"),
        ({"size": 400, "kind": "unigram", "specials": ["<s>"]}, "unknown token"),
        ({"size": 4, "kind": "unigram"}, "nothing but"),
    ],
)
def test_bad_arguments_are_refused_with_a_way_out(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        train(fiction(5), **options)


def test_metaspace_patterns_cover_every_text():
    import regex

    for pattern in METASPACE_PATTERNS.values():
        for text in script_lines():
            text = "▁" + text.replace(" ", "▁")
            assert "".join(regex.findall(pattern, text)) == text


@pytest.mark.slow  # imports transformers
@pytest.mark.parametrize("options", [{}, {"style": "metaspace"}, {"kind": "unigram"}, {"kind": "wordpiece"}])
def test_a_written_tokenizer_opens_in_autotokenizer_and_encodes_alike(options, tmp_path):
    from transformers import AutoTokenizer

    vocab = train(fiction(100), size=500, **options)
    vocab.to_hf(tmp_path)
    opened = AutoTokenizer.from_pretrained(tmp_path)
    assert len(opened) == vocab.size
    for text, ids in zip(fiction()[:10], vocab.encode(fiction()[:10]), strict=True):
        assert opened(text, add_special_tokens=False)["input_ids"] == ids.tolist()
    for role, i in vocab.specials.items():
        assert getattr(opened, f"{role}_token_id") == i


@pytest.mark.slow  # six real tokenizers
@pytest.mark.parametrize("source", ["gpt2", "mistral/tokenizer.model.v1.xz", "qwen2.5", "claude", "deepseek-v3",
                                    "mistral/tekken_240911.json.xz"])  # fmt: skip
def test_training_like_real_tokenizers_keeps_all_but_what_is_learned(source, shared_data):
    like, texts = Vocab.open(shared_data / "tokenizers" / source), mixture(shared_data, "tr", 500)
    size = 3000 + len(like.spec["added_tokens"])
    vocab = train(texts, size=size, like=like)
    assert vocab.size == size
    assert vocab.family == like.family
    assert set(vocab.specials) == set(like.specials)
    assert all(vocab.literal(vocab.specials[role]) == like.literal(i) for role, i in like.specials.items())
    assert {token["content"] for token in like.spec["added_tokens"]} <= {
        t["content"] for t in vocab.spec["added_tokens"]
    }
    check_vocab(vocab, texts[:40])
    theirs = [like.decode(ids) for ids in like.encode(texts[:40])]
    assert [vocab.decode(ids) for ids in vocab.encode(texts[:40])] == theirs
    assert np.mean([len(ids) for ids in vocab.encode(texts)]) < np.mean([len(text.encode()) for text in texts]) / 3
