"""Less-is-Better: the compiled learner against a slow twin, cases worked out by hand, laws, and an effect."""

import re
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from least_effort_twin import Twin

from tokenry.core.tables import texts
from tokenry.core.vocab import Vocab, check_vocab
from tokenry.data import demo_text
from tokenry.tokenization.hyphens import parts_of
from tokenry.tokenization.least_effort import Documents, Learner, Rules, settled, train_least_effort
from tokenry.tokenization.least_effort_lexicon import Lexicon, least_effort_spec, sentences, to_vocab
from tokenry.tokenization.word_boundaries import boundary_scores


def words_of_stories(n: int | None = None) -> list[list[str]]:
    """Sentences of the carried stories as lower-case words."""
    found = [
        re.findall(r"[a-z']+", sentence)
        for text in texts(demo_text("stories"))
        for sentence in re.split(r"[.!?\n]+", text.lower())
    ]
    return [words for words in found if words][:n]


def check_learner(learner: Learner) -> None:
    """The laws of a lexicon: no entry twice, none too long, and the index holds the same set as the list."""
    entries = learner.lexicon().entries
    assert len(set(entries)) == len(entries) == learner.n_entries
    assert all(1 <= len(entry) <= learner.rules.max_length for entry in entries)
    held = learner._entry_M[: learner._sizes[1]]
    assert sorted(held[held >= 0].tolist()) == list(range(len(entries)))
    for e in range(len(entries)):
        assert held[learner._node_E[e]] == e


def lexicon_learner(entries: list[str], found: list[str], **rules) -> Learner:
    """A learner over some sentences whose lexicon is the given list, none on probation."""
    documents = Documents.of([*"".join(entries), *found], per_document=10**6)
    tail = Documents(documents.symbols, documents.ends, np.array([len("".join(entries)), len(documents.ends) - 1]),
                     documents.alphabet)  # fmt: skip
    learner = Learner(tail, rules=Rules(**rules))
    learner._symbols_EL = np.zeros((len(entries), learner.rules.max_length), np.int32)
    for e, entry in enumerate(entries):
        learner._symbols_EL[e, : len(entry)] = [documents.alphabet.index(c) for c in entry]
    learner._length_E = np.array([len(entry) for entry in entries], np.int32)
    learner._life_E = np.zeros(len(entries), np.int32)
    learner._sizes = np.array([len(entries), 1], np.int64)
    learner._reindex()
    return learner


def test_a_pair_is_learned_at_its_second_sighting_in_a_document():
    # With memory_in = 1 "ab" is proposed at the second chunk and again at the fourth.
    assert "ab" in _after_one_epoch(["abab"])
    assert "ab" in _after_one_epoch(["ab", "ab"])
    assert "ab" not in _after_one_epoch(["ab"])


def _after_one_epoch(found: list[str]) -> tuple[str, ...]:
    learner = lexicon_learner(["a", "b"], found, memory_in=1.0)
    learner.step()
    return learner.lexicon().entries


def test_two_sightings_in_different_documents_teach_nothing():
    learner = Learner(Documents.of(["ab", "ab"], per_document=1), rules=Rules(memory_in=1.0))
    learner.run(8)
    assert "ab" not in learner.lexicon().entries


def test_examination_prefers_the_reading_without_unknown_characters():
    # "themen": greedy reads them + e? + n, the other way the + men has no unknown character.
    learner = lexicon_learner(["x", "n", "men", "me", "them", "the"], ["themen"], memory_in=0.0)
    moves = _moves_of_one_document(learner)
    assert moves["them"] == 1
    assert moves["the"] == -1


def test_examination_confirms_a_chunk_that_saves_tokens():
    # "them": the other way reads the + m, one chunk more.
    learner = lexicon_learner(["the", "m", "them"], ["them"], memory_in=0.0)
    assert _moves_of_one_document(learner) == {"the": 0, "m": 0, "them": -1}


def test_examination_decides_a_draw_by_rank():
    # "abc" is ab + c or a + bc; both have two chunks, and a + bc stands higher up.
    learner = lexicon_learner(["a", "bc", "ab", "c"], ["abc"], memory_in=0.0)
    moves = _moves_of_one_document(learner)
    assert moves["ab"] == 1
    assert moves["a"] == -1
    learner = lexicon_learner(["ab", "c", "a", "bc"], ["abc"], memory_in=0.0)
    assert _moves_of_one_document(learner)["ab"] == -1


def _moves_of_one_document(learner: Learner) -> dict[str, int]:
    kept = {}

    def settle() -> None:
        names = learner.lexicon().entries
        kept.update(zip(names, learner._move_E[: len(names)].tolist(), strict=True))

    learner._settle = settle
    learner.step()
    return kept


def test_a_move_is_a_fifth_of_the_place_and_one():
    moves = np.zeros(100, np.int64)
    moves[50] = -1
    order, kept = settled(moves, update_rate=0.2)
    assert order.tolist().index(50) == 50 - 11
    moves[50] = 1
    order, _ = settled(moves, update_rate=0.2)
    assert order.tolist().index(50) == 50 + 11
    moves[50], moves[95] = 0, 1
    order, kept = settled(moves, update_rate=0.2)
    assert not kept[95]
    assert kept.sum() == 99


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=60), st.sampled_from([0.0, 0.2, 0.5]))
def test_moves_permute_the_list_and_a_single_one_is_a_list_move(moves, rate):
    moves = np.array(moves)
    order, kept = settled(moves, update_rate=rate)
    assert sorted(order.tolist()) == list(range(len(moves)))
    assert kept[moves <= 0].all()
    at = int(np.argmax(np.abs(moves)))
    alone = np.zeros_like(moves)
    alone[at] = np.sign(moves[at])
    order, kept = settled(alone, update_rate=rate)
    new = max(0, at + int(alone[at]) * (int(at * rate) + 1))
    listed = list(range(len(moves)))
    listed.insert(new, listed.pop(at))
    if kept.all():
        assert order.tolist() == listed


def test_the_compiled_learner_equals_its_slow_twin():
    found = ["".join(words) for words in words_of_stories(400)]
    for seed, rules in ((0, Rules(sentences=50)), (7, Rules(sentences=30, max_length=5, memory_in=0.6, life=3))):
        documents = Documents.of(found, per_document=rules.sentences)
        learner, twin = Learner(documents, rules=rules, seed=seed), Twin(documents, rules, seed)
        for _ in range(25):
            learner.step()
            twin.step()
            assert learner.lexicon().entries == tuple(twin.entries)
        check_learner(learner)


@settings(max_examples=30)
@given(st.lists(st.text("abc 京", min_size=1, max_size=20), min_size=1, max_size=8), st.integers(0, 2**70))
def test_any_text_and_seed_equal_the_twin(found, seed):
    rules = Rules(sentences=2, life=3, memory_in=0.7, across_words=seed % 2 == 0)
    documents = Documents.of(found, per_document=2)
    learner, twin = Learner(documents, rules=rules, seed=seed), Twin(documents, rules, seed)
    for _ in range(12):
        learner.step()
        twin.step()
    assert learner.lexicon().entries == tuple(twin.entries)
    check_learner(learner)
    if not rules.across_words:
        assert not any(" " in entry[1:] for entry in learner.lexicon().entries)
    for sentence in found:
        for decoding in ("greedy", "fewest"):
            assert "".join(learner.lexicon().segment(sentence, decoding=decoding)) == sentence


def test_an_interrupted_run_ends_as_if_it_had_not_stopped(tmp_path):
    documents = Documents.of(["".join(words) for words in words_of_stories(400)], per_document=40)
    whole, first, second = (Learner(documents, seed=3) for _ in range(3))
    whole.run(60)
    first.run(25)
    first.save(tmp_path / "state.npz")
    second.load(tmp_path / "state.npz")
    second.run(35)
    assert second.lexicon() == whole.lexicon()
    assert second.epoch == 60
    other = Learner(documents, seed=4)
    with pytest.raises(ValueError, match="another run"):
        other.load(tmp_path / "state.npz")
    with np.load(tmp_path / "state.npz") as file:
        arrays = dict(file)
    np.savez(tmp_path / "hostile.npz", **(arrays | {"symbols": arrays["symbols"] + 1000}))
    with pytest.raises(ValueError, match="damaged"):
        second.load(tmp_path / "hostile.npz")
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04 not really")
    with pytest.raises(ValueError, match="not a state"):
        other.load(tmp_path / "broken.npz")


def test_training_resumes_from_its_state_and_gives_the_same_tokenizer(tmp_path):
    options = {"size": 600, "seed": 1, "limit": 60}
    whole = train_least_effort(demo_text("stories"), epochs=120, **options)
    train_least_effort(demo_text("stories"), epochs=50, resume=tmp_path / "s.npz", **options)
    resumed = train_least_effort(demo_text("stories"), epochs=120, resume=tmp_path / "s.npz", **options)
    assert resumed.fingerprint == whole.fingerprint


@pytest.mark.parametrize("decoding", ["greedy", "fewest"])
def test_the_tokenizer_keeps_the_laws_and_cuts_as_the_lexicon_does(decoding, tmp_path):
    vocab = train_least_effort(demo_text("stories"), size=900, epochs=400, decoding=decoding, limit=100)
    assert vocab.size == 900
    odd = ["", " ", "Zoë's  naïve café\n\n北京大学 😀 \x00 <s> don't", "a" * 5000, "...!?!?", "\n" * 100, "é" * 700]
    check_vocab(vocab, [*odd, *texts(demo_text("stories"), limit=20)])
    for text in odd:
        assert vocab.decode(vocab.encode([text])[0]) == text
    vocab.to_hf(tmp_path)
    assert Vocab.open(tmp_path).fingerprint == vocab.fingerprint
    assert any(b" " in (token or b"").strip() for token in vocab.tokens)  # several words in one token


@given(st.lists(st.text("ab", min_size=1, max_size=4), min_size=1, max_size=8, unique=True), st.text("ab", max_size=9))
def test_fewest_is_the_best_of_all_segmentations(entries, text):
    lexicon = Lexicon(tuple(entries))

    def cost(pieces: list[str]) -> tuple[int, int]:
        return len(pieces), sum(lexicon.rank.get(piece, len(lexicon)) for piece in pieces)

    ways = [[]] if not text else []
    for n in range(len(text)):
        for cuts in combinations(range(1, len(text)), n):
            pieces = parts_of(text, cuts)
            if all(piece in lexicon.rank or len(piece) == 1 for piece in pieces):
                ways.append(pieces)
    assert cost(lexicon.segment(text, decoding="fewest")) == min(map(cost, ways))
    greedy = lexicon.segment(text)
    assert "".join(greedy) == text
    at = 0
    for piece in greedy:
        longer = [entry for entry in entries if text.startswith(entry, at) and len(entry) > len(piece)]
        assert not longer
        at += len(piece)


@pytest.mark.parametrize("decoding", ["greedy", "fewest"])
def test_the_file_cuts_as_the_lexicon_does(decoding):
    learner = Learner(Documents.of(list(texts(demo_text("stories"), limit=60)), per_document=5), seed=2)
    learner.run(150)
    lexicon, spec = learner.lexicon(), least_effort_spec()
    vocab = to_vocab(lexicon, spec, size=10_000, decoding=decoding)
    for sentence in sentences(texts(demo_text("stories"), limit=8), spec):
        ours = lexicon.segment(sentence, decoding=decoding)
        theirs = [vocab.tokens[i].decode() for i in vocab.encode([sentence])[0]]
        if decoding == "greedy":
            assert ours == theirs
        ranks = [sum(lexicon.rank.get(piece, len(lexicon)) for piece in side) for side in (ours, theirs)]
        assert (len(ours), ranks[0]) == (len(theirs), ranks[1])


def test_an_entry_comes_apart_into_entries_of_higher_priority():
    lexicon = Lexicon(("the", "do", "g", "dog", "thedo", "thedog", "og"))
    assert lexicon.subchunks("thedog", levels=1) == ("the", "dog")
    assert lexicon.subchunks("thedog") == ("the", "do", "g")
    assert lexicon.subchunks("dog") == ("do", "g")
    assert lexicon.subchunks("the") == ("the",)
    assert Lexicon(("dog", "do", "g")).subchunks("dog") == ("dog",)


def test_autotokenizer_opens_it_and_cuts_alike(tmp_path):
    transformers = pytest.importorskip("transformers")
    vocab = train_least_effort(demo_text("stories"), size=700, epochs=200, limit=50)
    vocab.to_hf(tmp_path)
    opened = transformers.AutoTokenizer.from_pretrained(tmp_path)
    for text in texts(demo_text("stories"), limit=5):
        assert opened.encode(text, add_special_tokens=False) == vocab.encode([text])[0].tolist()
        assert opened.decode(opened.encode(text, add_special_tokens=False)) == text


def test_without_spaces_the_tokenizer_drops_them():
    vocab = train_least_effort(["the dog and the cat"] * 30, size=300, epochs=60, keep_spaces=False)
    assert vocab.decode(vocab.encode(["the dog"])[0]) == "thedog"


def test_a_smaller_size_drops_the_last_entries_and_never_a_byte_or_character():
    small = train_least_effort(demo_text("stories"), size=400, epochs=200, limit=50)
    large = train_least_effort(demo_text("stories"), size=600, epochs=200, limit=50)
    assert large.tokens[:400] == small.tokens
    assert {bytes((byte,)) for byte in range(256)} <= set(small.tokens)


def test_what_cannot_be_learned_from_is_refused():
    with pytest.raises(ValueError, match="no text"):
        train_least_effort([""], size=300)
    with pytest.raises(ValueError, match="Ask for at least"):
        train_least_effort(["abc"], size=100, epochs=5)
    with pytest.raises(ValueError, match="running text"):
        train_least_effort(["abc"], size=300, workers=2)
    with pytest.raises(ValueError, match="decoding"):
        train_least_effort(["abc"], size=300, decoding="best")
    with pytest.raises(ValueError, match="update_rate"):
        Rules(update_rate=-1)


def test_it_finds_words_in_text_without_spaces_far_better_than_a_random_lexicon():
    # The control keeps everything but what is learned: as many entries of the same lengths, drawn from the same text.
    gold = words_of_stories(1500)
    found = ["".join(words) for words in gold]
    learner = Learner(Documents.of(found), seed=0)
    learner.run(400)
    lexicon = learner.lexicon()
    draws = np.random.default_rng(0)
    text = "".join(found)
    drawn = {
        text[at : at + len(entry)]
        for entry, at in zip(lexicon.entries, draws.integers(0, len(text) - 12, len(lexicon)), strict=True)
    }
    control = type(lexicon)((*dict.fromkeys(text), *(entry for entry in sorted(drawn) if len(entry) > 1)))
    ours, theirs = (
        boundary_scores(gold, [[p for c in lex.segment(s) for p in lex.subchunks(c)] for s in found])
        for lex in (lexicon, control)
    )
    # Over 8,000 inner boundaries: a difference of 10 points is more than ten standard errors.
    assert ours.boundary.f1 > theirs.boundary.f1 + 0.10
    assert ours.word.f1 > 2 * theirs.word.f1
