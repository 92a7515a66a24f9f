"""A fine-tuned relative gets the tokenizer its base was moved to, with a share of what the base learned since."""

import json

import pytest
import torch

from small_vocabularies import byte_level
from tokenry.cli import main
from tokenry.core.vocab import Vocab
from tokenry.models.lm import LM
from tokenry.models.tiny import tiny_llama
from tokenry.transplant.relatives import merge_relative, merged_body
from tokenry.transplant.surgery import apply_plan, plan

OLD = byte_level("english", 340, ("<|end|>", "<|start|>", "<|pad|>"))
NEW = byte_level("both", 380, ("<|end|>", "<|start|>", "<|pad|>"))


def test_a_merged_body_goes_from_the_fine_tuned_one_to_all_of_the_change():
    draw = torch.Generator().manual_seed(0)

    def weights(rows):
        shapes = {"model.embed_tokens.weight": (rows, 4), "model.norm.weight": (4,), "lm_head.weight": (rows, 4)}
        return {name: torch.randn(shape, generator=draw) for name, shape in shapes.items()}

    base, tuned, swapped = weights(6), weights(6), weights(9)
    none, half, whole = (merged_body(tuned, swapped, base, lam=lam) for lam in (0, 0.5, 1))
    for merged in (none, half, whole):
        assert merged.keys() == swapped.keys()
        assert torch.equal(merged["model.embed_tokens.weight"], swapped["model.embed_tokens.weight"])
        assert torch.equal(merged["lm_head.weight"], swapped["lm_head.weight"])
    norm = "model.norm.weight"
    assert torch.equal(none[norm], tuned[norm])
    torch.testing.assert_close(whole[norm], tuned[norm] + swapped[norm] - base[norm])
    torch.testing.assert_close(half[norm], (none[norm] + whole[norm]) / 2)
    # Relatives that have not been tuned: all of the change is the swapped base itself.
    torch.testing.assert_close(merged_body(base, swapped, base, lam=1)[norm], swapped[norm])
    with pytest.raises(ValueError, match="relatives of one shape"):
        merged_body({**tuned, "more": tuned[norm]}, swapped, base)
    with pytest.raises(ValueError, match="finite"):
        merged_body(tuned, swapped, base, lam=float("nan"))


def shifted(lm: LM, seed: int) -> LM:
    """The same model with every weight of the body moved a little."""
    draw = torch.Generator().manual_seed(seed)
    rows = {id(lm.model.get_input_embeddings().weight), id(lm.model.get_output_embeddings().weight)}
    with torch.no_grad():
        for weight in lm.model.parameters():
            if id(weight) not in rows:
                weight.add_(0.05 * torch.randn(weight.shape, generator=draw))
    return lm


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A base, a chat model of it with a template, and the base after a move and some training."""
    place = tmp_path_factory.mktemp("relatives")
    tiny_llama(OLD, width=16, layers=1, heads=2).save(place / "base")
    chat = shifted(LM.open(place / "base"), 1)
    chat.tokenizer.chat_template = "{% for m in messages %}<|start|>{{ m.content }}<|end|>{% endfor %}"
    chat.save(place / "chat")
    apply_plan(place / "base", plan(OLD, NEW), NEW, out=place / "swapped")
    shifted(LM.open(place / "swapped"), 2).save(place / "trained")
    return place


def test_a_relative_is_merged_from_folders_and_opens_with_the_library(folders, tmp_path):
    report = merge_relative(folders / "chat", folders / "base", folders / "trained", out=tmp_path / "out", lam=0.5)
    assert report.facts["body_change.training_after_move"] > 0
    from transformers import AutoModelForCausalLM, AutoTokenizer

    state = {name: LM.open(folders / name).model.state_dict() for name in ("chat", "base", "trained")}
    made = AutoModelForCausalLM.from_pretrained(tmp_path / "out").state_dict()
    wanted = merged_body(state["chat"], state["trained"], state["base"], lam=0.5)
    assert made.keys() == wanted.keys()
    for name, weight in wanted.items():
        torch.testing.assert_close(made[name], weight)
    assert "m.content" in AutoTokenizer.from_pretrained(tmp_path / "out").chat_template
    assert Vocab.open(tmp_path / "out").tokens == NEW.tokens
    assert json.loads((tmp_path / "out" / "config.json").read_text())["eos_token_id"] == NEW.specials["eos"]


def test_the_verb_merges_and_says_when_there_was_nothing_to_add(folders, tmp_path, capsys):
    words = ["transplant", "relative", str(folders / "chat"), "--base", str(folders / "base"), "--lambda", "1"]
    with pytest.raises(SystemExit) as stop:
        main([*words, "--moved", str(folders / "swapped"), "--out", str(tmp_path / "out"), "--json"])
    assert stop.value.code == 0
    report = json.loads(capsys.readouterr().out)
    assert report["facts"]["body_change.training_after_move"] == 0
    assert any("lambda changes nothing" in warning for warning in report["warnings"])
    # A base that was not trained on: the relative keeps its own body, with the rows of the swapped base.
    mine, theirs = (LM.open(place).model.state_dict() for place in (tmp_path / "out", folders / "chat"))
    assert all(torch.equal(mine[name], theirs[name]) for name in mine if "embed" not in name and "lm_head" not in name)


def test_strangers_are_refused_and_nothing_is_left(folders, tmp_path):
    with pytest.raises(ValueError, match="another vocabulary"):
        merge_relative(folders / "trained", folders / "base", folders / "trained", out=tmp_path / "out")
    tiny_llama(OLD, width=16, layers=2, heads=2).save(tmp_path / "deeper")
    with pytest.raises(ValueError, match="relatives of one shape"):
        merge_relative(tmp_path / "deeper", folders / "base", folders / "trained", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
