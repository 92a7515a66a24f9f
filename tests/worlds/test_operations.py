"""The language of operations: what a document is made of is what its kind says."""

import numpy as np

from tokenry.worlds.operations import KINDS, Operations


def test_documents_hold_the_operations_of_their_kind_and_all_have_one_length():
    world = Operations(3)
    owner = {word: at for at, words in enumerate(world.operations) for word in words}
    documents, kinds = world.documents(30)
    for text, kind in zip(documents, kinds, strict=True):
        words = text.split()
        found = tuple(sorted({owner[word] for word in words if word in owner}))
        assert len(words) == 24
        assert sum(word in owner for word in words) == (0 if kind == "off" else 8)
        expected = {
            "pair": found in world.pairs,
            "crossed": found in world.crossed,
            "single": len(found) == 1 and found[0] < 8,
            "irrelevant": len(found) == 2 and found[0] >= 8,
            "off": found == (),
        }
        assert expected[kind], (kind, found)
    assert tuple(dict.fromkeys(kinds)) == KINDS


def test_the_reference_needs_every_operation_in_two_pairs():
    world = Operations(4)
    assert len(world.pairs) == 8
    assert len(world.crossed) == 20
    assert np.bincount(np.ravel(world.pairs)).tolist() == [2] * 8
    texts, problems = world.reference(5)
    names = [world.name(at) for at in range(8)]
    assert len(texts) == 5
    assert all(len(each) == 2 and set(each) <= set(names) for each in problems)


def test_problems_are_solved_right():
    world = Operations(5, solved=True)
    for _ in range(50):
        pair = world.drawn()
        question, answer = world.problem(pair)
        assert int(answer) == world.maps[pair[1]][world.maps[pair[0]][int(question.split()[2])]]
    assert Operations(5, solved=True).documents(2)[0] == Operations(5, solved=True).documents(2)[0]
    assert world.text(world.pairs[0]).count("=") == 4
    assert set(world.text(world.pairs[0]).split()) <= set(world.words)
