"""The rules are lossless: every course of chance is enumerated, and the law of the text is exactly the model's."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from exact_chance import Course, drawn_without_replacement, outcomes, random_law

from tokenry.decoding.acceptance import RULES, Seeded, follow, greedy, lossless, multi_round, point_mass, walk
from tokenry.decoding.trees import TokenTree, chain, from_paths

N_TOKENS = 3
SEEDS = range(6)


class Model:
    """A rational law after every context."""

    def __init__(self, seed: int, *, zeros: bool = False) -> None:
        self.seed, self.zeros, self.known = seed, zeros, {}

    def __call__(self, context: tuple[int, ...]) -> np.ndarray:
        if context not in self.known:
            generator = np.random.default_rng([self.seed, *context, 99])
            self.known[context] = random_law(generator, N_TOKENS, zeros=self.zeros)
        return self.known[context]

    def law_of_text(self, start: tuple[int, ...], n: int) -> dict[tuple[int, ...], Fraction]:
        """Probability of each continuation of n tokens."""
        found = {(): Fraction(1)}
        for _ in range(n):
            found = {(*text, token): p * q for text, p in found.items()
                     for token, q in enumerate(self((*start, *text))) if q}  # fmt: skip
        return found


def written(tree: TokenTree, laws: dict | None, model: Model, rule: object, chance: Course, n: int) -> tuple[int, ...]:
    """The first n tokens after the root: what the walk gives, then plain sampling."""
    found = walk(tree, lambda node: model(tuple(tree.text(node))), rule=rule, chance=chance, laws=laws)
    text = [*(int(tree.tokens[node]) for node in found.path[1:]), found.bonus]
    root = int(tree.tokens[0])
    while len(text) < n:
        text.append(chance.draws(list(model((root, *text)))))
    return tuple(text[:n])


def sampled_tree(
    draft: Model, chance: Course, counts: tuple[int, ...], *, keep=lambda p: True
) -> tuple[TokenTree, dict]:
    """A tree whose children are drawn without replacement, counts[d] at depth d; `keep` may wrongly drop drawn ones."""
    tokens, parents, laws, level = [0], [-1], {}, [0]
    for count in counts:
        below = []
        for node in level:
            law = draft(tuple(TokenTree(tokens, parents).text(node)))
            laws[node] = law
            for token in drawn_without_replacement(law, count, chance):
                if keep(law[token]):
                    below.append(len(tokens))
                    tokens.append(token)
                    parents.append(node)
        level = below
    return TokenTree(tokens, parents), laws


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("n_children", [0, 1, 2, 3])
def test_multi_round_writes_the_models_law_after_one_node(seed, n_children):
    generator = np.random.default_rng(seed)
    law, proposal = (random_law(generator, 4, zeros=True) for _ in range(2))

    def act(chance):
        children = drawn_without_replacement(proposal, n_children, chance)
        return multi_round(law, children, proposal, chance=chance)[1]

    assert outcomes(act) == {token: p for token, p in enumerate(law) if p}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("counts", [(2,), (1, 1), (2, 1)])
def test_multi_round_writes_the_models_law_over_trees(seed, counts):
    target, draft = Model(seed), Model(seed + 100)

    def act(chance):
        tree, laws = sampled_tree(draft, chance, counts)
        return written(tree, laws, target, multi_round, chance, 2)

    assert outcomes(act) == target.law_of_text((0,), 2)


@pytest.mark.parametrize("seed", SEEDS)
def test_multi_round_stays_exact_when_the_shape_depends_on_what_was_drawn(seed):
    """The dynamic tree: whether to draw a second child, and which child to expand, is decided by the draft alone."""
    target, draft = Model(seed, zeros=True), Model(seed + 50)

    def act(chance):
        law = draft((0,))
        (first,) = drawn_without_replacement(law, 1, chance)
        tokens, parents, laws = [0, first], [-1, 0], {0: law}
        if law[first] < Fraction(1, 2):
            rest = law * 1
            rest[first] = Fraction(0)
            if rest.sum():
                tokens.append(chance.draws(list(rest)))
                parents.append(0)
        else:
            laws[1] = draft((0, first))
            tokens += drawn_without_replacement(laws[1], 1, chance)
            parents.append(1)
        return written(TokenTree(tokens, parents), laws, target, multi_round, chance, 2)

    assert outcomes(act) == target.law_of_text((0,), 2)


def test_dropping_drawn_children_by_their_value_is_found_out():
    """The enumeration has teeth: the known mistake gives another law."""
    wrong = 0
    for seed in SEEDS:
        target, draft = Model(seed), Model(seed + 100)

        def act(chance, target=target, draft=draft):
            tree, laws = sampled_tree(draft, chance, (2,), keep=lambda p: p >= Fraction(1, 3))
            return written(tree, laws, target, multi_round, chance, 1)

        wrong += outcomes(act) != target.law_of_text((0,), 1)
    assert wrong >= len(SEEDS) / 2


def test_multi_round_on_the_top_k_is_found_out():
    """Children that were not drawn need the point-mass rule."""
    law = np.array([Fraction(1, 2), Fraction(1, 3), Fraction(1, 6)], dtype=object)
    proposal = np.array([Fraction(1, 3), Fraction(1, 2), Fraction(1, 6)], dtype=object)
    assert outcomes(lambda chance: multi_round(law, [1, 0], proposal, chance=chance)[1]) != dict(enumerate(law))
    assert outcomes(lambda chance: point_mass(law, [1, 0], proposal, chance=chance)[1]) == dict(enumerate(law))


@pytest.mark.parametrize("seed", SEEDS)
def test_point_mass_writes_the_models_law_whatever_was_guessed(seed):
    target = Model(seed, zeros=True)
    generator = np.random.default_rng(seed)
    paths = [generator.integers(0, N_TOKENS, 3).tolist() for _ in range(4)]
    tree = from_paths(0, paths)
    assert outcomes(lambda chance: written(tree, None, target, point_mass, chance, 3)) == target.law_of_text((0,), 3)


@pytest.mark.parametrize("seed", SEEDS)
def test_drawn_and_chosen_guesses_may_stand_in_one_tree(seed):
    target, draft = Model(seed, zeros=True), Model(seed + 30)

    def act(chance):
        drawn = drawn_without_replacement(draft((0,)), 2, chance)
        tree = from_paths(0, [[token, (token + 1) % 3] for token in drawn])
        return written(tree, {0: draft((0,))}, target, lossless, chance, 2)

    assert outcomes(act) == target.law_of_text((0,), 2)


@pytest.mark.parametrize("seed", SEEDS)
def test_point_mass_equals_accepting_each_child_with_its_probability(seed):
    """The form of EAGLE-2: accept x with probability law[x], else strike it out."""
    law = random_law(np.random.default_rng(seed), 4)

    def in_turn(chance):
        rest = law * 1
        for place, token in enumerate((2, 0)):
            if chance.accepts(rest[token]):
                return place, token
            rest[token] = Fraction(0)
            rest = rest / rest.sum()
        return None, chance.draws(list(rest))

    assert outcomes(in_turn) == outcomes(lambda chance: point_mass(law, [2, 0], None, chance=chance))


@pytest.mark.parametrize("rule", ["point-mass", "multi-round"])
def test_a_sure_model_makes_every_rule_greedy(rule):
    law = np.array([Fraction(0), Fraction(1), Fraction(0)], dtype=object)
    proposal = np.array([Fraction(1, 2), Fraction(1, 4), Fraction(1, 4)], dtype=object)
    for children in ([0, 1, 2], [0, 2], []):
        expected = greedy(np.array([0.0, 1.0, 0.0]), children)
        assert outcomes(lambda chance, c=children: RULES[rule](law, c, proposal if c else None, chance=chance)) == {
            expected: 1
        }


def test_a_draft_equal_to_its_target_is_always_accepted():
    law = random_law(np.random.default_rng(0), 4)

    def act(chance):
        return multi_round(law, drawn_without_replacement(law, 2, chance), law, chance=chance)[0]

    assert outcomes(act) == {0: 1}


@pytest.mark.parametrize("rule", ["point-mass", "multi-round"])
def test_tensors_arrays_and_fractions_decide_alike(rule):
    """The same scripted chance through each kind of number ends at the same token."""

    class Scripted:
        def __init__(self, seed):
            self.generator = np.random.default_rng(seed)

        def accepts(self, probability):
            return self.generator.random() < float(probability)

        def draws(self, weights):
            weights = np.array([float(weight) for weight in weights])
            return int(np.searchsorted(np.cumsum(weights), self.generator.random() * weights.sum(), side="right"))

    for seed in range(40):
        generator = np.random.default_rng(seed)
        law, proposal = random_law(generator, 5, zeros=True), random_law(generator, 5)
        children = generator.permutation(5)[:3].tolist()
        kinds = [(law, proposal), (law.astype(float), proposal.astype(float))]
        kinds.append(tuple(torch.tensor(part.astype(float)) for part in (law, proposal)))
        assert len({RULES[rule](p, children, q, chance=Scripted(seed)) for p, q in kinds}) == 1


@pytest.mark.parametrize("make", [np.array, lambda w: torch.tensor(w, dtype=torch.float64)])
def test_seeded_draws_follow_their_weights(make):
    """30,000 draws; chi-square with 3 degrees of freedom, 99.99% point 21.1. A weight of 0 is never drawn."""
    weights = np.array([1.0, 0.0, 4.0, 2.0, 3.0])
    chance, counts = Seeded(7), np.zeros(5)
    for _ in range(30_000 if make is np.array else 3_000):
        counts[chance.draws(make(weights))] += 1
    expected = counts.sum() * weights / weights.sum()
    assert counts[1] == 0
    assert float((((counts - expected) ** 2)[weights > 0] / expected[weights > 0]).sum()) < 21.1


def test_seeded_draws_of_arrays_and_tensors_agree():
    weights = np.random.default_rng(0).random(50)
    array, tensor = Seeded(3), Seeded(3)
    assert [array.draws(weights) for _ in range(50)] == [tensor.draws(torch.tensor(weights)) for _ in range(50)]


def test_a_draw_at_the_very_end_of_the_weights_stays_inside():
    class Edge:
        def random(self):
            return 1.0 - 2**-53

    chance = Seeded(0)
    chance.generator = Edge()
    weights = np.array([0.1] * 10 + [0.0, 0.0])
    assert chance.draws(weights) == 9
    assert chance.draws(torch.tensor(weights)) == 9


def test_the_greedy_walk_follows_the_picks():
    tree = from_paths(7, [(1, 2, 3), (1, 4), (5,)])
    picks = [0] * len(tree)
    picks[0], picks[1], picks[4] = 1, 4, 9
    found = follow(tree, picks)
    assert (found.path, found.bonus) == ([0, 1, 4], 9)
    one_hot = torch.nn.functional.one_hot(torch.tensor(picks), 10).double()
    assert walk(tree, lambda node: one_hot[node], rule=greedy) == found


def test_drawn_guesses_without_their_law_are_refused():
    with pytest.raises(ValueError, match="point-mass"):
        walk(chain([0, 1]), lambda node: np.ones(3) / 3, rule=multi_round, chance=Seeded(0))
