"""`tokenry generate --strategy diffusion`: models of three kinds, costs in the report, and what is refused."""

import json

import pytest
import torch

from small_vocabularies import byte_level
from tokenry.core.report import Report
from tokenry.decoding import generate
from tokenry.decoding.diffusion_models import DiffusionSpec, open_diffusion
from tokenry.decoding.diffusion_strategy import CACHES, UNMASKING, diffusion
from tokenry.decoding.diffusion_training import tiny_diffusion
from tokenry.decoding.diffusion_unmasking import Counted
from tokenry.decoding.strategies import make
from tokenry.models.lm import LM
from tokenry.models.tiny import tiny_bert, tiny_llama

MARKS = ("<|end|>", "<s>", "<pad>")
PROMPT = "the cat sat on"
OWN_CODE = """
from transformers import LlamaConfig, LlamaForCausalLM

class OwnConfig(LlamaConfig):
    model_type = "own_diffusion"

class OwnModel(LlamaForCausalLM):
    config_class = OwnConfig

    def forward(self, input_ids=None, attention_mask=None, **ignored):
        return super().forward(input_ids=input_ids, attention_mask=attention_mask, use_cache=False)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A diffusion model with random weights; 340 ids and one row for the mask."""
    return tiny_diffusion(byte_level(specials=MARKS), spread=0.25).save(tmp_path_factory.mktemp("models") / "diffusion")


@pytest.fixture(scope="module")
def guide(tmp_path_factory):
    return tiny_llama(byte_level(specials=MARKS), spread=0.25, seed=4).save(tmp_path_factory.mktemp("models") / "guide")


@pytest.fixture(scope="module")
def own(tmp_path_factory, folder):
    """The same model as a folder with code of its own, which takes no cache."""
    made = tmp_path_factory.mktemp("models") / "own"
    lm = LM.open(folder)
    lm.model.save_pretrained(made)
    lm.tokenizer.save_pretrained(made)
    config = json.loads((made / "config.json").read_text())
    names = {"AutoConfig": "own_code.OwnConfig", "AutoModelForCausalLM": "own_code.OwnModel"}
    config |= {"auto_map": names, "architectures": ["OwnModel"], "model_type": "own_diffusion"}
    (made / "config.json").write_text(json.dumps(config))
    (made / "own_code.py").write_text(OWN_CODE)
    return made


def run(capsys, model, *options, code=0):
    from tokenry.cli import main

    arguments = ["generate", str(model), "--prompt", PROMPT, "--strategy", "diffusion", "--max-new-tokens", "12"]
    for option in options:
        arguments += ["--with", option] if "=" in option else [option]
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    out, err = capsys.readouterr()
    assert stop.value.code == code, err
    return out, err


def test_the_verb_writes_and_reports_what_it_cost(capsys, folder, guide):
    out, _ = run(capsys, folder, "unmask=guided", f"guide={guide}", "cache=block", "block=6", "--json")
    report = Report.from_json(out)
    row = report.tables["continuations"].to_pylist()[0]
    assert row["tokens"] == 12
    assert row["full forwards"] == 1
    assert row["forwards"] <= 12
    assert row["places computed"] == pytest.approx(12 * row["places per token"])
    assert row["guide forwards"] >= row["forwards"] - 2
    assert report.facts["n_forwards"] == row["forwards"]


@pytest.mark.parametrize("cache", CACHES)
def test_every_cache_and_every_unmasking_writes_as_asked(folder, cache):
    lm = LM.open(folder)
    for name in UNMASKING:
        found = generate(lm, PROMPT, strategy="diffusion", unmask=name, cache=cache, block=4, max_new_tokens=8)
        assert len(found.ids) == 8
        assert lm.model.config.mask_token_id not in found.ids
        assert found.stats.n_forwards <= 8


def test_cost_columns_agree_with_one_token_a_step(folder):
    found = generate(LM.open(folder), PROMPT, strategy="diffusion", max_new_tokens=8)
    assert found.stats.tokens_per_step == 1
    assert found.stats.accepted_per_step == 0
    four = generate(LM.open(folder), PROMPT, strategy="diffusion", unmask="confidence:4", max_new_tokens=8)
    assert four.stats.n_forwards == 2
    assert four.stats.tokens_per_step == four.stats.accepted_per_step + 1


def test_a_bert_fills_places_before_its_separator(tmp_path, capsys):
    marks = ("[SEP]", "[CLS]", "[PAD]", "[MASK]")
    vocab = byte_level(specials=marks)
    lm = tiny_bert(vocab, width=16, heads=2)
    lm.model.save_pretrained(tmp_path / "bert")
    lm.tokenizer.mask_token, lm.tokenizer.sep_token, lm.tokenizer.cls_token = marks[3], marks[0], marks[1]
    lm.tokenizer.save_pretrained(tmp_path / "bert")
    opened = open_diffusion(str(tmp_path / "bert"))
    spec = DiffusionSpec.of(opened)
    assert (spec.mask, spec.tail) == (vocab.index.get(b"[MASK]", [3])[0], (0,))
    run(capsys, tmp_path / "bert", "unmask=threshold:0.5")
    _, err = run(capsys, tmp_path / "bert", "cache=block", code=2)
    assert "cache=none" in err


def test_code_of_a_folder_runs_only_when_it_is_allowed(capsys, own, folder):
    _, err = run(capsys, own, code=2)
    assert "allow-own-code=true" in err
    out, _ = run(capsys, own, "allow-own-code=true")
    assert out == run(capsys, folder)[0]
    _, err = run(capsys, own, "allow-own-code=true", "cache=block", code=2)
    assert "cache=none" in err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["unmask=guided"], "without a guide"),
        (["unmask=treshold"], "Did you mean 'threshold'"),
        (["unmask=threshold:x"], "no number"),
        (["refresh=2"], "with cache=none"),
        (["cache=dual", "refresh=2"], "refresh='block'"),
        (["cache=blok"], "Did you mean 'block'"),
        (["mask=9999"], "mask id 9999"),
        (["blocks=3"], "Did you mean 'block'"),
    ],
)
def test_what_is_odd_is_refused(capsys, folder, options, message):
    assert message in run(capsys, folder, *options, code=2)[1].replace("\n", " ")


def test_a_causal_model_and_a_stranger_as_guide_are_refused(capsys, folder, guide, tmp_path):
    assert "no mask token" in run(capsys, guide, code=2)[1]
    assert "--strategy plain" in run(capsys, guide, "mask=5", code=2)[1]
    assert "asked only by unmask=guided" in run(capsys, folder, f"guide={guide}", code=2)[1].replace("\n", " ")
    other = tiny_llama(byte_level("german", specials=MARKS)).save(tmp_path / "other")
    _, err = run(capsys, folder, "unmask=guided", f"guide={other}", code=2)
    assert "tokenry transplant" in err.replace("\n", " ")


def test_a_made_policy_and_a_dream_are_taken_as_they_are(folder):
    made = make("diffusion", unmask=Counted(2), cache=None, block=None)
    assert made.unmask == Counted(2)
    assert made.freeze is None
    with pytest.raises(ValueError, match="made already"):
        diffusion(unmask=Counted(2), guide="x")
    lm = LM.open(folder)
    lm.model.config.model_type = "Dream"
    assert DiffusionSpec.of(lm).shift
    assert not DiffusionSpec.of(lm, shift=False).shift
    assert torch.is_tensor(lm.model.get_input_embeddings().weight)
