"""Broken models, donors and disks through the door: a sentence, exit code 2, and nothing half-written."""

import json
import os
import subprocess
import sys

import pytest
from safetensors.torch import load_file, save_file
from small_models import small_model
from tokenizers import Tokenizer, models, trainers

from small_vocabularies import byte_level, spec_of
from test_cli import run
from tokenry.core.vocab import Vocab
from tokenry.models.lm import tokenizer_of
from tokenry.transplant.matching import rows_fingerprint


@pytest.fixture
def base(old, tmp_path):
    small_model("llama-untied", old).save(tmp_path / "base")
    return tmp_path / "base"


@pytest.fixture
def tokenizer(new, tmp_path):
    tokenizer_of(new).save_pretrained(tmp_path / "tokenizer")
    return tmp_path / "tokenizer"


def letters_of(text: str, name: str) -> Vocab:
    """A BPE vocabulary of the letters of one script, without bytes."""
    made = Tokenizer(models.BPE(unk_token="<unk>"))
    made.train_from_iterator(
        [text] * 4, trainers.BpeTrainer(vocab_size=60, special_tokens=["<unk>"], show_progress=False)
    )
    return Vocab.from_spec(spec_of(made), {"unk_token": "<unk>"}, name)


def change_tensors(folder, change) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def change_config(folder, **fields) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | fields))


def refused(capsys, tmp_path, *arguments) -> str:
    """Run a move that must fail; returns what stderr says in one line."""
    before = sorted(path.name for path in tmp_path.iterdir())
    out, err = run(capsys, "transplant", *arguments, "--out", tmp_path / "out", "-q", code=2)
    assert out == ""
    assert "Traceback" not in err
    assert "Errno" not in err
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    return " ".join(err.split())


def test_a_donor_that_shares_no_token(capsys, tmp_path):
    small_model("llama", letters_of("жилибылистариксостарухой", "cyrillic")).save(tmp_path / "base")
    small_model("llama", letters_of("καλημερακοσμεπωςεισαι", "greek")).save(tmp_path / "donor")
    said = refused(capsys, tmp_path, tmp_path / "base", "--donor", tmp_path / "donor", "--method", "omp")
    assert "share" in said


def test_more_picks_than_anchors_are_cut_down_with_a_warning(base, new, capsys, tmp_path):
    small_model("llama-untied", new).save(tmp_path / "donor")
    arguments = ("--donor", tmp_path / "donor", "--method", "omp", "--k", 5000, "--out", tmp_path / "out", "-q")
    with pytest.warns(UserWarning, match="k=5000 lowered to"):
        run(capsys, "transplant", base, *arguments)
    assert rows_fingerprint(Vocab.open(tmp_path / "out")) == rows_fingerprint(new)


def test_a_tokenizer_without_special_tokens_moves(base, capsys, tmp_path):
    bare = byte_level("both", 400, ())
    tokenizer_of(bare).save_pretrained(tmp_path / "bare")
    run(capsys, "transplant", base, "--tokenizer", tmp_path / "bare", "--out", tmp_path / "out", "-q")
    config = json.loads((tmp_path / "out/config.json").read_text())
    assert config["vocab_size"] == bare.size
    assert config["eos_token_id"] is None
    assert json.loads(run(capsys, "transplant", "verify", tmp_path / "out", "--json")[0])["facts"]["ok"]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["model.embed_tokens.weight", "lm_head.weight"])
def test_rows_that_are_not_finite(name, value, base, tokenizer, capsys, tmp_path):
    def spoil(tensors):
        tensors[name][7, 3] = value

    change_tensors(base, spoil)
    assert "finite" in refused(capsys, tmp_path, base, "--tokenizer", tokenizer)


def test_a_vocabulary_larger_than_the_embedding(base, tokenizer, capsys, tmp_path):
    def cut(tensors):
        for name in ("model.embed_tokens.weight", "lm_head.weight"):
            tensors[name] = tensors[name][:-9].contiguous()

    change_tensors(base, cut)
    change_config(base, vocab_size=331)
    said = refused(capsys, tmp_path, base, "--tokenizer", tokenizer)
    assert "331" in said
    assert "340" in said


def test_a_wrong_architecture_name(base, tokenizer, capsys, tmp_path):
    change_config(base, architectures=["LamaForCausalLM"])
    assert "not supported here" in refused(capsys, tmp_path, base, "--tokenizer", tokenizer)


def test_model_code_is_refused_and_never_runs(base, tokenizer, capsys, tmp_path):
    change_config(base, model_type="own", auto_map={"AutoConfig": "code.C", "AutoModelForCausalLM": "code.M"})
    (base / "code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').write('x')\n")
    said = refused(capsys, tmp_path, base, "--tokenizer", tokenizer)
    assert "own" in said
    assert "--own-code" in said or "trust" in said


def test_a_truncated_checkpoint(base, tokenizer, capsys, tmp_path):
    weights = base / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    assert "Copy it again" in refused(capsys, tmp_path, base, "--tokenizer", tokenizer)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 1 MiB; skips where this user may not mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("needs the program mount.")
    if done.returncode:
        pytest.skip(f"needs the right to mount a tmpfs: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def contents(folder) -> dict:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_a_full_disk_keeps_the_old_output(base, tokenizer, small_disk, capsys):
    arguments = ("transplant", base, "--tokenizer", tokenizer, "--out", small_disk / "out", "-q")
    run(capsys, *arguments)
    before, free = contents(small_disk), os.statvfs(small_disk)
    (small_disk / "filler").write_bytes(bytes(max(0, free.f_bavail * free.f_frsize - 65_536)))
    out, err = run(capsys, *arguments, "--overwrite", code=2)
    assert out == ""
    assert f"no room left while writing {small_disk / 'out'}" in err
    assert "Nothing was changed: an older output there is intact; free some space" in err
    assert "Traceback" not in err
    (small_disk / "filler").unlink()
    assert contents(small_disk) == before
    assert sorted(path.name for path in small_disk.iterdir()) == ["out"]


def test_a_read_only_disk_keeps_the_old_output(base, tokenizer, small_disk, capsys):
    arguments = ("transplant", base, "--tokenizer", tokenizer, "--out", small_disk / "out", "-q")
    run(capsys, *arguments)
    before = contents(small_disk)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    out, err = run(capsys, *arguments, "--overwrite", code=2)
    assert out == ""
    assert f"may not write {small_disk / 'out'}: Read-only file system" in err
    assert "Give a place you may write" in err
    assert contents(small_disk) == before


@pytest.mark.slow  # a process of its own, as the limit holds for all a process writes
def test_a_file_that_may_not_grow_keeps_the_old_output(base, tokenizer, capsys, tmp_path):
    arguments = ["transplant", str(base), "--tokenizer", str(tokenizer), "--out", str(tmp_path / "out"), "-q"]
    run(capsys, *arguments)
    before = contents(tmp_path)
    code = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000));"
        "from tokenry.cli import main; main(sys.argv[1:])"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments, "--overwrite"], capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert "ulimit" in done.stderr
    assert "Nothing was changed" in done.stderr
    assert "Traceback" not in done.stderr
    assert contents(tmp_path) == before
