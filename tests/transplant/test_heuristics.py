"""Pieces and how they are weighted; what matching norms does; that pieces beat what knows nothing."""

import numpy as np
import pytest

from small_vocabularies import byte_level, permuted, rows_for
from tokenry.core.tokenmap import RowKind
from tokenry.core.vocab import Kind
from tokenry.transplant.matching import match
from tokenry.transplant.planning import new_rows, plan


@pytest.fixture
def german():
    return byte_level("german", 380, ("<|end|>", "<|extra|>"))


def longest(old, new) -> int:
    gap = np.flatnonzero((match(old, new).new_to_old < 0) & (new.kinds == Kind.NORMAL))
    return int(max(gap, key=lambda i: len(old.decompose(new.tokens[i]))))


def test_weights_follow_position_and_length(old, german):
    i = longest(old, german)
    pieces = old.decompose(german.tokens[i])
    # "größere" is cut with both bytes of ö and of ß apart: half a character each.
    assert german.tokens[i] == " größere".encode()
    lengths = np.array([len(old.tokens[p]) if old.tokens[p].isascii() else len(old.tokens[p]) / 2 for p in pieces])
    assert len(pieces) >= 3
    expected = {
        "first": (pieces[:1], [1.0]),
        "last": (pieces[-1:], [1.0]),
        "mean": (pieces, np.full(len(pieces), 1 / len(pieces))),
        "weighted": (pieces, lengths / lengths.sum()),
        "early": (pieces, 0.5 ** np.arange(len(pieces)) / (0.5 ** np.arange(len(pieces))).sum()),
        "late": (pieces, 0.5 ** np.arange(len(pieces))[::-1] / (0.5 ** np.arange(len(pieces))).sum()),
    }
    for how, (ids, weights) in expected.items():
        made = plan(old, german, method="asymmetric", input=how, head="mean")
        got_ids, got = made.input.row(i)
        assert got_ids.tolist() == list(ids)
        np.testing.assert_allclose(got, weights, rtol=1e-6)
        assert made.untie == (how != "mean")
        np.testing.assert_allclose(made.head.row(i)[1], 1 / len(pieces), rtol=1e-6)


def test_a_token_of_one_old_piece_never_needs_a_method(old):
    other = byte_level("english", 300)
    assert match(old, other).classes["unmatched"] == 0
    rows = rows_for(old)
    for method in ("zero", "pieces"):
        made, _ = new_rows(plan(old, other, method=method), rows)
        assert np.array_equal(made, rows[match(old, other).new_to_old])


def test_matching_norms_undoes_the_shrinking_of_a_mean(old, german):
    rows = rows_for(old, width=64)
    gap = np.flatnonzero((match(old, german).new_to_old < 0) & (german.kinds == Kind.NORMAL))
    plain, _ = new_rows(plan(old, german), rows)
    scaled, _ = new_rows(plan(old, german, norm="match", base=rows), rows)
    norms = np.linalg.norm(rows, axis=1)
    # Means of m nearly orthogonal rows have about 1 / sqrt(m) of their norm.
    assert np.median(np.linalg.norm(plain[gap], axis=1)) < 0.75 * np.median(norms)
    made = np.linalg.norm(scaled[gap], axis=1)
    assert norms.min() <= made.min()
    assert made.max() <= norms.max()
    cosine = (plain[gap] * scaled[gap]).sum(1) / np.linalg.norm(plain[gap], axis=1) / made
    np.testing.assert_allclose(cosine, 1, atol=1e-5)


def test_an_unmatched_special_gets_the_mean_row(old, german):
    i = next(i for i in german.special_ids if german.literal(i) == "<|extra|>")
    made = plan(old, german)
    assert made.input.kinds[i] == RowKind.MEAN
    rows = rows_for(old)
    np.testing.assert_allclose(new_rows(made, rows)[0][i], rows[old.kinds == Kind.NORMAL].mean(axis=0), atol=1e-6)


def test_pieces_are_nearer_to_the_truth_than_mean_or_random(old, german):
    # A world where a token's row is the mean of its characters' rows plus noise of half their size.
    rng = np.random.default_rng(0)
    letters = rng.standard_normal((256, 32))

    def truth(vocab):
        base = np.stack([letters[list(t)].mean(axis=0) if t else letters.mean(axis=0) for t in vocab.tokens])
        return base + 0.5 * base.std() * rng.standard_normal(base.shape)

    rows, wanted = truth(old), truth(german)
    gap = np.flatnonzero((match(old, german).new_to_old < 0) & (german.kinds == Kind.NORMAL))
    error = {}
    for method in ("pieces", "weighted-pieces", "mean", "random", "zero"):
        made, _ = new_rows(plan(old, german, method=method), rows)
        error[method] = float(np.square(made[gap] - wanted[gap]).mean())
    assert error["weighted-pieces"] < 0.8 * min(error["mean"], error["zero"])
    assert error["pieces"] < 0.9 * min(error["mean"], error["zero"])
    assert error["mean"] < error["random"]


@pytest.mark.parametrize(
    "method",
    ["exponential", "first-last", "john-hewitt", "tokenadapt", "common-interpolation", "landmark-pca", "sava", "omp"],
)
def test_a_permuted_vocabulary_gives_exactly_the_permuted_matrix(old, method):
    order = np.random.default_rng(2).permutation(old.size)
    rows = rows_for(old)
    made, _ = new_rows(plan(old, permuted(old, order), method=method, donor=rows[order], base=rows), rows)
    assert made.tobytes() == rows[order].tobytes()


def test_exponential_weights_lie_between_the_mean_and_the_ends(old, german):
    i = longest(old, german)
    pieces = old.decompose(german.tokens[i])
    made = plan(old, german, method="exponential", rate=0.7)
    assert made.untie
    expected = np.exp(0.7 * np.arange(len(pieces)))
    np.testing.assert_allclose(made.input.row(i)[1], expected / expected.sum(), rtol=1e-6)
    np.testing.assert_allclose(made.head.row(i)[1], expected[::-1] / expected.sum(), rtol=1e-6)
    rows = rows_for(old)
    flat, mean = (plan(old, german, **o) for o in ({"method": "exponential", "rate": 0.0}, {"method": "pieces"}))
    assert not flat.untie
    np.testing.assert_allclose(new_rows(flat, rows)[0], new_rows(mean, rows)[0], atol=1e-6)
    steep, ends = (
        plan(old, german, **o) for o in ({"method": "exponential", "rate": np.inf}, {"method": "first-last"})
    )
    for ours, theirs in zip(new_rows(steep, rows, rows), new_rows(ends, rows, rows), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    with pytest.raises(ValueError, match="rate=-1"):
        plan(old, german, method="exponential", rate=-1.0)


def test_first_and_last_take_the_ends_of_a_token(old, german):
    i = longest(old, german)
    pieces = old.decompose(german.tokens[i])
    made = plan(old, german, method="first-last")
    assert made.untie
    assert made.input.row(i)[0].tolist() == pieces[-1:]
    assert made.head.row(i)[0].tolist() == pieces[:1]


def test_normal_rows_have_the_mean_and_covariance_of_the_old_ones(old, german):
    rng = np.random.default_rng(3)
    rows = (rng.standard_normal((old.size, 4)) @ rng.standard_normal((4, 4)) + 3).astype(np.float32)
    gap = np.flatnonzero((match(old, german).new_to_old < 0) & (german.kinds == Kind.NORMAL))
    ordinary = rows[old.kinds == Kind.NORMAL].astype(np.float64)
    drawn = np.concatenate([
        new_rows(plan(old, german, method="john-hewitt", base=rows, scale=1.0, seed=s), rows)[0][gap] for s in range(40)
    ])  # fmt: skip
    covariance = np.cov(ordinary.T, bias=True)
    # Over n draws a mean errs by sd / sqrt(n) and a covariance by about sqrt(2 / n) of its variances: 5 sigma.
    n = len(drawn)
    spread = np.sqrt(np.diag(covariance))
    assert (np.abs(drawn.mean(0) - ordinary.mean(0)) < 5 * spread / np.sqrt(n)).all()
    assert (np.abs(np.cov(drawn.T) - covariance) < 5 * np.sqrt(2 / n) * np.outer(spread, spread)).all()
    with pytest.raises(ValueError, match="base rows: False"):
        plan(old, german, method="john-hewitt")


def test_normal_rows_are_what_transformers_makes_when_it_resizes(old, german):
    pytest.importorskip("torch")
    from small_models import small_model

    lm = small_model("llama-untied", old)
    rows = lm.model.get_input_embeddings().weight.detach().numpy().copy()
    # transformers averages all rows, we the ordinary ones: with the others at the mean both agree.
    rows[old.kinds != Kind.NORMAL] = rows[old.kinds == Kind.NORMAL].mean(axis=0)
    import torch

    lm.model.get_input_embeddings().weight.data = torch.from_numpy(rows)
    theirs = lm.model.resize_token_embeddings(old.size + 50, mean_resizing=True).weight.detach().numpy()[-50:]
    made, _ = new_rows(plan(old, german, method="john-hewitt", base=rows), rows)
    gap = np.flatnonzero((match(old, german).new_to_old < 0) & (german.kinds == Kind.NORMAL))
    # The noise has sqrt(1e-9) of the rows' spread of 0.3, 1e-5: six of it.
    np.testing.assert_allclose(made[gap][:50], theirs[: min(50, gap.size)], atol=1.2e-4)


@pytest.mark.slow  # scores a real model six times, about 10 CPU seconds
def test_on_a_real_model_pieces_beat_what_knows_nothing_and_asymmetric_rows_beat_pieces():
    from tokenry.core.tables import texts
    from tokenry.data import demo_model, demo_text
    from tokenry.models.lm import LM
    from tokenry.tokenization.extend import extend
    from tokenry.transplant.surgery import move

    lm = LM.open(demo_model())
    stories = list(texts(demo_text("stories")))
    heldout = stories[-20:]
    longer = extend(lm.vocab, stories[:-20], size=2048)
    bits = {}
    for method in ("random", "zero", "mean", "pieces", "weighted-pieces", "asymmetric"):
        moved = move(lm, longer.vocab, method=method, pieces=longer.pieces).lm
        bits[method] = moved.score(heldout, max_bytes=512).bits_per_byte().value
    # Measured on 15 kB: random 3.77, zero 3.40, mean 3.18, pieces 2.65, weighted 2.67, asymmetric 2.42.
    assert bits["pieces"] < 2.85
    assert bits["pieces"] < bits["mean"] - 0.25
    assert bits["pieces"] < bits["zero"] - 0.45
    assert bits["pieces"] < bits["random"] - 0.7
    assert bits["asymmetric"] < bits["pieces"] - 0.1
    assert abs(bits["weighted-pieces"] - bits["pieces"]) < 0.1
