"""Rows from parallel text: model 1 against its textbook example and NLTK, and a planted dictionary."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from small_vocabularies import byte_level_of, permuted
from tokenry.core.vocab import Kind
from tokenry.transplant.matching import match
from tokenry.transplant.planning import new_rows, plan
from tokenry.transplant.translation import _units, ibm1, piece_shares, read_parallel

LINES = st.lists(
    st.tuples(st.lists(st.integers(1, 4), max_size=5), st.lists(st.integers(0, 3), max_size=5)), min_size=1, max_size=5
)


def slow_ibm1(old_lines, new_lines, n_old, n_new, rounds):
    """The same by dense tables and loops."""
    table = np.full((n_old, n_new), 1 / n_new)
    told = []
    for _ in range(rounds):
        counts, log_likelihood = np.zeros((n_old, n_new)), 0.0
        for old, new in zip(old_lines, new_lines, strict=True):
            for f in new:
                shares = np.array([table[e, f] for e in [0, *old]])
                log_likelihood += np.log(shares.mean())
                for e, share in zip([0, *old], shares / shares.sum(), strict=True):
                    counts[e, f] += share
        told.append(log_likelihood)
        table = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1e-300)
    return table, counts, told


def dense(learned, values, n_new):
    out = np.zeros((learned.indptr.size - 1, n_new))
    for old in range(len(out)):
        span = slice(learned.indptr[old], learned.indptr[old + 1])
        out[old, learned.new_words[span]] = values[span]
    return out


@settings(max_examples=20)
@given(LINES, st.integers(1, 4))
def test_the_compiled_rounds_are_the_plain_ones_and_the_likelihood_never_falls(lines, rounds):
    old, new = ([np.array(line[side], dtype=np.int32) for line in lines] for side in (0, 1))
    learned = ibm1(old, new, n_old=5, n_new=4, rounds=rounds)
    table, counts, told = slow_ibm1(old, new, 5, 4, rounds)
    np.testing.assert_allclose(dense(learned, learned.probabilities, 4), table, atol=1e-12)
    np.testing.assert_allclose(dense(learned, learned.counts, 4), counts, atol=1e-9)
    np.testing.assert_allclose(learned.log_likelihoods, told, atol=1e-9)
    assert all(b >= a - 1e-9 for a, b in pairwise(told))
    # Every new word came from somewhere.
    assert learned.counts.sum() == pytest.approx(sum(map(len, new)))


def test_the_textbook_example_finds_das_haus_and_buch():
    # Koehn, Statistical Machine Translation, figure 4.4: das Haus / the house, das Buch / the book, ein Buch / a book.
    old = [np.array([1, 2]), np.array([1, 3]), np.array([4, 3])]
    new = [np.array([0, 1]), np.array([0, 2]), np.array([3, 2])]
    learned = ibm1(old, new, n_old=5, n_new=4, rounds=50)
    table = dense(learned, learned.probabilities, 4)
    assert table[1:].argmax(axis=1).tolist() == [0, 1, 2, 3]
    assert table[[1, 3], [0, 2]].min() > 0.9


@pytest.mark.slow  # importing nltk takes two seconds or more
def test_model_1_agrees_with_nltk():
    nltk = pytest.importorskip("nltk.translate", reason="the peer is in the extra 'turkish'")
    rng = np.random.default_rng(0)
    old = [rng.integers(1, 6, size=rng.integers(1, 6)) for _ in range(12)]
    # NLTK adds up the chances of a word that is twice in a line, so here none is.
    new = [rng.permutation(5)[: rng.integers(1, 6)] for _ in range(12)]
    # In NLTK `words` are what is made and `mots` what makes it.
    corpus = [nltk.AlignedSent(f.tolist(), e.tolist()) for e, f in zip(old, new, strict=True)]
    peer = nltk.IBMModel1(corpus, 6).translation_table
    learned = ibm1(old, new, n_old=6, n_new=5, rounds=6)
    table = dense(learned, learned.probabilities, 5)
    for e in range(6):
        for f in range(5):
            if table[e, f]:
                assert peer[f][e or None] == pytest.approx(table[e, f], abs=1e-9)


@given(st.integers(1, 6), st.integers(1, 6))
def test_each_new_piece_gets_one_count_and_equal_lengths_go_half_to_the_partner(n_old, n_new):
    table = np.zeros((n_new, n_old))
    for a, b, share in piece_shares(range(n_old), range(n_new)):
        table[b, a] += share
    np.testing.assert_allclose(table.sum(axis=1), 1)
    if n_old == n_new:
        np.testing.assert_allclose(table, 0.5 / n_old + 0.5 * np.eye(n_old))


def test_position_shares_are_those_of_the_paper_s_code():
    # 2 old pieces, 4 new ones: the first half of the new word goes to the first old piece.
    half = [(a, b, share) for a, b, share in piece_shares([10, 11], [0, 1, 2, 3])][8:]
    assert half == [(10, 0, 0.5), (10, 1, 0.5), (11, 2, 0.5), (11, 3, 0.5)]


def test_pieces_of_a_word_are_one_unit_and_punctuation_stands_alone(old):
    words, (line,) = _units(old, ["the housework, sits 10"])
    spelled = [b"".join(old.tokens[i] for i in words[n]).decode() for n in line]
    assert spelled[:4] == ["the", " housework", ",", " sits"]
    assert words[0] == ()
    assert 0 not in line


def code_words(n, letters, seed):
    rng = np.random.default_rng(seed)
    return ["".join(rng.choice(list(letters), size=5)) for _ in range(n)]


@pytest.fixture(scope="module")
def world():
    """Two languages of 60 words each, word n for word n, and vocabularies in which each word is one token."""
    english, other = code_words(60, "abcdefg", 1), code_words(60, "tuvwxyz", 2)
    rng = np.random.default_rng(3)
    pairs = []
    for _ in range(400):
        picked = rng.integers(60, size=6)
        pairs.append((" ".join(english[n] for n in picked), " ".join(other[n] for n in rng.permutation(picked))))
    old, new = (byte_level_of([" " + pair[side] for pair in pairs], 700) for side in (0, 1))
    truth = {}
    for a, b in zip(english, other, strict=True):
        truth[new.index[(" " + b).encode()][0]] = old.index[(" " + a).encode()][0]
    return old, new, pairs, truth


def test_translations_are_found_where_pieces_and_mean_know_nothing(world):
    old, new, pairs, truth = world
    rows = np.random.default_rng(0).standard_normal((old.size, 64)).astype(np.float32)
    wanted = rows[list(truth.values())]

    def cosine(method, **options):
        made, _ = new_rows(plan(old, new, method=method, **options), rows)
        made = made[list(truth)]
        return float(((made * wanted).sum(1) / np.linalg.norm(made, axis=1) / np.linalg.norm(wanted, axis=1)).mean())

    # Words are random strings, so spelling says nothing: a mean of m pieces has cosine near 0 in 64 dimensions
    # (standard error 1 / sqrt(60 * 64) = 0.016). Model 1 puts most of a word's count on its translation.
    found = cosine("trans-tokenizer", parallel=pairs)
    assert found > 0.8
    assert found > max(cosine("pieces"), cosine("mean"), cosine("random", seed=1)) + 0.5


def test_rows_are_means_and_follow_a_permutation_of_the_new_ids(world):
    old, new, pairs, _ = world
    made = plan(old, new, method="trans-tokenizer", parallel=pairs)
    np.testing.assert_allclose(made.input.row_sums()[new.kinds == Kind.NORMAL], 1, atol=1e-5)
    assert made.input.weights.min() >= 0
    order = np.random.default_rng(5).permutation(new.size)
    rows = np.random.default_rng(0).standard_normal((old.size, 8)).astype(np.float32)
    other = new_rows(plan(old, permuted(new, order), method="trans-tokenizer", parallel=pairs), rows)[0]
    np.testing.assert_allclose(other, new_rows(made, rows)[0][order], atol=1e-5)


def test_shared_tokens_are_made_anew_unless_kept():
    # "die" is a word of both languages and means something else in each.
    pairs = [
        ("the dog", "die hund"),
        ("the cat", "die katze"),
        ("dogs die", "hunde sterben"),
        ("cats die", "katzen sterben"),
    ] * 10
    old = byte_level_of([" " + a for a, _ in pairs], 300)
    new = byte_level_of([" " + b for _, b in pairs], 320)
    die, the = new.index[b" die"][0], old.index[b" the"][0]
    pairs = [(": " + a, ": " + b) for a, b in pairs]
    made = plan(old, new, method="trans-tokenizer", parallel=pairs, min_count=1)
    ids, weights = made.input.row(die)
    assert ids[weights.argmax()] == the
    kept = plan(old, new, method="trans-tokenizer", parallel=pairs, min_count=1, keep_shared=True)
    assert kept.input.row(die)[0].tolist() == [match(old, new).new_to_old[die]]


def test_a_token_without_counts_borrows_from_what_it_begins_and_holds(world):
    old, new, pairs, truth = world
    made = plan(old, new, method="trans-tokenizer", parallel=pairs)
    assert made.info["rows_by_borrowed"] > 0
    starts = [i for i in range(new.size) if new.tokens[i] and len(new.tokens[i]) == 4 and new.kinds[i] == Kind.NORMAL]
    for i in starts:
        longer = [j for j in truth if new.tokens[j].startswith(new.tokens[i])]
        ids, _ = made.input.row(i)
        if longer and made.input.kinds[i] == 2 and i in plan_gap(old, new):
            assert {truth[j] for j in longer} <= set(ids.tolist())


def plan_gap(old, new):
    return set(np.flatnonzero(match(old, new).new_to_old < 0).tolist())


def test_parallel_text_is_read_and_refused_by_line(tmp_path):
    path = tmp_path / "p.tsv"
    path.write_text("a b\tc d\n\t only\n\nx\ty\n")
    assert read_parallel(path) == [("a b", "c d"), ("x", "y")]
    path.write_text("a\tb\nno tab\n")
    with pytest.raises(ValueError, match="p.tsv:2: 0 tabs".replace(".", r"\.")):
        read_parallel(path)
    with pytest.raises(ValueError, match="no pair of lines"):
        read_parallel([("", "a")])


def test_without_parallel_text_or_frequent_pairs_it_says_what_to_give(old, new):
    with pytest.raises(ValueError, match="--parallel"):
        plan(old, new, method="trans-tokenizer")
    with pytest.raises(ValueError, match="min_count"):
        plan(old, new, method="trans-tokenizer", parallel=[("the cat", "die Katze")])
    with pytest.raises(ValueError, match="as many lines"):
        ibm1([], [], n_old=1, n_new=1)
