"""Recipes: exact sizes, padding, lower case, normalisers, digits, character families, and the domain effect."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trained_vocabularies import fiction, script_lines, small

from tokenry.core.intervals import ratio_change_interval
from tokenry.core.pretokens import count_pretokens
from tokenry.core.vocab import Kind, check_vocab
from tokenry.tokenization.composing import Recipe, compose, padded_size, whitespace_runs
from tokenry.tokenization.ensured import Terms
from tokenry.tokenization.train import train

# The library's Unigram trainer takes a second or two on a busy core, so most of its cases run with the slow tests.
UNIGRAM = pytest.param({"kind": "unigram"}, marks=pytest.mark.slow)


@pytest.mark.parametrize("pad_with", ["reserved", "merges", "whitespace"])
@pytest.mark.parametrize("kind", ["bpe", "wordpiece", pytest.param("unigram", marks=pytest.mark.slow)])
def test_padding_reaches_the_rounded_size_with_ids_without_a_hole(kind, pad_with):
    made = compose(fiction(100), Recipe(size=600, kind=kind, pad_to=64, pad_with=pad_with))
    assert made.vocab.size == 640
    assert not (made.vocab.kinds == Kind.UNUSED).any()
    assert made.n_padding == (0 if pad_with == "merges" else 40)
    ids = {token["id"] for token in made.vocab.spec["added_tokens"]}
    assert len(ids) == (5 if kind == "wordpiece" else 4) + made.n_padding
    check_vocab(made.vocab, fiction(5))
    if pad_with == "reserved":
        assert made.vocab.literal(639) == "<|reserved_39|>"


def test_padding_fills_what_the_text_is_too_small_for():
    made = compose(["one two two"] * 3, Recipe(size=400, pad_to="pow2"))
    assert made.vocab.size == 512
    assert made.vocab.literal(511).startswith("<|reserved_")


def test_rounded_sizes():
    assert [padded_size(n, "pow2") for n in (1, 2, 3, 131_072, 131_073)] == [1, 2, 4, 131_072, 262_144]
    assert [padded_size(n, "64") for n in (64, 65)] == [64, 128]
    assert len(set(whitespace_runs(50))) == 50
    for wrong in ("pow3", 0, "-1"):
        with pytest.raises(ValueError, match="pow2 or a number"):
            padded_size(10, wrong)


@pytest.mark.parametrize("options", [{}, {"style": "metaspace"}, UNIGRAM, {"kind": "wordpiece"}])
def test_an_uncased_tokenizer_knows_no_capitals(options):
    vocab = compose(fiction(100), Recipe(size=500, lowercase=True, **options)).vocab
    marks = vocab.special_ids
    for i, token in enumerate(vocab.tokens):
        if i not in marks and token and vocab.kinds[i] == Kind.NORMAL and len(token) > 1:
            assert token.decode(errors="replace").lower() == token.decode(errors="replace")
    for text in ("Hello THERE", "ÜBER É"):
        same = [vocab.encode([form])[0].tolist() for form in (text, text.lower())]
        assert same[0] == same[1]


def test_unicode_forms_are_as_asked():
    shown = {}
    for form in (None, "nfc", "nfkc", "none"):
        vocab = compose(script_lines(), Recipe(size=600, normalizer=form)).vocab
        shown[form] = vocab.decode(vocab.encode(["ﬁne e\u0301 x²"])[0])
    assert shown[None] == shown["none"] == "ﬁne e\u0301 x²"
    assert shown["nfc"] == "ﬁne \u00e9 x²"
    assert shown["nfkc"] == "fine \u00e9 x2"
    with pytest.raises(ValueError, match="nfc, nfkc, none"):
        compose(fiction(5), Recipe(size=400, normalizer="nfd"))


@pytest.mark.parametrize("options", [{"pattern": "gpt2"}, {"pattern": "qwen2"}, {"style": "metaspace"}, UNIGRAM])
@pytest.mark.parametrize(
    ("policy", "groups"),
    [("r2l", "1 234 567"), ("l2r", "123 456 7"), ("single", "1 2 3 4 5 6 7"), ("r2l2", "1 23 45 67"), ("free", None)],
)
def test_digit_policies_hold_in_training_and_in_the_file(policy, groups, options):
    texts = [*fiction(60), *["for 1234567 or 123 456 234 567 12 23 45 67 and 1234567"] * 40]
    vocab = train(texts, size=1100, boundary=f"digits:{policy}", **options)
    pieces = [vocab.tokens[i].decode().strip() for i in vocab.encode(["for 1234567 and"])[0]]
    numbers = [piece for piece in pieces if piece.isdigit()]
    if groups is None:
        assert len(numbers) < 3 or options.get("kind") == "unigram"
        return
    # A group is never joined with its neighbour; whether it is one token is for the text to decide.
    ends = {sum(map(len, groups.split()[:i])) for i in range(1, len(groups.split()) + 1)}
    reached = {sum(map(len, numbers[:i])) for i in range(1, len(numbers) + 1)}
    assert ends <= reached
    if options.get("kind") != "unigram":
        assert numbers == groups.split()
    assert vocab.decode(vocab.encode(["for 1234567 and"])[0]) == "for 1234567 and"


@given(st.integers(1, 4))
@settings(max_examples=4)
def test_a_cap_in_characters_is_inclusive_in_any_script(cap):
    vocab = compose(script_lines(), Recipe(size=1200, max_characters=cap, min_count=1)).vocab
    sizes = []
    for token in (token for token in vocab.tokens if token):
        characters = sum(byte & 0xC0 != 0x80 for byte in token)  # first bytes only
        sizes.append(characters)
    assert max(sizes) == cap
    wide = [token for token in vocab.tokens if token and len(token) > cap]
    assert wide  # outside Latin a character takes several bytes
    assert max(len(t) for t in compose(fiction(60), Recipe(size=400, max_length=cap)).vocab.tokens if t) == cap


def test_the_character_family_keeps_its_boundaries_under_ocr_errors_where_the_large_one_does_not():
    from tokenry.tokenization.noise import noisy_pairs, stability

    texts, other = fiction(300), fiction(330)[300:]
    large = train(texts, size=4096, pattern="gpt2")
    chars = compose(texts, Recipe(size=1024, pattern="gpt2", normalizer="nfkc", max_characters=3)).vocab
    pairs = noisy_pairs(other, rate=0.05, seed=1)
    lost, recut = {}, {}
    for name, vocab in (("large", large), ("chars", chars)):
        found = stability(vocab, pairs)
        lost[name] = 1 - 2 * found.kept.sum() / (found.clean.sum() + found.noisy.sum())
        recut[name] = found.recut.sum() / found.edits.sum()
    # An edit re-cuts the token it hits and what leans on it: at most 3 characters a piece, or up to whole words.
    # English words have some 4.5 letters, so two thirds is the least to expect; boundaries lost fall as much.
    assert recut["chars"] < 0.75 * recut["large"]
    assert lost["chars"] < 0.67 * lost["large"]


def test_a_domain_tokenizer_beats_a_general_one_on_its_domain_and_loses_outside(shared_data):
    """Card 09's demonstration: equal size, other filings than those trained on, paired intervals over documents."""
    import json
    import lzma

    with lzma.open(shared_data / "finance-edgar" / "filings.jsonl.xz", "rt", encoding="utf-8") as lines:
        filings = [json.loads(line)["text"] for line in lines]
    parts = [[text[i : i + 4000] for i in range(0, len(text), 4000)] for text in filings]
    learned = [part for many in parts[:6] for part in many][:120]
    held = [part for many in parts[7:9] for part in many][:60]
    story, other_story = fiction(700)[:500], fiction(700)[500:]
    domain, general = (train(texts, size=2000, pattern="gpt2") for texts in (learned, story))

    def change(texts):
        tokens = [[len(ids) for ids in vocab.encode(texts)] for vocab in (general, domain)]
        sizes = [len(text.encode()) for text in texts]
        return ratio_change_interval((sizes, tokens[0]), (sizes, tokens[1]))

    assert change(held).low > 0  # bytes per token gained
    assert change(other_story).high < 0


def test_a_counted_table_serves_every_trainer():
    for kind in ("bpe", "wordpiece"):
        plain = train(fiction(60), size=400, kind=kind)
        table = count_pretokens(fiction(60), plain)
        assert train(table, size=400, kind=kind).fingerprint == plain.fingerprint


@pytest.mark.parametrize(
    ("recipe", "sentence"),
    [
        (Recipe(size=400, pad_with="zeros"), "reserved, merges, whitespace"),
        (Recipe(size=400, kind="wordpiece", max_characters=3), "no length limit"),
        (Recipe(size=400, kind="byte", boundaries=("characters",)), "nothing to act on"),
        (Recipe(size=400, max_characters=3, max_length=3), "same thing"),
        (Recipe(size=400, boundaries=("digits:free", "digits:r2l")), "contradict"),
        (Recipe(size=400, kind="least-effort", lowercase=True), "lowercase"),
        (Recipe(size=400, kind="least-effort", min_count=3), "min_count"),
        (Recipe(kind="unicode"), "size is missing"),
    ],
)
def test_choices_that_do_not_go_together_are_refused(recipe, sentence):
    with pytest.raises(ValueError, match=sentence):
        compose(fiction(5), recipe)


def test_limits_are_refused_for_a_vocabulary_like_one_that_has_none():
    like = train(fiction(20), size=200, kind="wordpiece")
    with pytest.raises(ValueError, match="no length limit"):
        compose(fiction(20), Recipe(size=200, like=like, max_characters=3))


def test_a_run_goes_on_from_the_state_of_a_shorter_one(tmp_path):
    compose(fiction(), Recipe(size=500, state=tmp_path))
    assert any(tmp_path.iterdir())
    assert compose(fiction(), Recipe(size=700, state=tmp_path)).vocab.fingerprint == small().fingerprint
    with pytest.raises(ValueError, match="no state"):
        compose(fiction(5), Recipe(size=400, kind="unigram", state=tmp_path))


def test_plain_choices_are_plain_training():
    assert compose(fiction(), Recipe(size=700)).vocab.fingerprint == small().fingerprint


@pytest.mark.slow  # imports transformers
@pytest.mark.parametrize(
    "options",
    [
        {
            "pattern": "gpt2",
            "boundaries": ("digits:r2l",),
            "terms": Terms(("certiorari", "New York"), "both"),
            "pad_to": 64,
        },
        {"terms": Terms(("certiorari", "whale"), "whole-words"), "lowercase": True, "normalizer": "nfkc"},
        {"style": "metaspace", "boundaries": ("digits:single", "characters"), "size": 380},
        {"kind": "wordpiece", "terms": Terms(("certiorari",)), "lowercase": True},
    ],
)
def test_a_composed_tokenizer_opens_in_autotokenizer_and_encodes_alike(options, tmp_path):
    from transformers import AutoTokenizer

    vocab = compose(fiction(100), Recipe(**{"size": 600, **options})).vocab
    vocab.to_hf(tmp_path)
    opened = AutoTokenizer.from_pretrained(tmp_path)
    assert len(opened) == vocab.size
    for text in [*fiction(5), "a certiorari of 1234567 Whales in New York, 3.14159"]:
        assert opened(text, add_special_tokens=False)["input_ids"] == vocab.encode([text])[0].tolist()
