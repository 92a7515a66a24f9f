"""Pieces of terms: how they are learned, how many are kept, and the rows they start from."""

from collections import Counter

import numpy as np
import pytest
from concept_samples import DISEASES, DRUGS, base_vocab
from hypothesis import given
from hypothesis import strategies as st

from tokenry.core.tokenmap import RowKind, check_tokenmap
from tokenry.tokenization.concept_vocabularies import (
    Choice,
    build_concepts,
    choose_pieces,
    continued_pieces,
    delta_sufficient,
    extended,
    forced_pieces,
    ngram_counts,
    random_pieces,
    term_pieces,
    term_words,
    word_pieces,
)
from tokenry.tokenization.concepts import TokenizerPool


def test_the_delta_sufficient_set_is_mackays():
    shares = [0.5, 0.25, 0.125, 0.125]
    assert [delta_sufficient(shares, delta) for delta in (0, 0.125, 0.25, 0.5)] == [4, 3, 2, 1]


@given(counts=st.lists(st.integers(1, 50), min_size=1, max_size=30), delta=st.floats(0, 0.99))
def test_a_delta_sufficient_set_is_enough_and_one_less_is_not(counts, delta):
    size = delta_sufficient(counts, delta)
    ranked = sorted(counts, reverse=True)
    assert sum(ranked[:size]) >= sum(counts) * (1 - delta) * (1 - 1e-9)
    assert sum(ranked[: size - 1]) < sum(counts) * (1 - delta) * (1 + 1e-9)


def test_counts_of_character_strings_are_counts():
    counts = ngram_counts({"anan": 2, "an": 1}, longest=3)
    assert counts == Counter({"a": 5, "n": 5, "an": 5, "na": 2, "ana": 2, "nan": 2})


def test_pieces_of_a_word_follow_its_lists_counts():
    # By hand: "in" (9) is joined first, then "ll" (4), then "llin" (4) before "ci" (3): a tie goes to the left.
    counts = Counter({"in": 9, "ll": 4, "llin": 4, "ci": 3, "illin": 2})
    assert word_pieces("cillin", counts, iterations=3, syllables=False) == ["c", "##i", "##llin"]
    assert word_pieces("cillin", counts, iterations=4, syllables=False) == ["ci", "##llin"]
    # A piece inside that begins with the word's first letter still continues it (the published code gets it wrong).
    assert word_pieces("papa", Counter({"pa": 9}), longest=2, syllables=False) == ["pa", "##pa"]


@given(word=st.text("abcdeo", min_size=1, max_size=12), syllables=st.booleans(), longest=st.integers(2, 6))
def test_pieces_spell_the_word_and_only_the_first_begins_it(word, syllables, longest):
    pieces = word_pieces(word, ngram_counts({word: 1, "abode": 3}), syllables=syllables, longest=longest)
    assert "".join(piece.removeprefix("##") for piece in pieces) == word
    assert not pieces[0].startswith("##")
    if not syllables:
        assert all(piece.startswith("##") for piece in pieces[1:])
    assert all(len(piece.removeprefix("##")) <= longest for piece in pieces)


def test_the_most_counted_are_kept_and_the_published_mistake_is_an_ablation():
    scores = term_pieces(term_words([*DRUGS, *DISEASES]))
    ours, published = choose_pieces(scores, 10), choose_pieces(scores, 10, order="alphabetical")
    assert sum(scores[p] for p in ours) > sum(scores[p] for p in published)
    # Sorted by name, all that is kept continues a word: "#" comes before every letter.
    assert all(piece.startswith("##") for piece in published)
    assert any(not piece.startswith("##") for piece in choose_pieces(scores, 30))


def test_morphemes_are_entries_as_they_are_written():
    assert forced_pieces(["cardio-", "-itis", "mab"]) == ["cardio", "##itis", "mab", "##mab"]
    with pytest.raises(ValueError, match="morpheme"):
        forced_pieces(["two words"])
    made = build_concepts(base_vocab(), {"disease": DISEASES},
                          choice=Choice(sizes={"disease": 0}, forced={"disease": ["-itis", "cardio-"]}))  # fmt: skip
    assert [made.pool.vocab.literal(i) for i in range(made.pool.base.size, made.pool.vocab.size)] == [
        "##itis",
        "cardio",
    ]


@pytest.mark.slow  # compiles the merge engine where no cache of it lies
def test_continued_pieces_only_join_neighbours_of_the_bases_cut():
    base = base_vocab()
    pieces = continued_pieces(base, term_words(DRUGS), 15)
    assert pieces
    assert not set(pieces) & set(base.spec["model"]["vocab"])
    for piece in pieces:
        inside = piece.startswith("##")
        assert len(base.decompose((piece.removeprefix("##") if inside else " " + piece).encode())) >= 2


def test_old_ids_stay_and_new_rows_are_means_of_their_pieces():
    made = build_concepts(base_vocab(), {"drug": DRUGS, "disease": DISEASES}, choice=Choice(sizes={"drug": 30}))
    base, vocab = made.pool.base, made.pool.vocab
    assert vocab.tokens[: base.size] == base.tokens
    assert sum(made.added.values()) == vocab.size - base.size == len(made.pieces)
    for i, ids in enumerate(made.pieces, base.size):
        assert b"".join(base.tokens[p] for p in ids) == vocab.tokens[i]
    check_tokenmap(made.rows, np.random.default_rng(0))
    rows = np.random.default_rng(1).standard_normal((base.size, 4)).astype(np.float32)
    new = made.rows.apply(rows)
    assert new[: base.size].tobytes() == rows.tobytes()
    for i, ids in enumerate(made.pieces, base.size):
        assert np.allclose(new[i], rows[ids].mean(axis=0), atol=1e-6)
        assert made.rows.kinds[i] == RowKind.COMBINE


def test_pieces_no_row_can_be_made_for_are_left_out():
    made = build_concepts(base_vocab(), {"drug": ["пенициллин", "penicillin"]})
    assert all(ids for ids in made.pieces)


def test_terms_cost_fewer_tokens_than_with_random_pieces_of_equal_number():
    """Held-out terms with the affixes of the list; the mean of 20 draws of pieces cut at random from the same words."""
    rng = np.random.default_rng(0)
    stems, affixes = (
        ["mor", "tel", "zan", "quib", "dolf", "wex", "hurn", "pild"],
        ["cillin", "statin", "mab", "prazole"],
    )
    terms = [stem + affix for stem in stems[:5] for affix in affixes]
    unseen = [stem + affix for stem in stems[5:] for affix in affixes]
    learned = build_concepts(base_vocab(), {"drug": terms}, choice=Choice(sizes={"drug": 24}), rule="min_tokens").pool
    n = learned.vocab.size - learned.base.size
    costs = []
    for _ in range(20):
        vocab, types, _ = extended(learned.base, {"drug": random_pieces(learned.base, term_words(terms), n, rng=rng)})
        assert vocab.size == learned.vocab.size
        costs.append(_cost(TokenizerPool(vocab, learned.base, types, "min_tokens", None), unseen))
    # Three standard errors of the mean of the draws; the learned pieces are one fixed set.
    assert _cost(learned, unseen) < np.mean(costs) - 3 * np.std(costs, ddof=1) / np.sqrt(len(costs))


def _cost(pool: TokenizerPool, words: list[str]) -> int:
    return sum(len(pool.encode(word).ids) for word in words)


@pytest.mark.slow  # imports transformers and moves a model
def test_a_model_is_moved_onto_the_pool_and_is_itself_where_base_cuts():
    pytest.importorskip("torch")
    import torch

    from tokenry.models.tiny import tiny_llama
    from tokenry.transplant import move

    made = build_concepts(base_vocab(), {"drug": DRUGS}, choice=Choice(sizes={"drug": 20}))
    lm = tiny_llama(base_vocab(), width=32, layers=1, heads=2)
    ids_BT = torch.tensor(
        [[made.pool.base.specials["cls"], *map(int, made.pool.base.encode(["the patient took penicillin"])[0])]]
    )
    rows = lm.model.get_input_embeddings().weight.detach().numpy().copy()
    with torch.inference_mode():
        before = lm.model(input_ids=ids_BT).logits
    moved = move(lm, made.pool.vocab, method="pieces", pieces=made.pieces).lm
    with torch.inference_mode():
        after = moved.model(input_ids=ids_BT).logits
    assert torch.equal(after[..., : made.pool.base.size], before)
    expected = made.rows.apply(rows)
    assert np.array_equal(moved.model.get_input_embeddings().weight.detach().numpy(), expected)


@pytest.mark.slow  # imports transformers
def test_an_encoder_with_new_rows_gives_the_same_states_where_base_cuts():
    transformers = pytest.importorskip("transformers")
    import torch

    made = build_concepts(base_vocab(), {"drug": DRUGS}, choice=Choice(sizes={"drug": 20}), rule="base")
    config = transformers.BertConfig(vocab_size=made.pool.base.size, hidden_size=16, num_hidden_layers=1,
                                     num_attention_heads=2, intermediate_size=32)  # fmt: skip
    torch.manual_seed(0)
    model = transformers.BertModel(config).eval()
    ids_BT = torch.tensor([list(made.pool.encode("the patient took penicillin").ids)])
    with torch.inference_mode():
        before = model(ids_BT).last_hidden_state
        rows = made.rows.apply(model.get_input_embeddings().weight.numpy())
        model.set_input_embeddings(torch.nn.Embedding.from_pretrained(torch.from_numpy(rows), padding_idx=0))
        assert torch.equal(model(ids_BT).last_hidden_state, before)


def test_what_cannot_be_built_is_refused():
    from tokenry.data import demo_model

    with pytest.raises(ValueError, match="WordPiece"):
        build_concepts(demo_model(), {"drug": DRUGS})
    with pytest.raises(ValueError, match="has no terms"):
        build_concepts(base_vocab(), {"drug": DRUGS}, choice=Choice(sizes={"drugs": 3}))
    with pytest.raises(ValueError, match="no word"):
        build_concepts(base_vocab(), {"drug": ["12", "1-2"]})
    with pytest.raises(ValueError, match="Did you mean 'continued'"):
        Choice(how="continue")
    with pytest.raises(ValueError, match="need count or alphabetical"):
        choose_pieces({"a": 1}, 1, delta=0.1)
