"""Less-is-Better: the compiled learner against a slow twin, cases worked out by hand, laws, and an effect."""

import re
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from least_effort_twin import Twin
from typer.testing import CliRunner

from tokenry.cli import app
from tokenry.core.tables import texts
from tokenry.core.vocab import Vocab, check_vocab
from tokenry.data import demo_text
from tokenry.tokenization.hyphens import parts_of
from tokenry.tokenization.least_effort import Learner, settled, train_least_effort
from tokenry.tokenization.least_effort_documents import GAP, Documents, Rules
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
    entries, frames = learner.lexicon().entries, learner.lexicon().frames
    assert len(set(entries)) + len(set(frames)) == len(entries) + len(frames) == learner.n_entries
    assert all(1 <= len(entry) <= learner.rules.max_length for entry in entries)
    assert all(len(half) <= learner.rules.max_length for frame in frames for half in frame)
    held = learner._entry_M[: learner._sizes[1]]
    assert sorted(held[held >= 0].tolist()) == list(range(learner.n_entries))
    for e in range(learner.n_entries):
        assert held[learner._node_E[e]] == e
    assert learner._frames_M[: learner._sizes[1]].sum() == len(frames)


def lexicon_learner(entries: list[str], found: list[str], **rules) -> Learner:
    """A learner over some sentences whose lexicon is the given list, none on probation."""
    documents = Documents.of([*"".join(entries), *found], per_document=10**6)
    tail = Documents(documents.symbols, documents.ends, np.array([len("".join(entries)), len(documents.ends) - 1]),
                     documents.alphabet)  # fmt: skip
    learner = Learner(tail, rules=Rules(**rules))
    learner._symbols_EL = np.zeros((len(entries), learner._width), np.int32)
    learner._frame_E = np.full(len(entries), -1, np.int32)
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


def listed(learner: Learner) -> list:
    """All entries in their order, a frame as a pair."""
    n = learner.n_entries
    return [learner._halves(e) if learner._first_E[e] >= 0 else learner._spelled(learner._row(e)) for e in range(n)]


def test_the_compiled_learner_equals_its_slow_twin():
    found = ["".join(words) for words in words_of_stories(400)]
    for seed, rules in (
        (0, Rules(sentences=50)),
        (7, Rules(sentences=30, max_length=5, memory_in=0.6, life=3)),
        (1, Rules(sentences=25, gaps="published")),
        (2, Rules(sentences=25, gaps="every", memory_in=0.5, longest_filler=9)),
    ):
        documents = Documents.of(found, per_document=rules.sentences)
        learner, twin = Learner(documents, rules=rules, seed=seed), Twin(documents, rules, seed)
        for _ in range(25):
            learner.step()
            twin.step()
            assert listed(learner) == twin.entries
        check_learner(learner)
        assert bool(learner.lexicon().frames) == (rules.gaps != "off")
        taught = {learner._spelled(learner._row(e)): learner._halves(f)
                  for e, f in enumerate(learner._frame_E[: learner.n_entries].tolist()) if f >= 0}  # fmt: skip
        assert taught == twin.taught_by
        assert bool(taught) == (rules.gaps != "off")


@settings(max_examples=40)
@given(st.lists(st.text("abc 京", min_size=1, max_size=20), min_size=1, max_size=8), st.integers(0, 2**70),
       st.sampled_from(["off", "published", "every"]))  # fmt: skip
def test_any_text_and_seed_equal_the_twin(found, seed, gaps):
    rules = Rules(sentences=2, life=3, memory_in=0.7, across_words=seed % 2 == 0, gaps=gaps)
    documents = Documents.of(found, per_document=2)
    learner, twin = Learner(documents, rules=rules, seed=seed), Twin(documents, rules, seed)
    for _ in range(12):
        learner.step()
        twin.step()
    assert listed(learner) == twin.entries
    check_learner(learner)
    if not rules.across_words:
        assert not any(" " in entry[1:] for entry in learner.lexicon().entries)
    for sentence in found:
        for decoding in ("greedy", "fewest"):
            assert "".join(learner.lexicon().segment(sentence, decoding=decoding)) == sentence


def _after_reading(found: list[str], gaps: str) -> Learner:
    """A learner that has read one document with every proposal drawn."""
    learner = lexicon_learner(["a", "b", "c", "d", "x"], found, memory_in=1.0, gaps=gaps)
    learner.step()
    return learner


def test_a_frame_is_learned_at_its_second_sighting_in_a_document():
    assert _after_reading(["axb"], "every").lexicon().frames == ()
    assert set(_after_reading(["axb", "axb"], "every").lexicon().frames) == {("", "x"), ("a", "b"), ("x", "")}
    assert _after_reading(["axb", "axb"], "off").lexicon().frames == ()


def test_what_stands_in_a_known_frame_is_learned_at_once():
    # "cd" is seen once, between a and b, whose frame was seen twice.
    every, off = (_after_reading(["axb", "axb", "acdb"], gaps) for gaps in ("every", "off"))
    assert "cd" in every.lexicon().entries
    assert "cd" not in off.lexicon().entries
    filler = listed(every).index("cd")
    assert listed(every)[every._frame_E[filler]] == ("a", "b")


def test_the_published_search_leaves_the_sentence_at_the_first_frame_that_opens_in_vain():
    # The start of the sentence opens the frame around what comes before x; "acdb" has no x, "acdbx" has.
    assert "cd" not in _after_reading(["axb", "axb", "acdb"], "published").lexicon().entries
    found = _after_reading(["axb", "axb", "acdbx"], "published").lexicon().entries
    assert "cd" in found
    assert "acdb" in found


def test_a_filler_longer_than_allowed_is_not_learned():
    learner = lexicon_learner(["a", "b", "c", "d", "x"], ["axb", "axb", "acdb"], memory_in=1.0, gaps="every",
                              longest_filler=1)  # fmt: skip
    learner.step()
    assert "cd" not in learner.lexicon().entries


def test_a_frame_moves_with_what_it_taught_and_is_lost_with_the_frame():
    learner = _after_reading(["axb", "axb", "acdb"], "every")
    names = listed(learner)
    filler, frame = names.index("cd"), names.index(("a", "b"))
    moves = np.zeros(len(names), np.int64)
    moves[[filler, frame]] = -2
    order, _ = settled(moves, update_rate=learner.rules.update_rate)
    learner._move_E[:] = 0
    learner._move_E[filler] = -2
    learner._settle()
    assert listed(learner) == [names[e] for e in order.tolist()]
    filler, frame = listed(learner).index("cd"), listed(learner).index(("a", "b"))
    assert learner._frame_E[filler] == frame
    learner._life_E[frame] = 1  # its probation ends now
    learner._settle()
    assert ("a", "b") not in listed(learner)
    assert learner._frame_E[listed(learner).index("cd")] == -1


@pytest.mark.parametrize("gaps", ["off", "every"])
def test_an_interrupted_run_ends_as_if_it_had_not_stopped(tmp_path, gaps):
    documents = Documents.of(["".join(words) for words in words_of_stories(400)], per_document=40)
    rules = Rules(gaps=gaps)
    whole, first, second = (Learner(documents, rules=rules, seed=3) for _ in range(3))
    whole.run(60)
    first.run(25)
    first.save(tmp_path / "state.npz")
    second.load(tmp_path / "state.npz")
    second.run(35)
    assert second.lexicon() == whole.lexicon()
    assert second.epoch == 60
    assert listed(second) == listed(whole)
    assert (second._frame_E[: second.n_entries] == whole._frame_E[: whole.n_entries]).all()
    other = Learner(documents, rules=rules, seed=4)
    with pytest.raises(ValueError, match="another run"):
        other.load(tmp_path / "state.npz")
    with np.load(tmp_path / "state.npz") as file:
        arrays = dict(file)
    for name, wrong in (
        ("symbols", arrays["symbols"] + 1000), ("symbols", np.full_like(arrays["symbols"], GAP)),
        ("symbols", np.where(np.arange(arrays["symbols"].shape[1]) == 0, GAP, arrays["symbols"])),
        ("lengths", arrays["lengths"] + 30), ("frames", np.zeros_like(arrays["frames"])),
        ("frames", arrays["frames"] + 10**6), ("symbols", arrays["symbols"][:, :3]),
    ):  # fmt: skip
        np.savez(tmp_path / "hostile.npz", **(arrays | {name: wrong}))
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


def test_frames_shape_the_lexicon_and_are_no_tokens(tmp_path):
    options = {"size": 700, "epochs": 150, "limit": 50}
    vocab = train_least_effort(demo_text("stories"), gaps="every", rules=Rules(memory_in=0.5), **options)
    plain = train_least_effort(demo_text("stories"), rules=Rules(memory_in=0.5), **options)
    assert vocab.fingerprint != plain.fingerprint
    check_vocab(vocab, list(texts(demo_text("stories"), limit=10)))
    held = "".join(texts(demo_text("stories"), limit=50)).encode()
    first = 4 + 256
    assert all(token in held for token in vocab.tokens[first:])  # every entry is a run of characters of the text
    found = CliRunner().invoke(
        app, ["tokenizer", "train", "--data", str(demo_text("stories")), "--limit", "50", "--kind", "least-effort",
              "--size", "600", "--epochs", "60", "--gaps", "every", "--out", str(tmp_path / "tok"), "--json"]
    )  # fmt: skip
    assert found.exit_code == 0, found.output
    written = train_least_effort(demo_text("stories"), size=600, epochs=60, limit=50, gaps="every")
    assert Vocab.open(tmp_path / "tok").tokens == written.tokens
    wrong = ["tokenizer", "train", "--data", str(demo_text("stories")), "--gaps", "every", "--out", str(tmp_path / "x")]
    assert "kind least-effort" in str(CliRunner().invoke(app, wrong).exception)


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
    with pytest.raises(ValueError, match="gaps"):
        Rules(gaps="some")


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


@pytest.mark.slow  # ten lexicons of 1,000 epochs, about 15 s
def test_frames_find_more_word_boundaries_in_text_without_spaces():
    gold = words_of_stories(3000)
    found, scores = ["".join(words) for words in gold], {}
    for gaps in ("off", "published"):
        scores[gaps] = []
        for seed in range(5):
            learner = Learner(Documents.of(found), rules=Rules(gaps=gaps), seed=seed)
            learner.run(1000)
            lexicon = learner.lexicon()
            units = [[p for c in lexicon.segment(s) for p in lexicon.subchunks(c)] for s in found]
            scores[gaps].append(boundary_scores(gold, units, count_ends=True).boundary.f1)
    spread = np.sqrt(sum(np.var(values, ddof=1) / 5 for values in scores.values()))
    assert np.mean(scores["published"]) - np.mean(scores["off"]) > 2 * spread
