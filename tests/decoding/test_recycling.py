"""Token Recycling: the paper's template, its table, and the same text in fewer passes."""

import json

import numpy as np
import pytest
import torch

from tiny_causal_models import KINDS, full_logits, tiny
from tokenry.data import demo_model
from tokenry.decoding import generate as generate_text
from tokenry.decoding.custom_generate import drafted
from tokenry.decoding.lookup import PromptLookup
from tokenry.decoding.recycling import Recycling, owner_of, published_tree, recycling, warm
from tokenry.decoding.sampling import Settings
from tokenry.decoding.speculate import Draft, Verified, generate
from tokenry.decoding.trees import TokenTree, best_ranks
from tokenry.models.lm import LM
from tokenry.models.session import Session

PROMPT = [5, 17, 3, 44, 5, 17, 3, 44, 21, 60, 5, 17]
STORIES = ("Once upon a time, there was a little girl named Lily. Lily liked to", "Tom and his dog went to the park.",
           "One day, a big bear", "The sun was hot and Ben wanted")  # fmt: skip


@pytest.fixture(scope="module")
def lm() -> LM:
    return LM.open(demo_model())


def cyclic() -> torch.nn.Module:
    """A Llama in which x is followed by x + 1 (mod 64): one-hot embedding, blocks that add nothing, shifted head."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(vocab_size=64, hidden_size=64, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2,
                         num_key_value_heads=2, max_position_embeddings=512, pad_token_id=0, bos_token_id=1,
                         eos_token_id=2, tie_word_embeddings=False)  # fmt: skip
    model = LlamaForCausalLM(config).eval()
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        model.model.embed_tokens.weight.copy_(torch.eye(64))
        model.lm_head.weight.copy_(torch.eye(64).roll(1, 0))
    return model


def test_the_template_is_the_papers():
    shape = published_tree()
    assert [len(level) for level in shape.levels] == [1, 8, 21, 25, 15, 8, 3]
    assert len(shape.leaves) == 40
    assert int(shape.rank.max()) == 7
    assert [len(shape.children[node]) for node in shape.levels[1]] == [8, 4, 3, 2, 1, 1, 1, 1]


def test_a_cycle_is_written_seven_tokens_a_pass_once_it_is_known():
    """The card's closed form: the tree is six deep and every rank-0 chain is right, so a pass adds 6 + 1."""
    model, drafter = cyclic(), Recycling(tree=published_tree())
    new, stats = generate(Session.open(model), [0], drafter, settings=Settings(max_new_tokens=70), sizing=80)
    assert new == [(x + 1) % 64 for x in range(70)]
    warm_text, again = generate(Session.open(model), [9], drafter, settings=Settings(max_new_tokens=71), sizing=80)
    assert warm_text == [(x + 10) % 64 for x in range(71)]
    assert again.tokens_per_step == 7.0
    assert stats.tokens_per_step < 7.0


def test_rows_are_the_likeliest_tokens_of_a_separate_pass():
    model = tiny()
    drafter = Recycling(tree=published_tree(), from_prompt=False)
    generate(Session.open(model), PROMPT, drafter, settings=Settings(max_new_tokens=2), sizing=80)
    first = int(full_logits(model, PROMPT)[-1].argmax())
    expected = full_logits(model, [*PROMPT, first])[-1].topk(8).indices.tolist()
    assert drafter.table_VK[first].tolist() == expected
    assert (drafter.table_VK[:, 0] >= 0).sum() == 1


def test_the_accepted_place_of_a_token_wins_then_the_shallower():
    drafter = Recycling(width=2, from_prompt=False)
    drafter.table_VK = np.full((6, 2), -1, dtype=np.int32)
    tree = TokenTree([0, 3, 4, 3, 4], [-1, 0, 0, 1, 1])  # 3 at nodes 1 and 3 (deeper), 4 at nodes 2 and 4 (deeper)
    logits = torch.zeros(5, 6)
    for node, (best, second) in enumerate([(1, 2), (4, 5), (0, 1), (2, 0), (5, 3)]):
        logits[node, best], logits[node, second] = 2.0, 1.0
    drafter.update(Verified(Draft(tree), logits, [0, 1, 4], [3, 4, 5]))
    assert drafter.table_VK[0].tolist() == [1, 2]
    assert drafter.table_VK[3].tolist() == [4, 5], "accepted node 1, not the deeper node 3"
    assert drafter.table_VK[4].tolist() == [5, 3], "accepted node 4, though node 2 is shallower"
    drafter.update(Verified(Draft(tree), logits, [0], [1]))
    assert drafter.table_VK[4].tolist() == [0, 1], "neither accepted: the shallower node 2"
    kept = drafter.table_VK.copy()
    careful = Recycling(width=2, accepted_only=True)
    careful.table_VK = np.full((6, 2), -1, dtype=np.int32)
    careful.update(Verified(Draft(tree), logits, [0, 1], [3, 1]))
    assert (careful.table_VK[[0, 3]] == kept[[0, 3]]).all()
    assert (careful.table_VK[4] == -1).all()


@pytest.mark.parametrize(("kind", "size"), [("llama", 1), *((kind, 80) for kind in KINDS)])
def test_greedy_text_is_that_of_the_library(kind, size):
    model = tiny(kind)
    ids = torch.tensor([PROMPT])
    asked = {"attention_mask": torch.ones_like(ids), "do_sample": False, "max_new_tokens": 40, "pad_token_id": 0}
    mine = drafted(Recycling(tree=published_tree()), sizing=size)
    assert torch.equal(model.generate(ids, custom_generate=mine, **asked), model.generate(ids, **asked))
    assert mine.stats.n_forwards <= 40


@pytest.mark.parametrize("size", [4, 12, 80])
def test_sampled_text_is_the_plain_one(size):
    settings = Settings(max_new_tokens=40, temperature=0.9, top_p=0.9, seed=size)
    plain, _ = generate(Session.open(tiny()), PROMPT, settings=settings)
    assert generate(Session.open(tiny()), PROMPT, Recycling(), settings=settings, sizing=size)[0] == plain


def test_the_prompt_fills_rank_zero_and_keeps_what_was_there():
    drafter = Recycling(width=3)
    drafter.table_VK = np.full((61, 3), -1, dtype=np.int32)
    drafter.table_VK[5] = [1, 17, 2]
    drafter.begin([5, 17, 5, 18], Session.open(tiny()), Settings())
    assert drafter.table_VK[5].tolist() == [18, 17, 1]
    assert drafter.table_VK[17].tolist() == [5, -1, -1]
    tree = drafter.propose([5, 17], budget=80, depth=2)
    assert tree.text(2) == [17, 5, 18]
    assert int(tree.depth.max()) == 2
    drafter.from_prompt = False
    assert Recycling().propose is not None
    empty = Recycling(from_prompt=False)
    empty.begin([5, 17], Session.open(tiny()), Settings())
    assert empty.propose([5, 17], budget=80, depth=9) is None


def test_a_fitted_tree_is_the_best_for_the_rates_seen():
    drafter = Recycling(tree=published_tree())
    generate(Session.open(tiny()), PROMPT, drafter, settings=Settings(max_new_tokens=60), sizing=80)
    rates = drafter.fit_tree()
    assert drafter.rates.visits_R[0] > 10
    tree = drafter.propose([5], budget=12, depth=16)
    assert len(tree) == 13 or (drafter.table_VK[5] < 0).any()
    assert (drafter._shape(12, 16).parents == best_ranks(rates, 12).parents).all()
    busy = Recycling(refit=4)
    generate(Session.open(tiny()), PROMPT, busy, settings=Settings(max_new_tokens=60), sizing=12)
    assert (busy._rates_R != Recycling()._rates_R).any(), "small templates follow the rates by themselves"


def test_a_table_is_saved_loaded_and_kept_for_its_model(tmp_path, lm):
    file = tmp_path / "table.safetensors"
    first = generate_text(lm, STORIES[0], strategy="recycling", size=16, state=str(file), max_new_tokens=40)
    run = recycling(size=16, state=file)
    second = generate_text(lm, STORIES[0], strategy=run, max_new_tokens=40)
    assert first.ids == second.ids
    assert second.stats.n_forwards < first.stats.n_forwards, "what was written before is known"
    other = Recycling()
    other.load(file, owner=owner_of(lm))
    with pytest.raises(ValueError, match="learnt from"):
        Recycling().load(file, owner="another model")
    with pytest.raises(ValueError, match="width=4"):
        Recycling(width=4).load(file)
    with pytest.raises(ValueError, match="61"):
        other.begin([1], Session.open(tiny()), Settings())
    with pytest.raises(ValueError, match="nothing to save"):
        Recycling().save(file)


def test_a_warmed_table_knows_the_text(lm):
    drafter = Recycling()
    warm(drafter, lm, STORIES[:1])
    ids = lm.encode([STORIES[0]])[0].tolist()
    logits = full_logits(lm.model, ids)[:, : lm.vocab.size]
    assert drafter.table_VK[ids[-1]].tolist() == logits[-1].topk(8).indices.tolist()
    assert drafter.owner == owner_of(lm)
    drafter.reset()
    assert drafter.table_VK is None


def test_fewer_passes_than_prompt_lookup_on_stories(lm):
    """Both write the same text, so passes compare directly; on 4 x 60 tokens a fifth fewer is far outside of chance:
    recycling guesses at every step, lookup only where a word came before."""
    n_passes = {}
    for name, drafter in (("lookup", PromptLookup()), ("recycling", Recycling(tree=published_tree()))):
        run = [generate(Session.open(lm), lm.encode([text])[0].tolist(), drafter, settings=Settings(max_new_tokens=60),
                        sizing=80) for text in STORIES]  # fmt: skip
        n_passes[name] = sum(stats.n_forwards for _, stats in run)
    assert n_passes["recycling"] < 0.8 * n_passes["lookup"], n_passes


def test_the_verb_takes_its_options(capsys, tmp_path):
    from tokenry.cli import main

    state = tmp_path / "table.safetensors"
    asked = ["--prompt", STORIES[0], "--strategy", "recycling", "--with", "size=12", "--with", f"state={state}"]
    with pytest.raises(SystemExit) as stop:
        main(["generate", str(demo_model()), *asked, "--max-new-tokens", "20", "--json"])
    assert stop.value.code == 0
    facts = json.loads(capsys.readouterr().out)["facts"]
    assert facts["strategy"] == "recycling"
    assert state.is_file()


@pytest.mark.parametrize(
    ("wrong", "told"),
    [({"width": 0}, "at least 1"), ({"width": 2, "tree": published_tree()}, "larger width")],
)
def test_options_that_mean_nothing_are_refused(wrong, told):
    with pytest.raises(ValueError, match=told):
        Recycling(**wrong)
    with pytest.raises(ValueError, match="'auto'"):
        recycling(size=0)
