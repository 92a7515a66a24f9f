"""Rows from translation probabilities and from sparse likeness: by the formula, and against what knows nothing."""

import json

import numpy as np
import pytest
from test_translation import code_words, dense, slow_ibm1

from small_vocabularies import byte_level_of
from tokenry.core.vocab import Kind
from tokenry.transplant.matching import match
from tokenry.transplant.neighbours import sparsemax, unit_rows
from tokenry.transplant.planning import new_rows, plan
from tokenry.transplant.translation import ibm1
from tokenry.transplant.word_vectors import WordVectors, orthogonal_map, token_vectors


class World:
    """Two languages of 40 words each, word n for word n, and vocabularies in which each word is one token."""

    def __init__(self):
        self.english, self.other = code_words(40, "abcdefg", 1), code_words(40, "tuvwxyz", 2)
        rng = np.random.default_rng(3)
        self.pairs = []
        for _ in range(300):
            picked = rng.integers(40, size=5)
            twins = " ".join(self.other[n] for n in rng.permutation(picked))
            self.pairs.append((" " + " ".join(self.english[n] for n in picked), " " + twins))
        self.old, self.new = (byte_level_of([pair[side] for pair in self.pairs], 520) for side in (0, 1))
        tokens = [
            [vocab.index[(" " + word).encode()][0] for word in words]
            for vocab, words in ((self.old, self.english), (self.new, self.other))
        ]
        self.twins, self.ids = tokens
        self.base = np.random.default_rng(0).standard_normal((self.old.size, 64)).astype(np.float32)
        meanings = rng.standard_normal((40, 12)).astype(np.float32)
        turn = np.linalg.qr(rng.standard_normal((12, 12)))[0]
        counts = 100 / np.arange(1, 41)
        self.vectors = WordVectors(self.english, (meanings @ turn).astype(np.float32), counts)
        self.new_vectors = WordVectors(self.other, meanings, counts)
        self.dictionary = list(zip(self.english, self.other, strict=True))[:25]

    def spaces(self):
        return {"vectors": self.vectors, "new_vectors": self.new_vectors, "dictionary": self.dictionary}


@pytest.fixture(scope="module")
def world():
    return World()


def weights_of(made, i):
    tokens = made.input
    span = slice(tokens.indptr[i], tokens.indptr[i + 1])
    return dict(zip(tokens.cols[span].tolist(), tokens.weights[span].tolist(), strict=True))


def test_weights_are_the_probabilities_of_the_old_token_given_the_new_one(world):
    some = world.pairs[:60]
    old, new = ([ids.astype(np.int64) for ids in vocab.encode([p[side].strip() for p in some])]
                for side, vocab in ((0, world.old), (1, world.new)))  # fmt: skip
    table, counts, _ = slow_ibm1([ids + 1 for ids in new], old, world.new.size + 1, world.old.size, 7)
    learned = ibm1([ids + 1 for ids in new], old, n_old=world.new.size + 1, n_new=world.old.size)
    np.testing.assert_allclose(dense(learned, learned.probabilities, world.old.size), table, atol=1e-12)
    made = plan(world.old, world.new, method="ramen", parallel=some, min_count=1, min_probability=0.05)
    for i in world.ids:
        shares = np.where((table[i + 1] >= 0.05) & (world.old.kinds == Kind.NORMAL), table[i + 1], 0)
        if counts[i + 1].sum() >= 1:
            got = weights_of(made, i)
            assert got == pytest.approx({int(n): shares[n] / shares.sum() for n in np.flatnonzero(shares)}, abs=1e-6)


def test_without_parallel_text_weights_are_the_sparsemax_of_the_cosines_in_the_turned_space(world):
    made = plan(world.old, world.new, method="ramen", **world.spaces())
    pairs = [(world.english.index(a), world.other.index(b)) for a, b in world.dictionary]
    turn = orthogonal_map(
        *(side.matrix[[p[n] for p in pairs]] for n, side in enumerate((world.vectors, world.new_vectors)))
    )
    old = token_vectors(world.old, world.vectors) @ turn
    new = token_vectors(world.new, world.new_vectors)
    others = np.flatnonzero(old.any(axis=1) & (world.old.kinds == Kind.NORMAL))
    for i in world.ids[:10]:
        wanted = sparsemax(unit_rows(old[others]) @ unit_rows(new[[i]])[0])
        got = weights_of(made, i)
        assert got == pytest.approx({int(others[n]): wanted[n] for n in np.flatnonzero(wanted)}, abs=1e-4)
        assert max(got, key=got.get) in (world.twins[world.ids.index(i)], *others.tolist())


@pytest.mark.parametrize("given", ["parallel", "spaces"])
def test_translations_are_found_where_pieces_and_mean_know_nothing(world, given):
    wanted = world.base[world.twins]

    def cosine(method, **options):
        made, _ = new_rows(plan(world.old, world.new, method=method, **options), world.base)
        return float((unit_rows(made[world.ids]) * unit_rows(wanted)).sum(axis=1).mean())

    # Words are random strings: a mean of pieces has cosine near 0 in 64 dimensions (standard error
    # 1 / sqrt(40 * 64) = 0.02). The probability of the translation is most of the row; in the space other tokens of
    # the same words lie at the same place, so a part of the weight is theirs.
    found = cosine("ramen", **({"parallel": world.pairs} if given == "parallel" else world.spaces()))
    assert found > max(cosine("pieces"), cosine("mean"), cosine("random", seed=1)) + (
        0.5 if given == "parallel" else 0.2
    )


def test_rows_are_means_and_shared_tokens_are_made_anew_unless_kept(world):
    made = plan(world.old, world.new, method="ramen", parallel=world.pairs)
    np.testing.assert_allclose([sum(weights_of(made, i).values()) for i in world.ids], 1, atol=1e-5)
    same = [(line, line) for line, _ in world.pairs]
    anew = plan(world.old, world.old, method="ramen", parallel=same)
    assert anew.info["shared_made_anew"] > 0
    kept = plan(world.old, world.old, method="ramen", parallel=same, keep_shared=True)
    rows, _ = new_rows(kept, world.base)
    assert rows.tobytes() == world.base.tobytes()
    assert (match(world.old, world.old).new_to_old >= 0).all()


def test_what_cannot_work_is_refused(world):
    for options, said in (
        ({}, "either parallel text"),
        ({"parallel": world.pairs, **world.spaces()}, "either parallel text"),
        ({"vectors": world.vectors}, "Method 'ramen' needs word vectors"),
        ({"parallel": world.pairs, "min_count": 1e9}, "lower min_count"),
        ({"parallel": world.pairs, "min_probability": 1.0}, "min_probability=1.0"),
    ):
        with pytest.raises(ValueError, match=said):
            plan(world.old, world.new, method="ramen", **options)


@pytest.mark.slow  # moves a model folder and reopens it
def test_the_verb_moves_a_model_by_parallel_text(tmp_path, capsys):
    from tokenry.cli import main
    from tokenry.data import demo_model

    lines = ["once upon a time\tonce upon a time", "there was a little girl\tthere was a little girl"] * 5
    (tmp_path / "lines.tsv").write_text("\n".join(lines))
    with pytest.raises(SystemExit) as stop:
        main(["transplant", str(demo_model()), "--tokenizer", str(demo_model()), "--method", "ramen", "--parallel",
              str(tmp_path / "lines.tsv"), "--out", str(tmp_path / "out"), "--json"])  # fmt: skip
    assert stop.value.code == 0
    facts = json.loads(capsys.readouterr().out)["facts"]
    assert facts["verify.ok"]
    assert facts["made.placed_rows"] > 0
