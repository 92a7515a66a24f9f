"""A pool of segmenters over one vocabulary: when it is the base, when it is not, and that nothing gets lost."""

import pytest
from concept_samples import DISEASES, DRUGS, base_vocab
from hypothesis import given
from hypothesis import strategies as st

from tokenry.tokenization.concept_rules import Material
from tokenry.tokenization.concept_vocabularies import Choice, build_concepts
from tokenry.tokenization.concepts import TokenizerPool, rolls_back

TEXT = "The patient with nephropathy took Rituximab. NEPHROPATHY was given penicillin, and it's fine."
_TEXTS = st.lists(st.sampled_from([*DRUGS, *DISEASES, "the", "Patient", "given.", "it's", "CT", "12mg",
                                   "café", "\ufb01", "漢字",
                                   "\n", "x" * 120]), max_size=12).map(" ".join)  # fmt: skip


@pytest.fixture(scope="module")
def pool() -> TokenizerPool:
    choice = Choice(sizes={"drug": 60, "disease": 60})
    return build_concepts(base_vocab(), {"drug": DRUGS, "disease": DISEASES}, choice=choice, rule="min_tokens").pool


def _with(pool: TokenizerPool, rule: str, threshold: float | None = 1.0, types: dict | None = None) -> TokenizerPool:
    return TokenizerPool(pool.vocab, pool.base, pool.types if types is None else types, rule, threshold, pool.material)


def _base_ids(pool: TokenizerPool, text: str) -> list[int]:
    return pool.base.backend.encode(text, add_special_tokens=False).ids


@given(text=_TEXTS)
def test_without_pieces_or_with_threshold_zero_it_is_the_base_exactly(pool, text):
    expected = _base_ids(pool, text)
    empty = {name: frozenset() for name in pool.types}
    for other in (_with(pool, "min_tokens", 0.0), _with(pool, "base"), _with(pool, "unigram_loglik", None, empty)):
        made = other.encode(text)
        assert list(made.ids) == expected
        assert set(made.routes) <= {"base"}


@given(text=_TEXTS, rule=st.sampled_from(["min_tokens", "unigram_loglik", "lexicon_match", "entropy_paper"]))
def test_offsets_cover_every_word_and_each_id_spells_its_place(pool, text, rule):
    made = _with(pool, rule, None).encode(text)
    assert made == _with(pool, rule, None).encode(text)
    plain = pool.base.backend.encode(text, add_special_tokens=False)
    covered = lambda offsets: {i for start, end in offsets for i in range(start, end)}  # noqa: E731
    assert covered(made.offsets) == covered(plain.offsets)
    assert all(a[1] <= b[0] for a, b in zip(made.offsets, made.offsets[1:], strict=False) if a != b)
    for i, (start, end), w in zip(made.ids, made.offsets, made.word_ids, strict=True):
        if made.routes[w] != "base":
            assert pool.vocab.literal(i).removeprefix("##") == text[start:end].lower()


@given(text=_TEXTS)
def test_fewest_tokens_are_never_more_than_the_bases(pool, text):
    made = _with(pool, "min_tokens", None).encode(text)
    plain = pool.base.backend.encode(text, add_special_tokens=False)
    assert len(made.ids) <= len(plain.ids)


def test_terms_take_their_type_and_shouted_words_do_not(pool):
    made = pool.encode(TEXT)
    words = {TEXT[a:b] for (a, b), w in zip(made.offsets, made.word_ids, strict=True) if made.routes[w] == "base"}
    assert {"T", "NEPH"} & words
    assert "penicillin" not in words
    shown = [pool.vocab.literal(i) for i, w in zip(made.ids, made.word_ids, strict=True) if made.routes[w] != "base"]
    assert "".join(piece.removeprefix("##") for piece in shown) == "nephropathyrituximabpenicillin"
    assert made.n_sentences == 2
    assert made.rolled_back == 0


def test_a_type_cuts_as_the_librarys_wordpiece_does_on_base_and_its_pieces(pool):
    from tokenizers.models import WordPiece

    for name, entries in pool._entries.items():
        library = WordPiece(entries, unk_token="[UNK]")
        for word in [*DRUGS, "nephropathic", "penicillins", "zzz", "mabmab"]:
            assert [i for i, _, _ in pool.cut(word, name)] == [token.id for token in library.tokenize(word)]


def test_a_cased_base_is_folded_for_matching_only():
    made = build_concepts(base_vocab(cased=True), {"drug": DRUGS}, choice=Choice(sizes={"drug": 60}), rule="min_tokens")
    encoded = made.pool.encode("Rituximab")
    assert encoded.routes == ("drug",)
    assert "".join("Rituximab"[a:b] for a, b in encoded.offsets) == "Rituximab"


@pytest.mark.parametrize(("n_base", "n_pool", "threshold", "back"), [
    (10, 10, 0.0, True), (10, 9, 0.0, True), (10, 10, 0.065, False),
    (1000, 935, 0.065, True), (1000, 936, 0.065, False),
    (10, 11, 1.0, True), (10, 1, 1.0, False), (10, 11, None, False), (0, 0, 0.0, False),
])  # fmt: skip
def test_the_guard_has_the_papers_edges(n_base, n_pool, threshold, back):
    assert rolls_back(n_base, n_pool, threshold) is back


def test_the_guard_works_sentence_by_sentence(pool):
    # One term saves two thirds of its sentence's tokens, the other sentence saves nothing.
    made = _with(pool, "min_tokens", 0.3).encode(
        "nephropathy. The patient was given the pen and the pen and nephritis."
    )
    free = _with(pool, "min_tokens", None).encode(
        "nephropathy. The patient was given the pen and the pen and nephritis."
    )
    assert made.rolled_back >= 1
    assert made.routes[0] == "base"
    assert free.routes[0] == "disease"


def test_a_pool_is_written_and_opened_as_it_was(pool, tmp_path):
    from tokenizers import Tokenizer

    pool.save(tmp_path)
    again = TokenizerPool.open(tmp_path)
    for rule in ("min_tokens", "unigram_loglik", "entropy_paper"):
        assert _with(again, rule).encode(TEXT) == _with(pool, rule).encode(TEXT)
    assert Tokenizer.from_file(str(tmp_path / "tokenizer.json")).get_vocab_size() == pool.vocab.size
    assert again.base.tokens == pool.base.tokens
    (tmp_path / "pool.json").write_text('{"n_base": 1}')
    with pytest.raises(ValueError, match="is not a pool"):
        TokenizerPool.open(tmp_path)
    with pytest.raises(FileNotFoundError, match="concepts build"):
        TokenizerPool.open(tmp_path / "nothing")


def test_what_is_no_pool_is_refused(pool):
    from tokenry.core.vocab import Vocab
    from tokenry.data import demo_model

    other = Vocab.open(demo_model())
    with pytest.raises(ValueError, match="WordPiece"):
        TokenizerPool(other, other, {})
    with pytest.raises(ValueError, match="may not be called"):
        TokenizerPool(pool.vocab, pool.base, {"base": frozenset()})
    with pytest.raises(ValueError, match="chose 'nothing'"):
        TokenizerPool(pool.vocab, pool.base, pool.types, lambda word: "nothing", None, Material()).encode("nephropathy")
