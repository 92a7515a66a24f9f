"""Tokens of several words: what they may hold, that plain files encode them, and that words stay alignable."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from trained_vocabularies import fiction, script_lines

from tokenry.core.cutters import Cutter
from tokenry.core.patterns import PATTERNS, known
from tokenry.core.vocab import Vocab, check_vocab
from tokenry.tokenization import plans, training
from tokenry.tokenization.boundaries import Boundary
from tokenry.tokenization.extension_report import unreachable
from tokenry.tokenization.supertoken_report import supertoken_report
from tokenry.tokenization.supertokens import train_supertokens, without_superwords, word_spans
from tokenry.tokenization.train import METASPACE_PATTERNS
from tokenry.tokenization.walls import with_walls

ROLES = {"bos": "<s>", "unk": "<unk>"}
BYTES = plans.plan_byte_level(ROLES, known("cl100k"), merges=True)
SPACED = plans.plan_metaspace(ROLES, METASPACE_PATTERNS["digits"], merges=True)
BOUNDARIES = ["stochastic", "whitespace:0.3", "superword:0.75"]
TRICKY = [
    "x = 12345;\n\n\tif (a != b) {\n    return 'it''s';\n}",
    "  two  spaces \n end.\n",
    "it's I'LL 3.14159",
    "e\u0301",
]


def _plain(plan: plans.Plan, texts: list[str], size: int) -> Vocab:
    return training.by_merges(plan, texts, size=size, min_count=2, max_length=0, reading={})


def _superword(**options: object) -> Boundary:
    return Boundary("superword", sampler="superword", options=options)


def _words(vocab: Vocab) -> np.ndarray:
    return np.array([len(token.split()) if token else 0 for token in vocab.tokens])


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("plan", [BYTES, SPACED], ids=["byte-level", "metaspace"])
def test_it_has_the_size_asked_tokens_of_several_words_and_no_unreachable_one(plan, boundary):
    vocab = train_supertokens(plan, fiction(150), size=900, boundary=boundary)
    assert vocab.size == 900
    assert 1 < _words(vocab).max() <= 4
    assert not unreachable(vocab)
    check_vocab(vocab, [*fiction(20), *TRICKY, *script_lines()])


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_a_plain_file_encodes_the_same_without_us(boundary, tmp_path):
    vocab = train_supertokens(BYTES, fiction(60), size=600, boundary=boundary)
    vocab.to_hf(tmp_path)
    library = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    for text in [*fiction(20), *TRICKY, *script_lines()]:
        ids = library.encode(text, add_special_tokens=False).ids
        assert ids == vocab.encode([text])[0].tolist()
        assert library.decode(ids, skip_special_tokens=False) == text


@settings(max_examples=60)
@given(text=st.text(max_size=200))
def test_any_text_comes_back(text):
    for boundary in BOUNDARIES:
        vocab = _trained(boundary)
        assert vocab.decode_bytes(vocab.encode([text])[0]) == text.encode("utf-8", "replace")


_HELD: dict[str, Vocab] = {}


def _trained(boundary: str) -> Vocab:
    if boundary not in _HELD:
        _HELD[boundary] = train_supertokens(BYTES, fiction(60), size=600, boundary=boundary)
    return _HELD[boundary]


def test_one_huge_chunk_is_bpe_without_a_pretokeniser():
    options = {"histogram": [(10**6, 10**6, 1.0)], "max_words": 0, "walls": "none"}
    chunks = train_supertokens(
        BYTES, fiction(40), size=700, boundary=Boundary("all", sampler="stochastic", options=options)
    )
    whole = plans.plan_byte_level(ROLES, (r"[\s\S]+",), merges=True)
    assert chunks.spec["model"]["merges"] == _plain(whole, fiction(40), 700).spec["model"]["merges"]


def test_a_wall_at_every_space_is_ordinary_bpe_with_these_walls():
    """p=1 cuts before every run of spaces: the pattern that does so, trained plainly, learns the same."""
    texts = [" ".join(text.split()) for text in fiction(60)]
    options = {"p": 1.0, "walls": "lines", "max_words": 0}
    cut = train_supertokens(BYTES, texts, size=700, boundary=Boundary("w", sampler="whitespace", options=options))
    plan = plans.plan_byte_level(ROLES, (r" ?[^ ]+| ",), merges=True)
    assert cut.spec["model"]["merges"] == _plain(plan, texts, 700).spec["model"]["merges"]


def test_chunks_that_end_where_words_end_are_ordinary_bpe(monkeypatch):
    """The card's oracle: with cuts exactly at the places the pattern cuts, ordinary BPE comes out."""
    from tokenry.tokenization import chunks

    words = Cutter({**BYTES.spec})
    monkeypatch.setattr(chunks.Chopper, "__call__", lambda self, text: words(text))
    vocab = train_supertokens(BYTES, fiction(60), size=700, boundary="stochastic")
    assert vocab.spec["model"]["merges"] == _plain(BYTES, fiction(60), 700).spec["model"]["merges"]


@pytest.mark.parametrize("plan", [BYTES, SPACED], ids=["byte-level", "metaspace"])
def test_the_first_stage_of_superwords_is_the_plain_tokenizer_and_can_be_had_back(plan, tmp_path):
    vocab = train_supertokens(plan, fiction(100), size=1000, boundary="superword:0.6")
    plain = _plain(plan, fiction(100), 600)
    assert vocab.spec["model"]["merges"][: len(plain.merges)] == plain.spec["model"]["merges"]
    vocab.to_hf(tmp_path)
    for opened in (vocab, Vocab.open(tmp_path)):
        words = without_superwords(opened)
        assert words.spec["model"] == plain.spec["model"]
        for text in [*fiction(20), *TRICKY, *script_lines()]:
            assert words.encode([text])[0].tolist() == plain.encode([text])[0].tolist()
    with pytest.raises(ValueError, match="first stage"):
        without_superwords(plain)


@pytest.mark.parametrize("most", [1, 2, 3])
def test_no_token_holds_more_words_or_characters_than_asked_nor_a_forbidden_mark(most):
    vocab = train_supertokens(BYTES, fiction(100), size=900, boundary=_superword(max_words=most, forbid=",;"))
    plain = _plain(BYTES, fiction(100), 675)
    assert _words(vocab).max() == most
    learned = vocab.tokens[plain.size :]
    assert learned
    assert not any(b"," in token or b";" in token for token in learned)
    short = train_supertokens(BYTES, fiction(100), size=900, boundary=_superword(max_characters=9))
    assert max(len(token.decode("utf-8", "replace")) for token in short.tokens[plain.size :]) == 9


def test_a_limit_of_characters_counts_characters_and_not_bytes():
    texts = ["北京大学的学生们在北京大学学习"] * 6
    options = {"max_characters": 4, "max_words": 0, "stage": 0.87}
    vocab = train_supertokens(BYTES, texts, size=300, boundary=_superword(**options))
    starts = [sum(byte & 0xC0 != 0x80 for byte in token or b"") for token in vocab.tokens]
    assert max(starts) == 4
    assert max(len(token or b"") for token in vocab.tokens) > 4


@pytest.mark.parametrize("name", ["gpt2", "cl100k", "o200k", "qwen2", "deepseek3", "tekken"])
def test_walls_never_cut_what_the_pattern_of_words_keeps_whole(name):
    """Else a token of the first stage could become unusable. A cut of the walls must be a cut of the words."""
    plan = plans.plan_byte_level(ROLES, known(name), merges=True)
    wide = Cutter({**plan.spec, "pre_tokenizer": with_walls(plan.spec["pre_tokenizer"], "superword")})
    narrow = Cutter(plan.spec)
    for text in [*fiction(60), *TRICKY, *script_lines(), "f(x)...\n\n  g: 'h'\r\n--/n", "12 345,678. 9\n"]:
        ends = [set(np.cumsum([len(piece) for piece in cut(text)]).tolist()) for cut in (wide, narrow)]
        assert ends[0] <= ends[1], text
    assert any(len(piece.split("Ġ")) > 4 for piece in wide(fiction(5)[1]))
    assert PATTERNS


def test_the_same_seed_gives_the_same_tokens_in_any_order_and_another_seed_others():
    texts = fiction(60)
    one = train_supertokens(BYTES, texts, size=600, boundary="stochastic")
    assert train_supertokens(BYTES, texts[::-1], size=600, boundary="stochastic").spec == one.spec
    other = Boundary("s", sampler="stochastic", options={"seed": 1})
    assert train_supertokens(BYTES, texts, size=600, boundary=other).spec != one.spec


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_every_word_is_found_in_its_tokens_and_every_token_in_words(boundary):
    vocab = _trained(boundary)
    for text in [*fiction(15), *TRICKY, *script_lines()]:
        spans, ids = word_spans(vocab, text), vocab.encode([text])[0]
        covered = {k for span in spans for k in range(span.first, span.last + 1)}
        for span in spans:
            spelled = vocab.decode_bytes(ids[span.first : span.last + 1])
            assert text[span.start : span.end].encode() in spelled
            neighbours = {s for s in spans if s is not span and s.first <= span.last and span.first <= s.last}
            assert span.shared == bool(neighbours)
        for k, i in enumerate(ids.tolist()):
            assert k in covered or not any(c.isalnum() for c in (vocab.tokens[i] or b"").decode("utf-8", "ignore"))


def test_superwords_save_tokens_on_held_out_text_and_the_report_says_how_many():
    """Plain BPE against SuperBPE at 3,000 entries, trained on nine tenths of the fiction; 58 held-out documents.
    Measured
    when written: 10 % fewer tokens; the lower end of the interval must stay above half of that."""
    held, learn = fiction(578)[::10], [text for i, text in enumerate(fiction(578)) if i % 10]
    plain = _plain(BYTES, learn, 3000)
    vocab = train_supertokens(BYTES, learn, size=3000, boundary="superword:0.5")
    report = supertoken_report(vocab, plain, {"held-out": held, "code": TRICKY})
    facts = report.facts
    assert facts["held-out.tokens_saved_share"].low > 0.05
    n_bytes = sum(len(text.encode()) for text in held)
    assert facts["held-out.bytes_per_token"].value == pytest.approx(n_bytes / sum(map(len, vocab.encode(held))))
    assert facts["held-out.round_trip_failures"] == facts["unreachable"] == 0
    assert report.tables["superwords"].num_rows > 100
    # The card's law: on the training text superwords never need more tokens than plain BPE of the same size.
    assert sum(map(len, vocab.encode(learn))) <= sum(map(len, plain.encode(learn)))


@pytest.mark.parametrize(
    ("boundary", "sentence"),
    [
        ("characters", "acts on words"),
        (Boundary("x", sampler="superword", options={"max_word": 3}), "max_words"),
        (Boundary("x", sampler="whitespace", options={"p": 2.0}), "need 0 to 1"),
        (Boundary("x", sampler="stochastic", options={"histogram": [(5, 4, 1.0)]}), "from <= to"),
        (Boundary("x", sampler="stochastic", options={"histogram": "nowhere.txt"}), "no histogram"),
        (Boundary("x", sampler="stochastic", options={"walls": "fences"}), "walls"),
    ],
)
def test_a_wrong_boundary_is_refused_with_a_way_out(boundary, sentence):
    with pytest.raises((ValueError, FileNotFoundError), match=sentence):
        train_supertokens(BYTES, fiction(5), size=400, boundary=boundary)


def test_counted_words_and_sizes_that_differ_are_refused():
    from tokenry.core.pretokens import count_pretokens

    table = count_pretokens(fiction(5), BYTES.spec)
    for boundary in BOUNDARIES:
        with pytest.raises(ValueError, match="text itself"):
            train_supertokens(BYTES, table, size=400, boundary=boundary)
    with pytest.raises(ValueError, match="one size"):
        supertoken_report(_trained("stochastic"), _plain(BYTES, fiction(5), 300), {"a": ["b"]})


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_the_verb_writes_a_folder_whose_tokens_span_words(boundary, tmp_path):
    from tokenry.cli import main

    text = tmp_path / "text.jsonl"
    text.write_text("".join(json.dumps({"text": line}) + "\n" for line in fiction(60)), encoding="utf-8")
    command = ["tokenizer", "train", "--data", str(text), "--size", "600", "--boundary", boundary, "--quiet", "--out"]
    with pytest.raises(SystemExit) as stop:
        main([*command, str(tmp_path / "tok")])
    assert not stop.value.code
    vocab = Vocab.open(tmp_path / "tok")
    assert vocab.size == 600
    assert (_words(vocab) > 1).sum() > 10


@pytest.mark.slow  # imports transformers
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_it_opens_in_autotokenizer_with_its_ids(boundary, tmp_path):
    from transformers import AutoTokenizer

    vocab = _trained(boundary)
    vocab.to_hf(tmp_path)
    opened = AutoTokenizer.from_pretrained(tmp_path)
    for text in [*fiction(20), *TRICKY, *script_lines()]:
        ids = opened(text, add_special_tokens=False)["input_ids"]
        assert ids == vocab.encode([text])[0].tolist()
        assert opened.decode(ids, clean_up_tokenization_spaces=False) == text
