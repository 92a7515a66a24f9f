"""The grammar against nltk, against closed forms, and against every tree counted one by one."""

import itertools
import math

import nltk
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenry.corpora.grammar import LexicalizedPCFG
from tokenry.corpora.parse_trees import Tree, read_trees
from tokenry.worlds.treebanks import sentences_of

BANK = """
(S (NP (PRP I)) (VP (VBP see) (NP (NP (DT the) (NN man)) (PP (IN with) (NP (DT the) (NN dog))))))
(S (NP (PRP I)) (VP (VBP see) (NP (DT the) (NN dog)) (PP (IN with) (NP (DT the) (NN man)))))
(S (NP (NNS dogs)) (VP (VP (VBP see)) (CC and) (VP (VBP bark))))
"""


@pytest.fixture(scope="module")
def grammar():
    return LexicalizedPCFG.from_trees(read_trees(BANK))


@pytest.fixture(scope="module")
def peer():
    productions = [p for one in BANK.strip().splitlines() for p in nltk.Tree.fromstring(one).productions()]
    return nltk.induce_pcfg(nltk.Nonterminal("S"), productions)


def test_rule_probabilities_are_those_of_nltk(grammar, peer):
    theirs = {
        (p.lhs().symbol(), tuple(one if isinstance(one, str) else one.symbol() for one in p.rhs())): p.prob()
        for p in peer.productions()
    }
    assert dict(grammar.rule_probs) == pytest.approx(theirs)
    assert grammar.rule_probs["NP", ("DT", "NN")] == 4 / 8
    for label in grammar.labels:
        assert sum(p for (left, _), p in grammar.rule_probs.items() if left == label) == pytest.approx(1)


@pytest.mark.parametrize(
    "text",
    [
        "I see the dog with the man",
        "dogs see and bark",
        "dogs see the man with the dog with the man",
        "I see with",
        "I",
    ],
)
def test_the_best_tree_is_that_of_nltk(grammar, peer, text):
    theirs = list(nltk.ViterbiParser(peer).parse(text.split()))
    ours = grammar.parse(text.split())
    assert (ours is None) == (not theirs)
    if ours is not None:
        tree, log_p = ours
        assert log_p == pytest.approx(math.log(theirs[0].prob()))
        assert log_p == pytest.approx(grammar.log_q(tree))
        assert tree.words == text.split()


def _all_trees(grammar: LexicalizedPCFG, label: str, words: tuple[str, ...], depth: int) -> list[float]:
    """Probability of every tree of `words` below `label`, one by one; chains of single children up to `depth`."""
    found = []
    if len(words) == 1 and words[0] in grammar.words.get(label, ()):
        found.append(grammar.rule_probs[label, words])
    for side in grammar.rules.get(label, ()):
        if len(side) > len(words) or (len(side) == 1 and depth == 0):
            continue
        q = grammar.rule_probs[label, side]
        for cuts in itertools.combinations(range(1, len(words)), len(side) - 1):
            ends = (0, *cuts, len(words))
            parts = [
                _all_trees(grammar, one, words[a:b], depth - 1 if len(side) == 1 else 40)
                for one, a, b in zip(side, ends, ends[1:], strict=False)
            ]
            found += [q * math.prod(choice) for choice in itertools.product(*parts)]
    return found


@pytest.mark.parametrize("text", ["I see the dog with the man", "dogs see the man with the dog with the man"])
def test_the_inside_probability_is_the_sum_over_all_trees(grammar, text):
    every = _all_trees(grammar, "S", tuple(text.split()), 40)
    assert len(every) >= 2
    assert grammar.inside(text.split()) == pytest.approx(math.log(sum(every)))
    assert grammar.parse(text.split())[1] == pytest.approx(math.log(max(every)))


def test_a_circle_of_single_children_is_summed_exactly():
    # q(A -> B) = 1/2, q(A -> a) = 1/2, q(B -> A) = 1/2, q(B -> b) = 1/2: A makes "a" with 1/2 (1 + 1/4 + 1/16 ...).
    trees = [Tree("A", (Tree("B", (Tree("A", (Tree("a", word="x"),)),)),)), Tree("B", (Tree("b", word="y"),))]
    grammar = LexicalizedPCFG.from_trees(trees)
    assert grammar.inside(["x"], root="A") == pytest.approx(math.log(2 / 3))
    assert grammar.parse(["x"], root="A")[1] == pytest.approx(math.log(1 / 2))


def test_long_sentences_do_not_underflow():
    grammar = LexicalizedPCFG.from_trees(read_trees("(S (N a) (S (N a) (S (N b))))"))
    words = ["a"] * 120 + ["b"]
    # One tree only: 120 times S -> N S (2/3), once S -> N (1/3), words 2/3 and 1/3.
    log_p = 120 * (math.log(2 / 3) + math.log(2 / 3)) + 2 * math.log(1 / 3)
    assert grammar.inside(words) == pytest.approx(log_p)
    assert grammar.parse(words)[1] == pytest.approx(log_p)


def test_a_new_word_needs_smoothing(grammar):
    words = ["I", "see", "the", "unicorn"]
    assert grammar.parse(words) is None
    tree, log_p = grammar.parse(words, smooth=True)
    assert str(tree) == "(S (NP (PRP I)) (VP (VBP see) (NP (DT the) (NN unicorn))))"
    assert math.isfinite(log_p)
    assert grammar.inside(words, smooth=True) >= log_p


@given(st.integers(0, 10_000), st.integers(4, 14))
def test_sampled_trees_are_derivable_and_bounded(seed, depth):
    grammar = LexicalizedPCFG.from_trees(read_trees(BANK))
    tree = grammar.sample(np.random.default_rng(seed), max_depth=depth)
    assert max(len(path) for path, _ in tree.nodes()) + 1 <= depth
    assert grammar.knows(tree)
    assert math.isfinite(grammar.log_q(tree))
    assert grammar.sample(np.random.default_rng(seed), max_depth=depth) == tree
    found, best = grammar.parse(tree.words)
    assert best >= grammar.log_q(tree) - 1e-9
    assert found.words == tree.words
    assert grammar.inside(tree.words) >= best - 1e-9


def test_too_shallow_a_bound_is_told(grammar):
    with pytest.raises(ValueError, match="shallowest tree has 3 levels"):
        grammar.sample(np.random.default_rng(0), max_depth=2)


def test_the_spectral_radius_is_the_closed_form():
    # Every S has 1 or 0 S below it, one each time in two: the expectation matrix is 1/2.
    grammar = LexicalizedPCFG.from_trees(read_trees("(S (N a) (S (N b)))"))
    assert grammar.growth == pytest.approx(0.5)


def test_the_lexicalised_model_sums_to_one_over_the_shapes_it_saw_and_the_rest():
    """Witten-Bell: 1 of 2 outcomes seen 3 and 1 times in 4: (3 + 2 f) / 6, where f is the floor."""
    trees = read_trees("(S (N a))" * 3 + "(S (N a) (N a))")
    grammar = LexicalizedPCFG.from_trees(trees)
    contexts = (("S", "N", "a"), ("S", "N"), ("S",))
    one = grammar._children.p(contexts, (("N",), 0), 0.0)
    two = grammar._children.p(contexts, (("N", "N"), 0), 0.0)
    # With floor 0, each of three levels passes on its seen share: p3 = (c + 2 p2) / 6, and so on.
    expected = [0.0, 0.0]
    for _ in range(3):
        expected = [(3 + 2 * expected[0]) / 6, (1 + 2 * expected[1]) / 6]
    assert [one, two] == pytest.approx(expected)


def test_heads_make_a_tree_likelier_in_its_own_class():
    """20 sentences of each class; the own grammar must explain all fresh sentences better than the other two."""
    banks = {}
    for label, brackets in sentences_of(20, seed=1):
        banks.setdefault(label, []).extend(read_trees(brackets))
    grammars = {label: LexicalizedPCFG.from_trees(trees) for label, trees in banks.items()}
    fresh = [(label, read_trees(brackets)[0]) for label, brackets in sentences_of(30, seed=2)]
    right = [max(grammars, key=lambda name: grammars[name].log_p(tree)) == label for label, tree in fresh]
    assert np.mean(right) > 0.9
    assert all(math.isfinite(grammar.log_p(tree)) for grammar in grammars.values() for _, tree in fresh)


def test_no_tree_and_no_word_are_told(grammar):
    with pytest.raises(ValueError, match="no tree"):
        LexicalizedPCFG.from_trees([])
    with pytest.raises(ValueError, match="0 words"):
        grammar.parse([])
    with pytest.raises(ValueError, match="Did you mean"):
        grammar.parse(["I"], root="NPP")
