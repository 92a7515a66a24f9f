"""Brackets are read as they stand, broken ones are told, and every phrase has the head a linguist would give it."""

import itertools

import nltk
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenry.corpora.dependency_trees import Skipped, read_conllu
from tokenry.corpora.parse_trees import MAX_DEPTH, Tree, detokenise, read_trees


@pytest.mark.parametrize(
    ("brackets", "collins", "content"),
    [
        ("(NP (NP (DT the) (JJ big) (NN dog)) (PP (IN of) (NP (DT the) (NN man))))", "dog", "dog"),
        ("(VP (VBZ has) (VP (VBN been) (VP (VBN eaten))))", "has", "eaten"),
        ("(NP (NN cat) (CC and) (NN dog))", "cat", "cat"),
        ("(NP (NP (NN cat)) (CC and) (NP (NN dog)))", "cat", "cat"),
        ("(NP (NN cat) (, ,) (NN cow) (CC and) (NN dog))", "cat", "cat"),
        ("(NP (NNP John) (POS 's))", "'s", "'s"),
        ("(NP (CD two))", "two", "two"),
        ("(S (NP (PRP he)) (VP (VBD ran)) (. .))", "ran", "ran"),
        ("(SBAR (WHNP (WP who)) (S (VP (VBD ran))))", "who", "who"),
        ("(ADVP (RB very) (RB often))", "often", "often"),
        ("(PP (IN in) (NP (NN town)))", "in", "in"),
    ],
)
def test_heads_are_those_of_the_table(brackets, collins, content):
    assert read_trees(brackets)[0].head_leaf.word == collins
    assert read_trees(brackets, heads="content")[0].head_leaf.word == content


def test_function_tags_traces_and_the_outer_bracket_are_taken_off():
    text = "( (S (NP-SBJ-1 (NNP Ann)) (VP (VBD ran) (NP (-NONE- *-1))) (-LRB- -LRB-) (. .)) )"
    assert str(read_trees(text)[0]) == "(S (NP (NNP Ann)) (VP (VBD ran)) (-LRB- -LRB-) (. .))"
    assert read_trees(text)[0].words == ["Ann", "ran", "(", "."]
    assert read_trees(r"(NP (CD 1\/2))")[0].words == ["1/2"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("(S (NP (NN a))", "never closed"),
        ("(S (NN a)) )", "outside of any bracket"),
        ("word", "outside of any bracket"),
        ("(S word (NN a))", "beside others"),
        ("(S (NN a) (NN b)\n( ))", "line 2"),
        ("(A " * (MAX_DEPTH + 5), "levels"),
        ("(S " + "(NN a) " * 6000 + ")", "nodes"),
    ],
)
def test_broken_or_huge_brackets_are_told_with_their_place(text, says):
    with pytest.raises(ValueError, match=says):
        read_trees(text)


_LEAF = st.tuples(st.sampled_from(["NN", "VB", "DT"]), st.sampled_from(["a", "b", "won't", "x-y"])).map(
    lambda leaf: f"({leaf[0]} {leaf[1]})"
)
_TREES = st.recursive(
    _LEAF,
    lambda inner: st.tuples(st.sampled_from(["S", "NP", "VP"]), st.lists(inner, min_size=1, max_size=4)).map(
        lambda node: f"({node[0]} {' '.join(node[1])})"
    ),
    max_leaves=20,
)


@given(_TREES)
def test_reading_agrees_with_nltk_and_writing_gives_the_text_back(brackets):
    tree = read_trees(brackets)[0]
    assert str(tree) == brackets
    assert tree.words == nltk.Tree.fromstring(brackets).leaves()
    for path, node in tree.nodes():
        begin, end = tree.span(path)
        assert [leaf.word for leaf in tree.leaves[begin:end]] == node.words
        assert tree.with_at(path, node) == tree


@given(st.lists(st.sampled_from(["a", ",", ".", "(", ")", "``", "''", "n't", "'s", "$", "5", '"', "ß"]), max_size=12))
def test_spans_of_written_words_hold_the_words(words):
    text, spans = detokenise([Tree("", word=word) for word in words])
    assert len(spans) == len(words)
    assert all(a[1] <= b[0] for a, b in itertools.pairwise(spans))
    for word, (begin, end) in zip(words[1:], spans[1:], strict=False):
        assert text[begin:end] == {"``": '"', "''": '"'}.get(word, word)


def _written(words, label=""):
    return detokenise([Tree("HYPH" if word == "-" else label, word=word) for word in words])[0]


def test_words_are_written_as_a_person_would():
    words = ["the", "dog", "did", "n't", "bark", "(", "at", "$", "5", ")", ",", '"', "he", "said", '"', "."]
    assert _written(words) == 'The dog didn\'t bark (at $5), "he said".'
    assert _written(["a", "right", "-", "sided", "``", "ache", "''"]) == 'A right-sided "ache"'
    assert _written(["the", "new", "''", "Conan", "''"]) == 'The new "Conan"'  # as some texts quote


_CONLLU = """# sent_id = one
# text = The old dog of Ann saw cats.
1\tThe\tthe\tDET\tDT\t_\t3\tdet\t_\t_
2\told\told\tADJ\tJJ\t_\t3\tamod\t_\t_
3\tdog\tdog\tNOUN\tNN\t_\t6\tnsubj\t_\t_
4\tof\tof\tADP\tIN\t_\t5\tcase\t_\t_
5\tAnn\tAnn\tPROPN\tNNP\t_\t3\tnmod\t_\t_
6\tsaw\tsee\tVERB\tVBD\t_\t0\troot\t_\t_
7\tcats\tcat\tNOUN\tNNS\t_\t6\tobj\t_\t_
8\t.\t.\tPUNCT\t.\t_\t6\tpunct\t_\t_

# sent_id = crossing
1\ta\ta\tNOUN\tNN\t_\t3\tdep\t_\t_
2\tb\tb\tVERB\tVB\t_\t0\troot\t_\t_
3\tc\tc\tNOUN\tNN\t_\t2\tobj\t_\t_
4\td\td\tNOUN\tNN\t_\t1\tdep\t_\t_

"""


def test_a_dependency_treebank_becomes_trees_with_its_own_heads():
    skipped = Skipped()
    found = list(read_conllu(_CONLLU, skipped=skipped))
    assert [one.id for one in found] == ["one"]
    assert skipped.counts == {"non-projective": 1}
    assert str(found[0].tree) == (
        "(S (NP (DT The) (JJ old) (NN dog) (PP (IN of) (NNP Ann))) (VBD saw) (NP (NNS cats)) (. .))"
    )
    assert found[0].tree.head_leaf.word == "saw"
    assert found[0].tree.children[0].head_leaf.word == "dog"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("1\ta\n", "2 columns"),
        ("1\ta\ta\tX\tX\t_\t7\tdep\t_\t_\n", "no word"),
        ("1\ta\ta\tX\tX\t_\t1\tdep\t_\t_\n", "0 roots"),
        ("1\ta\ta\tX\tX\t_\t0\troot\t_\t_\n2\tb\tb\tX\tX\t_\t3\td\t_\t_\n3\tc\tc\tX\tX\t_\t2\td\t_\t_\n", "circle"),
    ],
)
def test_a_broken_treebank_is_told(text, says):
    with pytest.raises(ValueError, match=says):
        list(read_conllu(text))
