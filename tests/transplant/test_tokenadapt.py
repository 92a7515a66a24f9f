"""TokenAdapt's rows: the limits of its temperature are known methods, and meaning helps where spelling says little."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from small_vocabularies import byte_level, rows_for
from tokenry.core.tokenmap import RowKind
from tokenry.core.vocab import Kind
from tokenry.transplant.heuristics import pieces as mean_of_pieces
from tokenry.transplant.matching import match
from tokenry.transplant.planning import Gap, new_rows, plan
from tokenry.transplant.tokenadapt import local_weights, tempered, tokenadapt


def letters(strings):
    """A made encoder: counts of letters, and a trace of the string itself so that no two cosines are equal."""
    counts = np.array([[1 + s.count(c) for c in "abcdefghijklmnopqrstuvwxyz "] for s in strings], dtype=float)
    traces = np.array([np.random.default_rng(list(s.encode())).random(27) for s in strings])
    return counts + 0.2 * traces


def gap_of(old, new, base=None) -> Gap:
    found = match(old, new)
    ids = np.flatnonzero((found.new_to_old < 0) & (new.kinds != Kind.UNUSED))
    pieces = [old.decompose(new.tokens[i]) if new.tokens[i] else [] for i in ids]
    return Gap(old, new, found, ids, pieces, base=base)


def test_infinite_temperature_without_neighbours_is_the_mean_of_pieces_bit_for_bit(old, new):
    gap = gap_of(old, new)
    ours = tokenadapt(gap, encoder=letters, tau=float("inf"), global_weight=0.0)
    theirs = mean_of_pieces(gap)
    for (ids, weights), (other_ids, other) in zip(ours.rows, theirs.rows, strict=True):
        assert list(ids) == list(other_ids)
        assert np.asarray(weights, np.float64).tobytes() == np.asarray(other, np.float64).tobytes()
    base = rows_for(old).astype(np.float64)
    options = {"encoder": letters, "tau": float("inf"), "global_weight": 0.0}
    made = [new_rows(plan(old, new, method=m, **o), base)[0] for m, o in (("tokenadapt", options), ("pieces", {}))]
    assert made[0].tobytes() == made[1].tobytes()


def test_zero_temperature_takes_the_best_piece_and_one_neighbour_is_copied(old, new):
    gap = gap_of(old, new)
    local = tokenadapt(gap, encoder=letters, tau=0, global_weight=0.0)
    copied = tokenadapt(gap, encoder=letters, top_k=1, global_weight=1.0)
    both = tokenadapt(gap, encoder=letters, tau=0, top_k=5)
    one = tokenadapt(gap, encoder=letters, tau=0.3, top_k=1)
    for n, pieces in enumerate(gap.pieces):
        if not pieces:
            continue
        weights = np.asarray(local.rows[n][1])
        assert sorted(weights)[-1] == 1
        assert weights.sum() == 1
        if not is_text(new.tokens[gap.ids[n]]):
            continue
        ids, weights = both.rows[n]
        assert weights[len(pieces) :].tolist() == pytest.approx([0.3])
        assert one.rows[n][0][-1] == ids[-1]
        assert one.rows[n][1][-1] == pytest.approx(0.3)
        # All weight on the neighbour: its row and nothing else.
        assert np.asarray(copied.rows[n][1])[np.asarray(copied.rows[n][1]) > 0].tolist() == [1.0]
        assert copied.rows[n][0][-1] == ids[-1]


def test_the_weights_are_the_formulas_of_the_paper(old, new):
    gap = gap_of(old, new)
    tau, share, top = 0.3, 0.3, 3
    made = tokenadapt(gap, encoder=letters)
    unit = lambda strings: (v := letters(strings)) / np.linalg.norm(v, axis=1, keepdims=True)  # noqa: E731
    readable = [i for i in range(old.size) if old.kinds[i] == Kind.NORMAL and is_text(old.tokens[i])]
    table = unit([old.tokens[i].decode() for i in readable])
    softmax = lambda x: np.exp(x) / np.exp(x).sum()  # noqa: E731
    for n, (i, pieces) in enumerate(zip(gap.ids, gap.pieces, strict=True)):
        if not pieces or not is_text(new.tokens[i]) or not all(is_text(old.tokens[p]) for p in pieces):
            continue
        token = unit([new.tokens[i].decode()])[0]
        likeness = softmax(unit([old.tokens[p].decode() for p in pieces]) @ token)
        length = np.array([len(old.tokens[p]) for p in pieces]) / len(new.tokens[i])
        local = softmax((likeness + length) / 2 / tau)
        order = np.argsort(-(table @ token), kind="stable")[:top]
        near = softmax((table @ token)[order] / tau)
        expected = np.zeros(old.size)
        np.add.at(expected, pieces, (1 - share) * local)
        np.add.at(expected, np.array(readable)[order], share * near)
        got = np.zeros(old.size)
        np.add.at(got, made.rows[n][0], made.rows[n][1])
        # The encoder's vectors are kept in float32.
        np.testing.assert_allclose(got, expected, atol=1e-6)


def is_text(token) -> bool:
    try:
        return bool(token) and bool(token.decode("utf-8"))
    except UnicodeDecodeError:
        return False


def test_every_row_is_a_convex_combination_of_at_most_pieces_and_neighbours(old, new):
    base = rows_for(old)
    made = plan(old, new, method="tokenadapt", encoder=letters, top_k=4)
    np.testing.assert_allclose(made.input.row_sums()[made.input.kinds == RowKind.COMBINE], 1, atol=1e-6)
    assert (made.input.weights > 0).all()
    gap = gap_of(old, new)
    for n, i in enumerate(gap.ids):
        ids, weights = made.input.row(i)
        assert len(ids) <= len(gap.pieces[n]) + 4
        if len(ids):
            row = weights @ base[ids]
            assert np.linalg.norm(row) <= np.linalg.norm(base[ids], axis=1).max() + 1e-5


def test_a_token_that_is_no_whole_character_is_made_of_its_bytes_by_length_alone():
    old, new = byte_level("english", 300), byte_level("german", 380)
    gap = gap_of(old, new)
    broken = [n for n, i in enumerate(gap.ids) if new.kinds[i] == Kind.NORMAL and not is_text(new.tokens[i])]
    made = tokenadapt(gap, encoder=letters)
    assert made.info["not_whole_characters"] >= len(broken) > 0
    for n in broken:
        lengths = old.byte_lengths[gap.pieces[n]] / old.byte_lengths[gap.pieces[n]].sum()
        ids, weights = made.rows[n]
        assert list(ids) == gap.pieces[n]
        np.testing.assert_allclose(weights, tempered((1 / len(ids) + lengths) / 2, 0.3))
    # And a whole token may have a piece that is half a character: it counts as the mean of the others.
    half = next(
        n for n, i in enumerate(gap.ids)
        if is_text(new.tokens[i]) and len(gap.pieces[n]) > 2 and any(not is_text(old.tokens[p]) for p in gap.pieces[n])
    )  # fmt: skip
    assert np.isfinite(made.rows[half][1]).all()


def test_a_threshold_drops_neighbours_and_leaves_the_pieces(old, new):
    made = tokenadapt(gap_of(old, new), encoder=letters, threshold=2.0)
    assert made.info["global_rows"] == 0
    for ids, pieces in zip((ids for ids, _ in made.rows), gap_of(old, new).pieces, strict=True):
        assert list(ids) == pieces


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=6), st.sampled_from([0, 0.05, 0.3, 4, float("inf")]))
def test_tempered_weights_are_a_distribution_that_keeps_the_order(scores, tau):
    scores = np.array(scores)
    weights = tempered(scores, tau)
    assert weights.min() >= 0
    assert weights.sum() == pytest.approx(1)
    assert (np.diff(weights[np.argsort(scores, kind="stable")]) >= 0).all() or tau == 0
    np.testing.assert_allclose(tempered(scores + 3, tau), weights, atol=1e-9)


def test_a_piece_without_a_vector_neither_gains_nor_loses(old):
    pieces = old.decompose(b"the sea")
    assert len(pieces) >= 2
    even = local_weights(old, pieces, np.full(len(pieces), 0.4), tau=0.3)
    unknown = np.array([0.4] * (len(pieces) - 1) + [np.nan])
    np.testing.assert_allclose(local_weights(old, pieces, unknown, tau=0.3), even)


def meaning_world(old, new, seed=0):
    """Base rows from a meaning of each token that its spelling does not tell; old and new tokens share 12 meanings."""
    rng = np.random.default_rng(seed)
    centres, view = rng.standard_normal((12, 16)), rng.standard_normal((16, 24))
    meaning = {}

    def of(token):
        if token not in meaning:
            meaning[token] = centres[rng.integers(12)] + 0.2 * rng.standard_normal(16)
        return meaning[token]

    rows = [np.array([of(t or str(i).encode()) @ view for i, t in enumerate(v.tokens)]) for v in (old, new)]

    def encoder(strings):
        return np.stack([of(s.encode()) for s in strings]) + 0.1 * rng.standard_normal((len(strings), 16))

    return encoder, *rows


def test_an_encoder_that_knows_the_meaning_beats_pieces_mean_and_random(old, new):
    encoder, base, truth = meaning_world(old, new)
    gap = gap_of(old, new)
    judged = [n for n, i in enumerate(gap.ids) if new.kinds[i] == Kind.NORMAL and is_text(new.tokens[i])]
    error = {}
    for name, method, options in (
        ("hybrid", "tokenadapt", {"encoder": encoder}),
        ("global", "tokenadapt", {"encoder": encoder, "global_weight": 1.0, "tau": 0.05}),
        ("pieces", "pieces", {}), ("mean", "mean", {}), ("random", "random", {}),
    ):  # fmt: skip
        made, _ = new_rows(plan(old, new, method=method, base=base, **options), base)
        error[name] = np.square(made[gap.ids[judged]] - truth[gap.ids[judged]]).mean()
    # A neighbour shares the centre, so its error is the noise around it: (0.2^2 * (1 + 1/3)) / (1 + 0.2^2) of the
    # variance, about 1/20; mean rows miss by the whole variance, random ones by twice that.
    assert error["global"] < 0.15 * error["mean"]
    assert error["hybrid"] < 0.8 * error["pieces"]
    assert error["mean"] < error["random"]


def test_without_an_encoder_text_or_the_models_own_rows_serve(old, new):
    from tokenry.core.tables import texts
    from tokenry.data import demo_text

    stories = list(texts(demo_text("stories")))[:40]
    counted = plan(old, new, method="tokenadapt", texts=stories)
    assert counted.info["encoder"] == "counted on text"
    own = plan(old, new, method="tokenadapt", base=rows_for(old))
    assert own.info["encoder"] == "the model's own rows"
    for made in (counted, own):
        assert made.info["global_rows"] > 0
        assert np.isfinite(new_rows(made, rows_for(old))[0]).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "needs a text encoder"),
        ({"encoder": letters, "tau": -1}, "tau=-1"),
        ({"encoder": letters, "global_weight": 1.5}, "global_weight=1.5"),
        ({"encoder": letters, "top_k": 0}, "top_k=0"),
        ({"encoder": 7}, "encoder is a int"),
        ({"encoder": lambda strings: np.zeros((1, 2))}, "one row of numbers each"),
        ({"encoder": lambda strings: np.full((len(strings), 2), np.nan)}, "NaN"),
        ({"texts": ["a"]}, "need two or more"),
    ],
)
def test_what_cannot_work_is_refused_with_a_way_out(old, new, options, message):
    with pytest.raises(ValueError, match=message):
        plan(old, new, method="tokenadapt", **options)


def test_the_verb_moves_a_model_by_tokenadapt(tmp_path):
    from typer.testing import CliRunner

    from tokenry.cli import app
    from tokenry.data import demo_model
    from tokenry.transplant.manifest import load_plan, plan_folder

    byte_level("english", 340).to_hf(tmp_path / "other")
    arguments = ["transplant", str(demo_model()), "--tokenizer", str(tmp_path / "other"), "--method", "tokenadapt"]
    found = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / "moved")])
    assert found.exit_code == 0, found.output
    made = load_plan(plan_folder(tmp_path / "moved"))
    assert made.method == "tokenadapt"
    assert made.info["encoder"] == "the model's own rows"


@pytest.mark.slow  # scores a real model three times, about 6 CPU seconds
def test_on_a_real_model_tokenadapt_beats_what_knows_nothing():
    from tokenry.core.tables import texts
    from tokenry.data import demo_model, demo_text
    from tokenry.models.lm import LM
    from tokenry.tokenization.extend import extend
    from tokenry.transplant.surgery import move

    lm = LM.open(demo_model())
    stories = list(texts(demo_text("stories")))
    longer = extend(lm.vocab, stories[:-20], size=2048)
    bits = {}
    for method in ("random", "mean", "tokenadapt"):
        moved = move(lm, longer.vocab, method=method, pieces=longer.pieces).lm
        bits[method] = moved.score(stories[-20:], max_bytes=512).bits_per_byte().value
    # Measured on 15 kB: random 3.77, mean 3.18, tokenadapt 2.67 (pieces 2.65): the margins are half of the gaps.
    assert bits["tokenadapt"] < bits["mean"] - 0.25
    assert bits["tokenadapt"] < bits["random"] - 0.55
