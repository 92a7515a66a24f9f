"""Plans applied to folders, and taken back."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from small_models import FAMILIES, logits, small_model

from small_vocabularies import byte_level
from tokenry.core.vocab import Vocab
from tokenry.models.lm import LM
from tokenry.transplant.surgery import (
    apply_plan,
    keep_original,
    load_plan,
    move,
    new_rows,
    plan,
    revert,
    save_plan,
    verify,
)


def saved(tmp_path, family, vocab, **options):
    lm = small_model(family, vocab, **options)
    lm.save(tmp_path / "old")
    return tmp_path / "old", lm


@pytest.mark.parametrize("family", FAMILIES)
def test_a_move_of_a_folder_equals_the_move_in_memory(family, old, new, tmp_path):
    folder, lm = saved(tmp_path, family, old)
    made = plan(old, new)
    report = apply_plan(folder, made, new, out=tmp_path / "out", pad_to_multiple_of=32)
    assert report.facts["verify.ok"]
    on_disk, in_memory = LM.open(tmp_path / "out"), move(lm, new, plan=made, pad_to_multiple_of=32).lm
    states = on_disk.model.state_dict(), in_memory.model.state_dict()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[1])
    for name in ("vocab_size", "bos_token_id", "eos_token_id", "pad_token_id", "tie_word_embeddings"):
        assert getattr(on_disk.model.config, name) == getattr(in_memory.model.config, name), name
    generation = on_disk.model.generation_config, in_memory.model.generation_config
    assert generation[0].suppress_tokens == generation[1].suppress_tokens
    assert on_disk.vocab.fingerprint == Vocab.open(in_memory.tokenizer).fingerprint


@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_vocabulary_gives_a_byte_equal_file(family, old, tmp_path):
    folder, _ = saved(tmp_path, family, old, extra=5)
    apply_plan(folder, plan(old, old), old, out=tmp_path / "out")
    assert (tmp_path / "out/model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()


@pytest.mark.parametrize("family", FAMILIES)
def test_reverting_at_once_gives_the_old_folder_back(family, old, new, tmp_path):
    folder, lm = saved(tmp_path, family, old)
    apply_plan(folder, plan(old, new, method="asymmetric"), new, out=tmp_path / "out")
    report = revert(tmp_path / "out", tmp_path / "back")
    assert report.facts["rows_lost"] == 0
    assert report.facts["verify.ok"]
    assert load_file(tmp_path / "back/model.safetensors").keys() == load_file(folder / "model.safetensors").keys()
    assert (tmp_path / "back/tokenizer.json").read_bytes() == (folder / "tokenizer.json").read_bytes()
    again = LM.open(tmp_path / "back")
    ids = old.encode(["the cat sat"])[0].tolist()
    assert torch.equal(logits(again.model, ids), logits(lm.model, ids))
    assert not (tmp_path / "back/tokenry_plan").exists()


def test_reverting_keeps_a_trained_body_and_counts_the_rows_it_loses(old, new, tmp_path):
    lm = small_model("llama", old)
    moved = move(lm, new)
    with torch.no_grad():
        moved.lm.model.get_input_embeddings().weight[[3, 9]] += 0.5
        moved.lm.model.model.layers[0].mlp.up_proj.weight += 1
    moved.lm.save(tmp_path / "healed")
    keep_original(lm, moved.plan, tmp_path / "healed")
    report = revert(tmp_path / "healed", tmp_path / "back")
    assert report.facts["rows_lost"] == 2
    assert "stay in" in report.warnings[0]
    back = LM.open(tmp_path / "back").model
    assert torch.equal(back.get_input_embeddings().weight, lm.model.get_input_embeddings().weight)
    trained = moved.lm.model.model.layers[0].mlp.up_proj.weight
    assert torch.equal(back.model.layers[0].mlp.up_proj.weight, trained)


def test_a_plan_fits_a_fine_tuned_relative_and_uses_its_own_rows(old, new, tmp_path):
    made = plan(old, new)
    relative = small_model("llama", old)
    with torch.no_grad():
        for parameter in relative.model.parameters():
            parameter.mul_(1.5)
    relative.save(tmp_path / "relative")
    apply_plan(tmp_path / "relative", made, new, out=tmp_path / "out", keep=False)
    rows = LM.open(tmp_path / "out").model.get_input_embeddings().weight
    expected, _ = new_rows(made, relative.model.get_input_embeddings().weight.detach().numpy())
    assert np.array_equal(rows.detach().numpy(), expected)
    with pytest.raises(FileNotFoundError, match="were not kept"):
        revert(tmp_path / "out", tmp_path / "back")


def test_a_tied_file_that_stores_its_head_too_stays_consistent(old, new, tmp_path):
    folder, lm = saved(tmp_path, "llama", old)
    tensors = load_file(folder / "model.safetensors")
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    apply_plan(folder, plan(old, new), new, out=tmp_path / "out")
    made = load_file(tmp_path / "out/model.safetensors")
    assert torch.equal(made["lm_head.weight"], made["model.embed_tokens.weight"])
    revert(tmp_path / "out", tmp_path / "back")
    ids = old.encode(["the cat sat"])[0].tolist()
    assert torch.equal(logits(LM.open(tmp_path / "back").model, ids), logits(lm.model, ids))


def test_no_stale_tokenizer_file_survives(old, new, tmp_path):
    folder, _ = saved(tmp_path, "llama", old)
    (folder / "merges.txt").write_text("#version: 0.2\n")
    (folder / "special_tokens_map.json").write_text(json.dumps({"eos_token": "<|end|>"}))
    apply_plan(folder, plan(old, new), new, out=tmp_path / "out")
    assert not {"merges.txt", "special_tokens_map.json"} & {p.name for p in (tmp_path / "out").iterdir()}
    back = revert(tmp_path / "out", tmp_path / "back")
    assert back.facts["verify.vocab_size"] == old.size
    assert (tmp_path / "back/merges.txt").is_file()


def test_a_plan_for_another_model_or_a_broken_one_leaves_nothing_behind(old, new, tmp_path):
    folder, _ = saved(tmp_path, "llama", old)
    other = byte_level("german", 330)
    with pytest.raises(ValueError, match="starts from a vocabulary of 330 ids"):
        apply_plan(folder, plan(other, new), new, out=tmp_path / "out")
    tensors = load_file(folder / "model.safetensors")
    tensors["model.embed_tokens.weight"][2, 0] = torch.inf
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"NaN or infinite numbers \(first in row 2\)"):
        apply_plan(folder, plan(old, new), new, out=tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["old"]


def test_an_existing_out_is_kept_unless_told(old, new, tmp_path):
    folder, _ = saved(tmp_path, "llama", old)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine.txt").write_text("keep")
    made = plan(old, new)
    with pytest.raises(FileExistsError, match="overwrite"):
        apply_plan(folder, made, new, out=tmp_path / "out")
    assert (tmp_path / "out/mine.txt").read_text() == "keep"
    apply_plan(folder, made, new, out=tmp_path / "out", overwrite=True)
    assert verify(tmp_path / "out").facts["ok"]
    assert not (tmp_path / "out/mine.txt").exists()


def test_a_plan_survives_the_disk_and_a_damaged_one_is_refused(old, new, tmp_path):
    made = plan(old, new, method="asymmetric", seed=4)
    again = load_plan(save_plan(made, tmp_path / "plan"))
    for name in ("method", "untie", "old_fingerprint", "new_fingerprint", "random"):
        assert getattr(again, name) == getattr(made, name)
    assert again.info["classes"] == made.info["classes"]
    rows = np.random.default_rng(0).standard_normal((old.size, 4)).astype(np.float32)
    for first, second in zip(new_rows(made, rows), new_rows(again, rows), strict=True):
        assert np.array_equal(first, second)
    content = (tmp_path / "plan/input.npz").read_bytes()
    (tmp_path / "plan/input.npz").write_bytes(content[:-1] + b"x")
    with pytest.raises(ValueError, match="not the file the manifest was written for"):
        load_plan(tmp_path / "plan")
    (tmp_path / "plan/input.npz").unlink()
    with pytest.raises(FileNotFoundError, match="which is not there"):
        load_plan(tmp_path / "plan")
    (tmp_path / "plan/plan.json").write_text("[]")
    with pytest.raises(ValueError, match="not a plan of tokenry"):
        load_plan(tmp_path / "plan")
    with pytest.raises(FileNotFoundError, match="holds no plan"):
        load_plan(tmp_path)


def test_a_sharded_model_is_streamed_and_only_its_two_tables_are_loaded(old, new, tmp_path, monkeypatch):
    import safetensors

    lm = small_model("llama-untied", old)
    lm.model.save_pretrained(tmp_path / "old", max_shard_size="20KB")
    lm.tokenizer.save_pretrained(tmp_path / "old")
    assert len(list((tmp_path / "old").glob("*.safetensors"))) > 2
    made, read = plan(old, new), []

    class Watched:
        def __init__(self, *args, **options):
            self.file = real(*args, **options)

        def __enter__(self):
            self.inner = self.file.__enter__()
            return self

        def __exit__(self, *error):
            return self.file.__exit__(*error)

        def get_tensor(self, name):
            read.append(name)
            return self.inner.get_tensor(name)

    real = safetensors.safe_open
    monkeypatch.setattr(safetensors, "safe_open", Watched)
    # What `verify` loads afterwards is the result, as a user would open it.
    monkeypatch.setattr("tokenry.transplant.undoing.verify", lambda part, **_: monkeypatch.undo() or verify(part))
    apply_plan(tmp_path / "old", made, new, out=tmp_path / "out")
    assert sorted(read) == ["lm_head.weight", "model.embed_tokens.weight"]
    in_memory = move(lm, new, plan=made).lm.model.state_dict()
    on_disk = LM.open(tmp_path / "out").model.state_dict()
    assert all(torch.equal(on_disk[name], in_memory[name]) for name in in_memory)


def change_config(folder, **fields):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | fields))


def test_model_code_in_a_folder_is_refused_and_never_runs(old, new, tmp_path):
    folder, _ = saved(tmp_path, "llama", old)
    change_config(folder, model_type="their-own", auto_map={"AutoConfig": "code.C", "AutoModelForCausalLM": "code.M"})
    (folder / "code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').write('x')\n")
    with pytest.raises(ValueError, match="model code of its own"):
        apply_plan(folder, plan(old, new), new, out=tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["old"]


@pytest.mark.parametrize("fields", [{"architectures": ["LamaForCausalLM"]}, {"model_type": "lama"}])
def test_a_wrong_architecture_name_is_refused(old, new, tmp_path, fields):
    folder, _ = saved(tmp_path, "llama", old)
    change_config(folder, **fields)
    with pytest.raises(ValueError, match="its architecture is not supported here"):
        apply_plan(folder, plan(old, new), new, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_truncated_checkpoint_or_one_with_too_few_rows_is_refused(old, new, tmp_path):
    folder, _ = saved(tmp_path, "llama", old)
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[:-100])
    with pytest.raises(ValueError, match="Copy it again"):
        apply_plan(folder, plan(old, new), new, out=tmp_path / "out")
    (folder / "model.safetensors").write_bytes(content)
    tensors = load_file(folder / "model.safetensors")
    tensors["model.embed_tokens.weight"] = tensors["model.embed_tokens.weight"][:-5].contiguous()
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match="starts from 340 tokens and needs a row for each"):
        apply_plan(folder, plan(old, new), new, out=tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["old"]


def test_a_full_disk_leaves_the_old_output_as_it_was(old, new, tmp_path, monkeypatch):
    import errno

    folder, _ = saved(tmp_path, "llama", old)
    made = plan(old, new)
    apply_plan(folder, made, new, out=tmp_path / "out")
    before = {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir() if p.is_file()}

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("tokenry.models.files._copy_bytes", full)
    with pytest.raises(OSError, match="Nothing was changed: an older output there is intact; free some space"):
        apply_plan(folder, made, new, out=tmp_path / "out", overwrite=True)
    assert {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir() if p.is_file()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["old", "out"]


@pytest.mark.slow  # a new process imports torch and transformers
def test_the_moved_folder_opens_without_tokenry(old, new, tmp_path):
    import subprocess
    import sys

    folder, _ = saved(tmp_path, "llama", old)
    apply_plan(folder, plan(old, new), new, out=tmp_path / "out")
    code = (
        "import sys; sys.modules['tokenry'] = None\n"
        "from transformers import AutoModelForCausalLM as M, AutoTokenizer as T\n"
        f"m, t = M.from_pretrained({str(tmp_path / 'out')!r}), T.from_pretrained({str(tmp_path / 'out')!r})\n"
        "ids = t('the cat', return_tensors='pt').input_ids\n"
        "out = m.generate(ids, max_new_tokens=4, do_sample=False)\n"
        f"assert m.get_input_embeddings().weight.shape[0] == len(t) == {new.size}, len(t)\n"
        "print(t.decode(out[0]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
