"""Rows from the company tokens keep: against brute force, a space with known truth, and the laws of a mean."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from small_vocabularies import byte_level, byte_level_of, permuted
from tokenry.core.tokenmap import RowKind
from tokenry.core.vocab import Kind
from tokenry.transplant import token_spaces
from tokenry.transplant.matching import match
from tokenry.transplant.neighbours import sparsemax
from tokenry.transplant.planning import new_rows, plan
from tokenry.transplant.token_spaces import text_vectors, token_counts


def cosine_rows(a, b):
    return (a * b).sum(1) / np.maximum(np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1), 1e-30)


def planted(old, new, width=48, seed=0):
    """Vectors of the new tokens, and rows of both vocabularies that are one linear map of such vectors.

    Each token has one of 12 topics and little of its own, so that tokens of a topic can stand for each other.
    """
    rng = np.random.default_rng(seed)
    topics, view = rng.standard_normal((12, 20)), rng.standard_normal((20, width))
    meaning = {}

    def vectors(vocab):
        out = []
        for i in range(vocab.size):
            token = vocab.tokens[i] or vocab.literal(i).encode()
            if token not in meaning:
                meaning[token] = topics[rng.integers(12)] + 0.3 * rng.standard_normal(20)
            out.append(meaning[token])
        return np.array(out, dtype=np.float32)

    a, b = vectors(old), vectors(new)
    return b, (a @ view).astype(np.float32), b @ view


def gap_of(old, new):
    return np.flatnonzero((match(old, new).new_to_old < 0) & (new.kinds == Kind.NORMAL))


def test_focus_is_sparsemax_of_the_cosines_over_shared_tokens(old, new):
    vectors, base, _ = planted(old, new)
    made, _ = new_rows(plan(old, new, method="focus", donor=vectors), base)
    new_ids, old_ids = match(old, new).anchors(old, new)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    for i in gap_of(old, new)[:40]:
        wanted = sparsemax(unit[new_ids].astype(float) @ unit[i]) @ base[old_ids]
        np.testing.assert_allclose(made[i], wanted, atol=1e-5 * np.abs(base).max())


@pytest.mark.parametrize("method", ["focus", "clp"])
def test_a_known_space_beats_pieces_mean_and_random(old, new, method):
    vectors, base, truth = planted(old, new)
    gap = gap_of(old, new)

    def score(method, **options):
        made, _ = new_rows(plan(old, new, method=method, base=base, **options), base)
        return float(cosine_rows(made[gap], truth[gap]).mean())

    options = {"neighbours": 10} if method == "clp" else {}
    found = score(method, donor=vectors, **options)
    # A topic's mean has cosine about 0.95 to a member (own part 0.3 of the topic's size); spelling says nothing.
    assert found > 0.85
    assert found > max(score("pieces"), score("mean"), score("random")) + 0.4


def test_focus_turned_space_gives_the_same_rows(old, new):
    vectors, base, _ = planted(old, new)
    turn, _ = np.linalg.qr(np.random.default_rng(1).standard_normal((20, 20)))
    one = new_rows(plan(old, new, method="focus", donor=vectors), base)[0]
    other = new_rows(plan(old, new, method="focus", donor=(3 * vectors @ turn).astype(np.float32)), base)[0]
    np.testing.assert_allclose(one, other, atol=1e-4 * np.abs(base).max())


@settings(max_examples=12)
@given(st.integers(0, 10_000), st.sampled_from(["focus", "clp"]))
def test_weights_are_a_mean_and_follow_a_permutation_of_the_new_ids(seed, method):
    old, new = byte_level("english", 340), byte_level("both", 420, ("<|end|>", "<|start|>"))
    vectors, base, _ = planted(old, new, seed=seed % 5)
    options = {"neighbours": 8} if method == "clp" else {}
    made = plan(old, new, method=method, donor=vectors, **options)
    gap = gap_of(old, new)
    np.testing.assert_allclose(made.input.row_sums()[gap], 1, atol=1e-5)
    if method == "focus":
        assert made.input.weights.min() >= 0
    order = np.random.default_rng(seed).permutation(new.size)
    other = plan(old, permuted(new, order), method=method, donor=vectors[order], **options)
    np.testing.assert_allclose(new_rows(other, base)[0], new_rows(made, base)[0][order], atol=1e-4)


def test_focus_learns_from_text_which_shared_tokens_are_used_alike():
    text, old, new, truth = world_of_names()
    base = np.zeros((old.size, 4), np.float32)
    for token, kind in truth.items():
        for i in old.index.get(token, []):
            base[i, kind] = 1
    made, _ = new_rows(plan(old, new, method="focus", texts=text, width=16), base)
    right = [int(made[new.index[token][0]].argmax() == kind) for token, kind in truth.items() if token not in old.index]
    # 20 new names, two kinds: pieces would be right by chance; P(at least 18 of 20) = 0.0002.
    assert len(right) == 20
    assert sum(right) >= 18


def world_of_names():
    """Sentences in which two kinds of names stand in two kinds of places; half of the names are new tokens only."""
    rng = np.random.default_rng(0)
    names = ["".join(rng.choice(list("bdfgklmn"), size=6)) for _ in range(40)]
    kinds = {name: n % 2 for n, name in enumerate(names)}
    places = [["eats", "with", "mother"], ["runs", "under", "power"]]
    lines = []
    for _ in range(1500):
        name = names[rng.integers(40)]
        near = places[kinds[name]]
        lines.append(f" {near[rng.integers(3)]} {name} {near[rng.integers(3)]}")
    known = [line for line in lines if names.index(line.split()[1]) < 20]
    old, new = byte_level_of(known, 600), byte_level_of(lines, 800)
    return lines, old, new, {(" " + name).encode(): kind for name, kind in kinds.items()}


def test_vectors_by_path_belong_to_words_or_to_tokens(tmp_path, old, new):
    vectors, base, _ = planted(old, new)
    by_token = {new.literal(i): vectors[i] for i in range(new.size) if new.literal(i)}
    given_rows = new_rows(plan(old, new, method="focus", new_vectors=by_token, keys="tokens"), base)[0]
    wanted = new_rows(plan(old, new, method="focus", donor=vectors), base)[0]
    np.testing.assert_allclose(given_rows, wanted, atol=1e-5)
    path = tmp_path / "w.vec"
    path.write_text("2 2\nthe 1 0\nKatze 0.9 0.1\n")
    made = plan(old, new, method="focus", new_vectors=path)
    assert made.info["placed_rows"] > 0
    assert made.info["fallback_rows"] > made.info["placed_rows"]


def test_fuzzy_tokens_copy_and_rare_ones_fall_back(old, new):
    vectors, _, _ = planted(old, new)
    gap = gap_of(old, new)
    vectors[gap[:3]] = 0
    made = plan(old, new, method="focus", donor=vectors, fallback="random", fuzzy=True)
    assert made.info["loose_matches"] > 0
    loose = [i for i in gap if made.input.copies[i]]
    assert all(old.tokens[made.input.row(i)[0][0]].lower().strip() == new.tokens[i].lower().strip() for i in loose)
    assert {made.input.kinds[i] for i in gap[:3]} <= {RowKind.RANDOM, RowKind.COMBINE}


def test_clp_with_all_neighbours_is_cosine_over_sum_and_explosive_sums_fall_back(old, new):
    vectors, base, _ = planted(old, new)
    # All to one side: the sums are far from zero.
    vectors = vectors + 3
    made = plan(old, new, method="clp", donor=vectors, base=base)
    rows, _ = new_rows(made, base)
    new_ids, old_ids = match(old, new).anchors(old, new)
    unit = vectors.astype(float) / np.linalg.norm(vectors, axis=1, keepdims=True)
    for i in gap_of(old, new)[:20]:
        cosines = unit[new_ids] @ unit[i]
        np.testing.assert_allclose(rows[i], cosines / cosines.sum() @ base[old_ids], atol=1e-4)
    assert made.info["unstable_rows"] == 0
    signs = np.random.default_rng(0).choice([-1, 1], size=len(vectors))[:, None].astype(np.float32)
    assert plan(old, new, method="clp", donor=signs * vectors, base=base, max_l1=3).info["unstable_rows"] > 0


def test_tokalign_finds_the_twin_of_each_token_in_the_other_tokenizer():
    # Both vocabularies have the glue words; the names are written in capitals in the new one, so only their company
    # tells which is which.
    rng = np.random.default_rng(0)
    names = ["".join(rng.choice(list("bdfgklmn"), size=6)) for _ in range(30)]
    glue = ["".join(rng.choice(list("aeiouy"), size=5)) for _ in range(40)]
    partners = {name: rng.choice(40, size=3, replace=False) for name in names}
    lines = []
    for _ in range(4000):
        name = names[rng.integers(30)]
        a, b = (glue[partners[name][rng.integers(3)]] for _ in range(2))
        lines.append(f" {a} {name} {b}")
    marked = [" ".join(word.upper() if word in partners else word for word in line.split(" ")) for line in lines]
    old, new = byte_level_of(lines, 800), byte_level_of(marked, 800)
    made = plan(old, new, method="tokalign", texts=lines + marked, min_count=5, width=40)
    right = 0
    for name in names:
        ids, weights = made.input.row(new.index[(" " + name.upper()).encode()][0])
        assert weights.tolist() == [1]
        right += old.tokens[ids[0]] == (" " + name).encode()
    # By chance 30 / 700 a name would be right; the three partners of a name tell most of them apart.
    assert right >= 20
    assert made.info["anchors"] > 20


def test_text_vectors_leave_rare_tokens_at_zero_and_count_as_the_tokenizer_cuts(new):
    texts = ["the cat sat on the mat"] * 10 + ["Übung macht den Meister"]
    counts = token_counts(new, texts)
    assert counts.sum() == sum(len(ids) for ids in new.encode(texts))
    vectors = text_vectors(new, texts, min_count=10, width=8)
    assert (vectors.any(axis=1) <= (counts >= 10)).all()
    with pytest.raises(ValueError, match="counts, cbow"):
        text_vectors(new, texts, space="glove")
    with pytest.raises(ValueError, match="occurs 1000 times"):
        text_vectors(new, texts, min_count=1000)


@pytest.mark.slow  # trains vectors on 150 kB, five seconds
def test_cbow_and_counts_mostly_agree_on_who_is_near():
    pytest.importorskip("gensim", reason="cbow needs the extra 'vectors'")
    from tokenry.core.tables import texts
    from tokenry.data import demo_text
    from tokenry.tokenization.train import train

    stories = list(texts(demo_text("stories")))
    vocab = train(stories, size=800)
    options = {"width": 32, "min_count": 20}
    cbow = text_vectors(vocab, stories, space="cbow", epochs=20, **options)
    assert cbow.tobytes() == text_vectors(vocab, stories, space="cbow", epochs=20, **options).tobytes()
    counts = text_vectors(vocab, stories, **options)
    ids = np.flatnonzero(cbow.any(axis=1) & counts.any(axis=1))

    def nearest(vectors):
        centred = vectors[ids] - vectors[ids].mean(axis=0)
        unit = centred / np.linalg.norm(centred, axis=1, keepdims=True)
        return np.argsort(-(unit @ unit.T - 9 * np.eye(ids.size)), axis=1)[:, :10]

    shared = [np.isin(a, b).mean() for a, b in zip(nearest(cbow), nearest(counts), strict=True)]
    # By chance 10 of 475 are shared, 0.02, with a standard error of 0.002 over 475 tokens; measured 0.10.
    assert np.mean(shared) > 0.06


def test_without_gensim_cbow_names_the_extra(new, monkeypatch):
    from tokenry.core import choosing

    monkeypatch.setattr(choosing, "_is_installed", lambda module: False)
    with pytest.raises(ImportError, match=r"tokenry\[vectors\]"):
        text_vectors(new, ["the cat"] * 20, space="cbow")


@pytest.mark.parametrize(("method", "said"), [("focus", "--data"), ("clp", "--donor"), ("tokalign", "--data")])
def test_each_method_says_what_it_needs(old, new, method, said):
    with pytest.raises(ValueError, match=said):
        plan(old, new, method=method)


def test_wrong_choices_and_a_space_without_shared_tokens_are_refused(old, new):
    vectors, _, _ = planted(old, new)
    with pytest.raises(ValueError, match="fallback"):
        plan(old, new, method="focus", donor=vectors, fallback="zero")
    with pytest.raises(ValueError, match="keys"):
        plan(old, new, method="focus", new_vectors={"a": [1]}, keys="letters")
    with pytest.raises(ValueError, match="shared tokens has a vector"):
        plan(old, new, method="focus", donor=np.zeros((new.size, 3), np.float32))
    with pytest.raises(ValueError, match="dense rows"):
        plan(old, new, method="clp", donor=vectors)
    assert set(token_spaces.SPACES) == {"counts", "cbow"}


def test_specials_and_copies_are_as_for_every_method(old, new):
    vectors, _, _ = planted(old, new)
    made = plan(old, new, method="focus", donor=vectors)
    pieces = plan(old, new, method="pieces")
    gap = set(gap_of(old, new).tolist())
    for i in set(range(new.size)) - gap:
        assert made.input.row(i)[0].tolist() == pieces.input.row(i)[0].tolist()
