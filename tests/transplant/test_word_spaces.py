"""Rows from word vectors of two languages: the paper's rows on planted spaces, the laws of a mean, what is refused."""

import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from small_vocabularies import byte_level_of, permuted
from tokenry.core.tokenmap import RowKind
from tokenry.core.vocab import Kind
from tokenry.transplant.matching import match
from tokenry.transplant.neighbours import nearest_softmax, unit_rows
from tokenry.transplant.planning import new_rows, plan
from tokenry.transplant.word_spaces import known_pairs, low_rank
from tokenry.transplant.word_vectors import WordVectors, token_vectors, word_vectors


def language(letters, seed, n=60):
    rng = np.random.default_rng(seed)
    return ["".join(rng.choice(list(letters), size=5)) for _ in range(n)]


class World:
    """Two languages of 60 words with the same 60 meanings, their word spaces turned against each other."""

    def __init__(self, width=12):
        rng = np.random.default_rng(4)
        self.english, self.other = language("abcdefg", 1), language("tuvwxyz", 2)
        meanings = rng.standard_normal((60, width))
        turn, _ = np.linalg.qr(rng.standard_normal((width, width)))
        counts = 100.0 / np.arange(1, 61)
        self.old_vectors = WordVectors(self.english, (meanings @ turn).astype(np.float32), counts)
        self.new_vectors = WordVectors(self.other, meanings.astype(np.float32), counts)
        self.turn = turn
        lines = [[" " + word for word in words] * 4 for words in (self.english, self.other)]
        self.old, self.new = byte_level_of(lines[0], 800), byte_level_of(lines[1], 800)
        self.dictionary = list(zip(self.english, self.other, strict=True))[:40]
        self.ids = [self.new.index[(" " + word).encode()][0] for word in self.other]
        self.twins = [self.old.index[(" " + word).encode()][0] for word in self.english]
        self.base = np.random.default_rng(0).standard_normal((self.old.size, 32)).astype(np.float32)

    def options(self, **more):
        given = {"vectors": self.old_vectors, "new_vectors": self.new_vectors, "dictionary": self.dictionary}
        return {"method": "wechsel", **given, **more}


@pytest.fixture(scope="module")
def world():
    return World()


def test_each_word_is_mixed_from_its_translation_most_of_all(world):
    made = plan(world.old, world.new, **world.options())
    assert made.info["dictionary_pairs"] == 40
    assert made.info["dictionary_cosine"] == pytest.approx(1, abs=1e-5)
    # The 20 words the dictionary does not hold count too: the rotation carries them. A piece of no other word lies
    # where its word lies, and shares the first place.
    for i, twin in zip(world.ids, world.twins, strict=True):
        ids, weights = made.input.row(i)
        assert weights[ids == twin] == pytest.approx(weights.max(), abs=1e-4)


def test_rows_are_the_softmax_of_the_ten_nearest_in_the_turned_space(world):
    rows, _ = new_rows(plan(world.old, world.new, **world.options()), world.base)
    old = token_vectors(world.old, world.old_vectors) @ world.turn.T
    new = token_vectors(world.new, world.new_vectors)
    others = np.flatnonzero(old.any(axis=1) & (world.old.kinds == Kind.NORMAL))
    picks, weights = nearest_softmax(unit_rows(new[world.ids]) @ unit_rows(old[others]).T, k=10, temperature=0.1)
    for n, i in enumerate(world.ids):
        np.testing.assert_allclose(rows[i], weights[n] @ world.base[others[picks[n]]], atol=1e-4)


def test_a_dictionary_beats_pieces_mean_and_random(world):
    wanted = world.base[world.twins]

    def cosine(**options):
        made, _ = new_rows(plan(world.old, world.new, **options), world.base)
        made = made[world.ids]
        return float(((made * wanted).sum(1) / np.linalg.norm(made, axis=1) / np.linalg.norm(wanted, axis=1)).mean())

    found = cosine(**world.options())
    # A twin's cosine is 1, the nearest of 60 others in 12 dimensions about 0.6: e^4 = 55 times less each. The rest
    # of the ten leaves 0.8 and more; random words make cosine 0 for the others (standard error 0.02).
    assert found > 0.8
    assert found > max(cosine(method="pieces"), cosine(method="mean"), cosine(method="random")) + 0.4


@settings(max_examples=8)
@given(st.integers(0, 10_000))
def test_weights_are_a_mean_and_follow_a_permutation_of_the_new_ids(seed):
    world = World()
    made = plan(world.old, world.new, **world.options())
    filled = made.input.kinds != RowKind.MEAN
    np.testing.assert_allclose(made.input.row_sums()[filled], 1, atol=1e-5)
    assert made.input.weights.min() >= 0
    order = np.random.default_rng(seed).permutation(world.new.size)
    other = plan(world.old, permuted(world.new, order), **world.options())
    np.testing.assert_allclose(new_rows(other, world.base)[0], new_rows(made, world.base)[0][order], atol=1e-4)


def test_a_function_that_knows_parts_of_words_serves_as_vectors(world):
    def embed(vectors):
        return lambda words: np.array(
            [vectors.matrix[vectors.index[w]] if w in vectors.index else 0 * vectors.matrix[0] for w in words]
        )

    options = world.options(vectors=embed(world.old_vectors), new_vectors=embed(world.new_vectors))
    made = plan(world.old, world.new, **options)
    ids, weights = made.input.row(world.ids[7])
    assert weights[ids == world.twins[7]] == pytest.approx(weights.max(), abs=1e-4)


def test_shared_tokens_are_made_anew_unless_kept():
    # "gift" is poison in the new language; the old word for that is "poison".
    old = byte_level_of([" gift poison present"] * 8, 300)
    new = byte_level_of([" gift geschenk"] * 8, 300)
    vectors = {"gift": [1, 0.0], "poison": [0, 1.0], "present": [0.9, 0.1]}
    new_vectors = {"gift": [0, 1.0], "geschenk": [1, 0.0]}
    options = {"method": "wechsel", "vectors": vectors, "new_vectors": new_vectors, "aligned": True}
    i = new.index[b" gift"][0]
    made = plan(old, new, **options)
    ids, weights = made.input.row(i)
    assert (
        b"poison".endswith(old.tokens[ids[weights.argmax()]].strip()) or old.tokens[ids[weights.argmax()]] in b" poison"
    )
    assert made.info["shared_made_anew"] > 0
    kept = plan(old, new, **options, keep_shared=True)
    assert kept.input.row(i)[0].tolist() == [match(old, new).new_to_old[i]]
    # Specials and half characters stay copies either way.
    half = next(j for j in range(new.size) if new.tokens[j] == b"\xc3")
    special = next(iter(new.special_ids))
    for j in (half, special):
        assert made.input.copies[j]


def test_ofa_with_all_directions_is_the_ten_nearest_and_case_twins_copy(world):
    turned = WordVectors(world.english, world.old_vectors.matrix @ world.turn.T.astype(np.float32), np.ones(60))
    made = plan(world.old, world.new, method="ofa", vectors=turned, new_vectors=world.new_vectors)
    ids, weights = made.input.row(world.ids[3])
    assert weights[ids == world.twins[3]] == pytest.approx(weights.max(), abs=1e-4)
    assert len(ids) == 10
    np.testing.assert_allclose(weights.sum(), 1, atol=1e-5)


@given(st.integers(2, 9), st.integers(1, 7), st.data())
def test_low_rank_is_the_nearest_matrix_of_that_rank(n, width, data):
    rank = data.draw(st.integers(1, min(n, width)))
    rows = np.random.default_rng(n * 100 + width).standard_normal((n, width))
    coordinates, directions = low_rank(rows, rank)
    left, values, right = np.linalg.svd(rows, full_matrices=False)
    wanted = left[:, :rank] * values[:rank] @ right[:rank]
    np.testing.assert_allclose(coordinates @ directions, wanted, atol=1e-7)
    np.testing.assert_allclose(coordinates.T @ coordinates, np.eye(rank), atol=1e-6)


def test_a_rank_gives_dense_rows_in_that_many_directions(world):
    turned = WordVectors(world.english, world.old_vectors.matrix @ world.turn.T.astype(np.float32), np.ones(60))
    options = {"method": "ofa", "vectors": turned, "new_vectors": world.new_vectors, "base": world.base}
    full, _ = new_rows(plan(world.old, world.new, **options), world.base)
    made = plan(world.old, world.new, **options, rank=8)
    rows, _ = new_rows(made, world.base)
    gap = np.array(world.ids)
    assert np.linalg.matrix_rank(rows[gap].astype(float), tol=1e-3) == 8
    _, directions = low_rank(world.base, 8)
    axes = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    np.testing.assert_allclose(rows[gap], full[gap] @ axes.T @ axes, atol=1e-4)
    assert made.info["factorised_numbers"] == 8 * (world.new.size + 32)
    whole, _ = new_rows(plan(world.old, world.new, **options, rank=32), world.base)
    np.testing.assert_allclose(whole[gap], full[gap], atol=1e-4)
    with pytest.raises(ValueError, match="rank=33"):
        plan(world.old, world.new, **options, rank=33)


def test_only_known_pairs_turn_the_space(world):
    a, b = known_pairs(world.old_vectors, world.new_vectors, [*world.dictionary[:3], ("nobody", "niemand")])
    assert len(a) == len(b) == 3
    with pytest.raises(ValueError, match="other way round"):
        known_pairs(world.old_vectors, world.new_vectors, [(b, a) for a, b in world.dictionary])


def test_what_is_missing_or_does_not_fit_is_said(world):
    with pytest.raises(ValueError, match="--dictionary"):
        plan(world.old, world.new, method="wechsel", vectors=world.old_vectors, new_vectors=world.new_vectors)
    with pytest.raises(ValueError, match="--vectors"):
        plan(world.old, world.new, method="ofa")
    short = WordVectors(world.other, world.new_vectors.matrix[:, :5], world.new_vectors.counts)
    with pytest.raises(ValueError, match="12 numbers, the new one's 5"):
        plan(world.old, world.new, **world.options(new_vectors=short))
    strange = WordVectors(["0"], np.zeros((1, 12), np.float32), np.ones(1))
    with pytest.raises(ValueError, match="vectors of the old language"):
        plan(world.old, world.new, **world.options(vectors=strange, dictionary=None, aligned=True))


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    """A folder with a tokenizer of fiction, the fiction, vectors of its words, and lines beside themselves."""
    from tokenry.core.tables import texts, write
    from tokenry.data import demo_text
    from tokenry.tokenization.train import train

    folder = tmp_path_factory.mktemp("material")
    pages = list(texts(demo_text("fiction"), limit=60))
    train(pages, size=600).to_hf(folder / "tokenizer")
    write(pa.table({"text": pages}), folder / "pages.jsonl")
    word_vectors(pages, width=16).save(folder / "words.vec")
    lines = [" ".join(page[:300].split()) for page in pages]
    (folder / "parallel.tsv").write_text("".join(f"{line}\t{line}\n" for line in lines), encoding="utf-8")
    return folder


GIVEN = {
    "focus": ["--data", "pages.jsonl", "--option", "width=16"],
    "tokalign": ["--data", "pages.jsonl", "--option", "width=16"],
    "wechsel": ["--vectors", "words.vec", "--new-vectors", "words.vec", "--option", "aligned=true"],
    "ofa": ["--vectors", "words.vec", "--option", "rank=8"],
    "trans-tokenizer": ["--parallel", "parallel.tsv", "--option", "min_count=1"],
}


def rows_of(folder):
    from tokenry.models.files import embedding_names, read_tensor

    return read_tensor(folder, embedding_names(folder).input).float().numpy()


def door(*arguments):
    from tokenry.cli import main

    with pytest.raises(SystemExit) as stop:
        main([*map(str, arguments), "--json"])
    assert stop.value.code == 0


# The last four move and revert a model folder each, which adds up to some seconds.
@pytest.mark.parametrize("method", ["focus", *(pytest.param(m, marks=pytest.mark.slow) for m in list(GIVEN)[1:])])
def test_the_door_gives_each_method_its_material_and_the_move_reverts(method, material, tmp_path, capsys, monkeypatch):
    from tokenry.data import demo_model

    monkeypatch.chdir(material)
    moved, back = tmp_path / "moved", tmp_path / "back"
    door("transplant", demo_model(), "--tokenizer", "tokenizer", "--method", method, *GIVEN[method], "--out", moved)
    facts = json.loads(capsys.readouterr().out)["facts"]
    assert facts["verify.ok"]
    # Punctuation and line ends are in no word; everything else is placed.
    assert facts["made.placed_rows"] > 2 * facts["made.fallback_rows"]
    assert np.isfinite(rows_of(moved)).all()
    door("transplant", "revert", moved, "--out", back)
    assert rows_of(back).tobytes() == rows_of(demo_model()).tobytes()
