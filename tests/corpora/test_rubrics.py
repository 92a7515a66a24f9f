"""Rubrics: questions, strict reading of answers, the grammar of an answer in tokens, preparation of documents."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rating_worlds import SMALL, letters_vocab

from tokenry.core.vocab import Vocab
from tokenry.corpora.rubrics import RUBRICS, ParseError, Ratings, marks, prepare, rubric

DATAMAN = rubric("dataman")


def test_the_shipped_rubrics_are_those_of_the_papers():
    assert [rubric(name).name for name in RUBRICS] == list(RUBRICS)
    assert len(DATAMAN.criteria) == 14
    assert DATAMAN.names[0] == "accuracy"
    assert DATAMAN.names[-1] == DATAMAN.overall == "overall"
    assert "".join(DATAMAN.domains) == "ABCDEFGHIJKLMNO"
    assert rubric("education").levels == ("0", "1", "2", "3", "4", "5")
    assert len({rubric(name).hash for name in RUBRICS}) == 3
    assert DATAMAN.hash == rubric("dataman").hash


@given(st.lists(st.integers(1, 5), min_size=14, max_size=14), st.sampled_from("ABCDEFGHIJKLMNO"))
def test_every_answer_reads_back_as_what_it_says(scores, letter):
    ratings = Ratings(tuple(scores), letter)
    answer = DATAMAN.answer(ratings)
    assert DATAMAN.parse(answer) == ratings
    assert DATAMAN.parse(f"{answer}\n{answer}\n") == ratings  # two equal halves
    named = [f"[{place}] {one.title}: {score}/5" for place, (one, score) in
             enumerate(zip(DATAMAN.criteria, scores, strict=True), 1)]  # fmt: skip
    assert DATAMAN.parse("\n".join([*named, f"[15] Application Domain: {letter}"])) == ratings
    starred = [f"{place}. **{one.title}**: {score}" for place, (one, score) in
               enumerate(zip(DATAMAN.criteria, scores, strict=True), 1)]  # fmt: skip
    assert DATAMAN.parse("\n".join([*reversed(starred), f"Domain: {DATAMAN.domains[letter]}"])) == ratings


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("", "0 domains; need 1"),
        ("A", "0 scores; need 2"),
        ("1\n2", "0 domains"),
        ("A\nB\n1\n2", "2 domains"),
        ("A\n1", "1 scores"),
        ("A\n1\n2\n3", "3 scores"),
        ("A\n1\n2\n1\n3", "4 scores"),
        ("A\n1\nN/A", "not rated"),
        ("A\nFirst: 1\nSecond: n/a", "second is not rated"),
        ("A\n0\n2", "a score of 0 outside 1 to 5"),
        ("A\n1\n6", "outside"),
        ("A\n1\n-2", "'-2' is no score from 1 to 5"),
        ("A\n1\n2/10", "no score"),
        ("A\n1\n2 of them", "no score"),
        ("A\nFirst: 1\nThird: 2", "'third' is no criterion"),
        ("A\nFirst: 1\nFirst: 2", "are not: second"),
        ("A\nFirst: 1\n2", "are not: second"),
        ("Z\n1\n2", "'Z' is no domain"),
        ("I think it is a fine text.", "is no domain"),
        ("A\n1\n2" * 5000, "characters"),
    ],
)
def test_an_answer_that_is_not_whole_gives_its_reason(answer, reason):
    found = SMALL.parse(answer)
    assert isinstance(found, ParseError)
    assert reason in found.reason


@given(st.text(max_size=60) | st.text(alphabet="AB12345./:\nN", max_size=12))
def test_no_answer_breaks_the_reader(answer):
    found = SMALL.parse(answer)
    assert isinstance(found, ParseError) or (len(found.scores) == 2 and all(1 <= one <= 5 for one in found.scores))


@pytest.mark.parametrize(("said", "read"), [("2.4", 2), ("2.9", 2), ("3.1", 4), ("3.0", 3), ("4.5", 5), ("1.5", 1)])
def test_fractions_go_away_from_the_middle(said, read):
    assert SMALL.parse(f"A\n{said}\n3") == Ratings((read, 3), "A")


def test_an_answer_has_29_tokens_where_letters_and_digits_are_tokens():
    steps = DATAMAN.answer_grammar(letters_vocab())
    assert len(steps) == 29
    assert [len(step.tokens) for step in steps] == [15] + [1, 5] * 14


@pytest.mark.parametrize("more", [(), ("Ċ1", "Ċ2", "Ċ3", "Ċ4", "Ċ5"), ("1Ċ", "2Ċ"), ("AĊ",), ("Ċ1",)])
def test_the_grammar_spells_every_answer_whatever_the_vocabulary_merges(more):
    vocab = letters_vocab(*more)
    steps = SMALL.answer_grammar(vocab)
    for letter in "AB":
        for scores in ((1, 1), (5, 5), (2, 4), (3, 1)):
            said = [letter, *map(str, scores)]
            ids = [step.tokens[step.values.index(said.pop(0))] if step.values else step.tokens[0] for step in steps]
            assert SMALL.parse(vocab.decode(ids)) == Ratings(scores, letter)
    if more == ("Ċ1", "Ċ2", "Ċ3", "Ċ4", "Ċ5"):
        assert len(steps) == 3  # as the vocabulary cuts it
        assert vocab.encode(["A\n2\n5"])[0].tolist() == [steps[0].tokens[0], steps[1].tokens[1], steps[2].tokens[4]]
    else:
        assert len(steps) == 5


def test_a_vocabulary_without_digits_is_refused():
    from tokenizers import Tokenizer, models, pre_tokenizers

    backend = Tokenizer(models.WordLevel({"a": 0, "\n": 1, "<unk>": 2}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    with pytest.raises(ValueError, match="no token for"):
        SMALL.answer_grammar(Vocab.open(backend))


def test_a_document_loses_quoted_dots_images_and_its_middle():
    assert prepare('"... and so on', 100) == ("and so on", False)
    assert prepare('see ![a cat](http://x/y.png) there ![b](z "t")', 100) == ("see  there ", False)
    assert prepare("not an image [link](x)", 100) == ("not an image [link](x)", False)
    text = "".join(chr(97 + place % 26) for place in range(1001))
    cut, was_cut = prepare(text, 100)
    assert (len(cut), was_cut, cut[:50], cut[50:]) == (100, True, text[:50], text[-50:])
    assert prepare("![" * 50_000 + "](", 10**6)[1] is False  # no pattern takes forever


def test_the_question_names_everything_and_the_document_stands_inside():
    asked = DATAMAN.prompt("THE TEXT")
    for one in DATAMAN.criteria:
        assert f"- {one.title}: 1 = {one.low}; 5 = {one.high}" in asked
    assert "K Transportation" in asked
    assert "BEGIN>>>\nTHE TEXT\n<<<END" in asked


@given(
    st.text(alphabet="<> BEGINendx0\n", max_size=40), st.sampled_from(["", "<<<END", "\n<<<End\nAnswer", "BEGIN>>>"])
)
def test_no_document_holds_the_marks_around_it(text, more):
    text = text + more
    begin, end = marks(text)
    assert begin.strip() not in text
    assert end.strip() not in text
    assert marks(text) == (begin, end)
    if more:
        assert (begin, end) != marks("plain")
        asked = DATAMAN.prompt(text)
        assert asked.count(begin) == asked.count(end) == 1


def test_a_rubric_of_ones_own_comes_from_a_file(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('[mine]\nscale=[0,3]\n[[mine.criteria]]\nname="fun"\nlow="dull"\nhigh="fun"\n')
    mine = rubric(path)
    assert (mine.name, mine.levels, mine.parse("2")) == ("mine", ("0", "1", "2", "3"), Ratings((2,)))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"not toml", "laid out as no rubric"),
        (b"\xff", "laid out as no rubric"),
        (b"[mine]\nscale=[0,3]\n", "laid out as no rubric"),
        (b"[mine]\ncriteria=[]\n", "need different names"),
        (b'[mine]\nscale=[0,12]\n[[mine.criteria]]\nname="a"\nlow="x"\nhigh="y"\n', "need two digits"),
        (b'[mine]\n[[mine.criteria]]\nname="A b"\nlow="x"\nhigh="y"\n', "small letters"),
        (b'[mine]\nfoo=1\n[[mine.criteria]]\nname="a"\nlow="x"\nhigh="y"\n', "foo"),
        (b'[mine]\nscale=["a",5]\n[[mine.criteria]]\nname="a"\nlow="x"\nhigh="y"\n', "need two digits"),
        (b'[mine]\n[[mine.criteria]]\nname="error"\nlow="x"\nhigh="y"\n', "a column of its own"),
        (b'[mine]\noverall="b"\n[[mine.criteria]]\nname="a"\nlow="x"\nhigh="y"\n', "is no criterion"),
        (b"", "0 tables"),
    ],
)
def test_a_file_that_is_no_rubric_is_named(tmp_path, content, message):
    path = tmp_path / "mine.toml"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        rubric(path)


def test_an_unknown_rubric_gets_the_nearest_name(tmp_path):
    with pytest.raises(ValueError, match="dataman"):
        rubric("datamen")
    with pytest.raises(FileNotFoundError, match="need a rubric"):
        rubric(tmp_path / "none.toml")
