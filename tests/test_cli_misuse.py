"""The door under clumsy and hostile use: sentences, exit codes, Ctrl-C, closed pipes, missing packages."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from test_cli import FICTION, MODEL, run, run_json
from tokenry.core.vocab import Vocab
from tokenry.data import demo_text

TRAIN = ("tokenizer", "train", "--data", FICTION, "--limit", "40")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["tokenizer", "audit", MODEL, "--text", ""], "an empty name"),
        (["tokenizer", "audit", MODEL, "--text", FICTION, "--seed", "-1"], "--seed"),
        (["tokenizer", "audit", MODEL, "--text", FICTION, "--out", "a file"], "a file"),
        (["tokenizer", "audit", MODEL, "--text", FICTION, "--out", "a file/below"], "is a file, not a folder"),
        (["tokenizer", "audit", MODEL, "--text", "body.jsonl"], "--text-column"),
        ([*TRAIN, "--size", "0", "--out", "never"], "size=0"),
        ([*TRAIN, "--size", "400", "--pattern", "[a", "--out", "never"], "regular expression"),
        ([*TRAIN, "--size", "400", "--style", "metaspace", "--pattern", "[a", "--out", "never"], "regular expression"),
        ([*TRAIN, "--size", "400", "--boundary", "superword:0.7,words=x", "--out", "never"], "need a number"),
        ([*TRAIN, "--size", "400", "--boundary", "superword:0.7,max_wrods=3", "--out", "never"], "Did you mean"),
        ([*TRAIN, "--size", "400", "--boundary", "compounds:", "--out", "never"], "names no file"),
        ([*TRAIN, "--size", "400", "--pad-to", "99999999999", "--out", "never"], "at most"),
        ([*TRAIN, "--size", "400", "--resume", "a file", "--out", "never"], "is a file, not a folder"),
        ([*TRAIN, "--size", "400", "--cache", "a file", "--out", "never"], "is a file, not a folder"),
        ([*TRAIN, "--size", "400", "--workers", "0", "--out", "never"], "--workers"),
        ([*TRAIN, "--size", "400", "--epochs", "5", "--out", "never"], "least-effort"),
        ([*TRAIN, "--size", "400", "--heldout", "nowhere.txt", "--out", "never"], "nowhere.txt"),
        (["tokenizer", "extend", MODEL, "--data", FICTION, "--add", "9", "--method", "apend", "--out", "never"],
         "Did you mean 'append'"),
        (["tokenizer", "mixture", MODEL, "--corpus", "a=" + FICTION, "--corpus", "b="], "names no file"),
        (["tokenizer", "mixture", MODEL, "--corpus", "a=" + FICTION, "--trained-bytes", "nan"], "trained_bytes=nan"),
        (["tokenizer", "mixture", MODEL, "--corpus", "a=" + FICTION, "--max-length", "-1"], "longest=-1"),
        (["tokenizer", "mixture", MODEL, "--corpus", "a=" + FICTION, "--trajectories", "a file"], "not a folder"),
        (["tokenizer", "prune", MODEL, "--data", FICTION, "--min-uses", "-1", "--out", "never"], "--min-uses"),
        (["model", "arithmetic", MODEL, "--lengths", "7-9999999"], "at most 100 digits"),
        (["model", "arithmetic", MODEL, "--shots", "9999999"], "256 worked examples"),
        (["model", "arithmetic", MODEL, "--lengths", "2", "--n", "1", "--device", "cpud"], "device 'cpud'"),
        (["model", "arithmetic", MODEL, "--lengths", "2", "--n", "1", "--dtype", "float31"], "dtype 'float31'"),
    ],
)  # fmt: skip
def test_misuse_ends_with_a_sentence_before_the_work(capsys, arguments, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a file").write_text("mine")
    (tmp_path / "body.jsonl").write_text('{"body": "some text"}\n')
    out, err = run(capsys, *arguments, code=2)
    assert out == ""
    assert words in " ".join(err.replace("│", " ").split())
    assert "Traceback" not in err
    assert "Errno" not in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a file", "body.jsonl"]


def test_a_failing_function_of_the_user_is_no_traceback(capsys):
    out, err = run(
        capsys, "tokenizer", "audit", MODEL, "--text", FICTION, "--limit", "5", "--lens", "json:dumps", code=1
    )
    assert out == ""
    assert "TypeError" in err
    assert "TOKENRY_TRACEBACK" in err
    assert "Traceback (" not in err


def test_warnings_are_sentences_without_source_lines(tmp_path):
    """In a process of its own: pytest takes warnings for itself."""
    (tmp_path / "few.txt").write_text("few words here\n")
    arguments = ["train", "--data", str(tmp_path / "few.txt"), "--kind", "character", "--size", "999"]
    command = [sys.executable, "-m", "tokenry", "tokenizer", *arguments, "--out", str(tmp_path / "t"), "-q"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    assert said.startswith("tokenry: warning: ")
    assert ".py" not in said


def test_messages_cannot_steer_the_terminal(capsys):
    _, err = run(capsys, "tokenizer", "audit", MODEL, "--text", "\x1b[31mno-such.txt", code=2)
    assert "\x1b" not in err
    assert "no-such.txt" in err


@pytest.mark.parametrize(
    ("module", "arguments", "words"),
    [
        ("torch", ["model", "arithmetic", MODEL], "pip install 'tokenry[models]'"),
        ("torch", ["tokenizer", "undertrained", MODEL, "--verify"], "pip install 'tokenry[models]'"),
        ("highspy", ["tokenizer", "mixture", MODEL, "--corpus", "a=" + FICTION, "--corpus",
                     f"b={demo_text('stories')}", "--limit", "20"], "pip install highspy"),
    ],
)  # fmt: skip
def test_a_missing_package_is_named_with_its_line(module, arguments, words):
    """In a process of its own, in which the module cannot be imported."""
    program = f"import sys; sys.modules[{module!r}] = None; from tokenry.cli import main; main({arguments!r})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_closed_and_wrongly_encoded_input_are_told(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "stdin", None)
    assert "closed" in run(capsys, "tokenizer", "split", MODEL, "-", code=2)[1]
    (tmp_path / "latin").write_bytes("Größe".encode("latin-1"))
    with open(tmp_path / "latin", encoding="utf-8") as file:
        monkeypatch.setattr(sys, "stdin", file)
        assert "iconv" in run(capsys, "tokenizer", "split", MODEL, "-", code=2)[1]


SAYS = {
    "ENOSPC": "free some space",
    "EDQUOT": "quota",
    "EACCES": "Permission denied",
    "EROFS": "Read-only file system",
    "EISDIR": "it is a folder",
    "ENOTDIR": "is a file, not a folder",
    "ENAMETOOLONG": "too long",
}


@pytest.mark.parametrize(("name", "words"), SAYS.items())
def test_what_the_system_refuses_and_the_user_can_mend_exits_2(name, words, capsys, monkeypatch, tmp_path):
    """As the system raises it while a report is written over an older one."""
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "report.json").write_text("old")
    code = getattr(errno, name)

    def refuse(path, *_, **__):
        raise OSError(code, os.strerror(code), str(path))

    monkeypatch.setattr(Path, "write_bytes", refuse)
    asked = ("tokenizer", "audit", MODEL, "--text", FICTION, "--limit", "3", "--out", tmp_path / "report")
    out, err = run(capsys, *asked, code=2)
    assert out == ""
    assert words in err
    assert str(tmp_path / "report") in err
    assert "Errno" not in err
    assert "Traceback" not in err
    assert (tmp_path / "report" / "report.json").read_text() == "old"
    assert os.listdir(tmp_path / "report") == ["report.json"]


def test_a_disk_that_is_broken_is_no_wrong_argument(capsys, monkeypatch):
    def broken(*_):
        raise OSError(errno.EIO, "Input/output error", "x")

    monkeypatch.setattr("tokenry.tokenization.verbs.split_report", broken)
    assert "Input/output error" in run(capsys, "tokenizer", "split", MODEL, "x", code=1)[1]


def test_output_that_has_no_room_is_told():
    if not os.path.exists("/dev/full"):
        pytest.skip("this system has no /dev/full, the device that is always full")
    command = [sys.executable, "-m", "tokenry", "papers", "--markdown"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2
    assert "no room left" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_reader_that_goes_away_is_no_error_of_ours():
    program = "from tokenry.cli import main; main(['papers', '--markdown'])"
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() in (0, 1)


def test_ctrl_c_in_a_compiled_kernel_is_an_interruption(capsys, monkeypatch):
    """Numba hands it on as a SystemError whose cause it is."""

    def verb(*_):
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt as stop:
            raise SystemError("CPUDispatcher returned a result with an exception set") from stop

    monkeypatch.setattr("tokenry.tokenization.verbs.split_report", verb)
    _, err = run(capsys, "tokenizer", "split", MODEL, "x", code=1)
    assert err == "tokenry: interrupted; nothing half-written was left behind\n"


@pytest.mark.slow  # 3 s each on a quiet machine: a process that is stopped in the middle, and a second run
@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_ctrl_c_leaves_nothing_and_the_next_run_works(kind, tmp_path, capsys):
    """A megabyte of different words: the library's trainer alone would not hear the signal for many seconds."""
    text = tmp_path / "words.txt"
    text.write_text(" ".join(f"w{i * 7919 % 1_000_003:x}{i * 104_729 % 999_983:x}" for i in range(250_000)))
    arguments = ["tokenizer", "train", "--kind", kind, "--size", "9000", "--out", str(tmp_path / "t"), "-q", "--data"]
    process = subprocess.Popen(
        [sys.executable, "-m", "tokenry", *arguments, str(text)], stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    deadline = time.time() + 60
    while not any(".t." in name for name in os.listdir(tmp_path)) and time.time() < deadline:
        time.sleep(0.05)
    time.sleep(0.8)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 1
    assert "interrupted" in said
    assert "Traceback" not in said
    assert os.listdir(tmp_path) == ["words.txt"]
    run(capsys, *arguments[:-1], "--data", FICTION, "--limit", "40")


def test_options_of_boundaries_and_of_the_lexicon_learner_are_reachable(capsys, tmp_path):
    boundary = "superword:0.5,words=2,forbid=."
    run_json(capsys, *TRAIN, "--size", "2000", "--boundary", boundary, "--out", tmp_path / "a")
    tokens = [token.decode("utf-8", "replace") for token in Vocab.open(tmp_path / "a").tokens if token]
    assert max(len(token.split()) for token in tokens) == 2
    learner = ("--kind", "least-effort", "--size", "700", "--decoding", "fewest", "--drop-spaces")
    run_json(capsys, *TRAIN, *learner, "--epochs", "10", "--resume", tmp_path / "state", "--out", tmp_path / "b")
    assert (tmp_path / "state" / "learner.npz").is_file()
    vocab = Vocab.open(tmp_path / "b")
    assert vocab.decode(vocab.encode(["a dog"])[0]) == "adog"
    run_json(capsys, *TRAIN, *learner, "--epochs", "12", "--resume", tmp_path / "state", "--out", tmp_path / "c")
