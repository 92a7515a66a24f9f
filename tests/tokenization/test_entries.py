"""Classes and scripts partition a vocabulary; unreachable entries are exactly those that no text yields."""

from collections import Counter
from itertools import product

import pytest
from audited_tokenizers import MAKERS, byte_level, made_documents, sentencepiece
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from tokenry.core.patterns import known
from tokenry.core.vocab import Vocab
from tokenry.tokenization import entries as module
from tokenry.tokenization.counting import count
from tokenry.tokenization.entries import CLASSES, entry_classes, entry_scripts, is_space, shown, unreachable_entries


def _made(entries: list[str], merges: list[tuple[str, str]], *, normalizer=None, pre_tokenizer=None) -> Vocab:
    tokenizer = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(entries)}, merges=merges))
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizer or pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return Vocab.open(tokenizer)


@pytest.mark.parametrize("family", list(MAKERS))
def test_every_id_has_one_class_and_one_script(family):
    vocab = MAKERS[family]()
    assert len(entry_classes(vocab)) == len(entry_scripts(vocab)) == vocab.size
    assert set(entry_classes(vocab)) <= set(CLASSES)


def test_classes_of_known_entries():
    entries = ["Ġ", "a", "7", "Ã", "Ãķ", "Ġab", "Ġ12", "ab", "a1", "ÐŁÐ", "ĠÐĴÑĭ", "Ã±"]
    vocab = _made(entries, [])
    expected = {
        "Ġ": "character, other",
        "a": "character, letter",
        "7": "character, other",
        "Ã": "byte",
        "Ãķ": "character, letter",
        "Ġab": "word start, letters",
        "Ġ12": "word start, other",
        "ab": "inner, letters",
        "a1": "inner, other",
        "ÐŁÐ": "fragment",
        "ĠÐĴÑĭ": "word start, letters",
        "Ã±": "character, letter",
    }
    assert dict(zip(entries, entry_classes(vocab), strict=True)) == expected
    scripts = dict(zip(entries, entry_scripts(vocab), strict=True))
    assert (scripts["ĠÐĴÑĭ"], scripts["Ġ12"], scripts["ÐŁÐ"], scripts["a1"]) == (
        "Cyrillic",
        "Common",
        "Fragment",
        "Latin",
    )


def test_a_made_vocabulary_of_known_composition_is_recovered():
    greek, latin = ["α", "β", "γδ"], ["a", "b", "cd", "ef", "gh"]
    to_stored = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    entries = [to_stored.pre_tokenize_str(text)[0][0] for text in [*greek, *latin, "1", "22", "aβ"]]
    scripts = Counter(entry_scripts(_made(entries, [])))
    assert scripts == {"Greek": 3, "Latin": 5, "Common": 2, "Mixed": 1}


def test_llama_style_byte_pieces_are_counted_exactly():
    classes = Counter(entry_classes(sentencepiece()))
    assert classes["byte"] == 256
    assert classes["special"] == 3
    assert classes["fragment"] == 0, "byte fallback leaves no broken characters in a vocabulary"


def test_unreachable_entries_equal_an_exhaustive_search():
    """All strings over the alphabet up to 5 letters: what never occurs in their encodings is unreachable."""
    entries = ["a", "b", "c", "ab", "bc", "abc", "ca", "cab", "bb", "cc"]
    # "abc" can be made only from ab+c; bc merges first, so "abc" needs b, c apart: never. "cab" = ca+b: ab first.
    merges = [("b", "c"), ("a", "b"), ("ab", "c"), ("c", "a"), ("ca", "b"), ("b", "b")]
    vocab = _made(entries, merges)
    texts = ["".join(letters) for n in range(1, 6) for letters in product("abc", repeat=n)]
    produced = {int(i) for ids in vocab.encode(texts) for i in ids}
    assert set(unreachable_entries(vocab)) == set(range(vocab.size)) - produced
    assert vocab.backend.token_to_id("cc") in unreachable_entries(vocab), "no merge makes it"


def test_entries_the_cut_or_the_normaliser_forbids_are_named_so():
    digits = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    vocab = _made(["1", "2", "12", "x"], [("1", "2")], pre_tokenizer=digits)
    assert unreachable_entries(vocab) == {2: "cut"}
    lower = _made(["A", "a", "b", "ab"], [("a", "b")], normalizer=normalizers.Lowercase())
    assert unreachable_entries(lower) == {0: "cut"}


def test_a_foreign_spelling_is_unreachable_in_byte_level():
    vocab = _made(["a", "я"], [])
    assert unreachable_entries(vocab) == {1: "merges"}


@pytest.mark.parametrize("family", list(MAKERS))
def test_what_occurs_is_reachable(family):
    vocab = MAKERS[family]()
    counts = count(vocab, made_documents(100), words=False, round_trip=False)
    assert not [i for i in unreachable_entries(vocab) if counts.tokens_V[i]]


@pytest.mark.parametrize("family", ["byte-level", "sentencepiece"])
def test_a_vocabulary_made_by_its_own_merges_is_all_reachable(family):
    assert not unreachable_entries(MAKERS[family]())


def test_thai_entries_are_cut_at_their_vowel_signs_by_a_pattern_without_marks():
    """Qwen 2 carries some 1,900 such entries: its pattern knows letters (L) and forgets marks (M)."""
    word = "ที่"  # a letter and two marks
    split = pre_tokenizers.Split(Regex(known("qwen2")[0]), behavior="isolated")
    spell = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = spell
    tokenizer.train_from_iterator([word] * 10, trainers.BpeTrainer(vocab_size=100, show_progress=False))
    whole = tokenizer.encode(word).ids
    assert len(whole) == 1
    assert whole[0] not in unreachable_entries(Vocab.open(tokenizer))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, spell])
    assert unreachable_entries(Vocab.open(tokenizer))[whole[0]] == "cut"


def test_entries_are_shown_readable():
    vocab = byte_level()
    assert shown(vocab, vocab.backend.token_to_id("Ã")) == "\\xc3"
    assert shown(vocab, vocab.backend.token_to_id("<|endoftext|>")) == "<|endoftext|>"
    assert is_space(b" \n")
    assert not is_space(b" a")
    assert not is_space(b"")
    assert not is_space(None)


@pytest.mark.slow  # opens a production vocabulary of 32,000 entries
def test_classes_of_mistral_are_those_published(shared_data):
    """Qtok's table for Mistral: bytes .80, spaced alpha 48.20, inner alpha 37.09 per cent of the vocabulary."""
    vocab = Vocab.open(shared_data / "tokenizers" / "mistral" / "tokenizer.model.v1.xz")
    share = {name: round(100 * n / vocab.size, 2) for name, n in Counter(entry_classes(vocab)).items()}
    assert (share["byte"], share["word start, letters"], share["inner, letters"]) == (0.80, 48.20, 37.09)


@pytest.mark.parametrize("family", list(MAKERS))
def test_our_engine_settles_only_what_the_library_yields_and_changes_no_verdict(family, monkeypatch):
    vocab = MAKERS[family]()
    texts = [text for token in vocab.tokens if (text := token and module._text(token))]
    for at_once in (1, 16):
        whole = ["".join(texts[start : start + at_once]) for start in range(0, len(texts), at_once)]
        yielded = {int(i) for ids in vocab.encode(whole) for i in ids}
        assert set(module._produced(vocab, texts, at_once).nonzero()[0].tolist()) <= yielded
    found = unreachable_entries(vocab)
    monkeypatch.setattr(module, "_produced", lambda vocab, texts, at_once: [False] * vocab.size)
    assert unreachable_entries(vocab) == found


def test_our_engine_settles_far_the_most_of_a_plain_vocabulary():
    vocab = byte_level()
    texts = [text for token in vocab.tokens if (text := token and module._text(token))]
    assert module._produced(vocab, texts, 1).sum() > 0.9 * len(texts)
