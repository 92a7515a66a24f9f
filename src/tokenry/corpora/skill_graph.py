"""The skills of a reference as a graph: how often each is needed, how often two are needed together.

Names of one skill are brought together by their vectors, the most frequent name leads. Single skills and pairs are
normalised apart, so that frequent skills do not drown what is combined.

Papers: MASS (arXiv 2503.14917), sections on canonicalisation and the graph. Which of two similar names leads, and the
use of greedy leaders, are our reconstruction: no code was published.
"""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from tokenry.core.choosing import suggest
from tokenry.core.hashing import fingerprint
from tokenry.core.report import Figure, Report

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = ["Embedder", "SkillGraph", "graph_report", "open_embedder"]

# Axes: P problems, K skills (nodes), E pairs (edges), D width.

Encode = Callable[[list[str]], np.ndarray]
_FORMAT = 1
_FILES = ("manifest.json", "nodes.parquet", "edges.parquet", "vectors.npy")
_WORDS = "embedder.npz"


@dataclass(frozen=True)
class Embedder:
    """A function from strings to vectors, and how it is opened again.

    Attributes:
        encode: the function.
        kind: "words" (kept with the graph), "folder" (opened by its path), "function" (yours; give it again).
        name: the path or the function's name.
        key: fingerprint of its content, "" where nothing can be said.
    """

    encode: Encode
    kind: str
    name: str = ""
    key: str = ""

    def units(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors of length 1, float32 (n, D); of zeros for texts of which the embedder knows nothing."""
        if not len(texts):
            return np.zeros((0, 1), np.float32)
        rows = np.asarray(self.encode(list(texts)), np.float32)
        if rows.ndim != 2 or len(rows) != len(texts) or not np.isfinite(rows).all():
            raise ValueError(
                f"the embedder gave shape {rows.shape} for {len(texts)} strings; need one row of finite numbers each."
            )
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        return rows / np.where(lengths > 0, lengths, 1)


def open_embedder(spec: object = "words", *, texts: Sequence[str] = (), dim: int = 128, seed: int = 0) -> Embedder:
    """Open what makes vectors of skills and documents.

    Args:
        spec: "words" (TF-IDF and SVD, learned from `texts`; it knows words, not meaning), the path of a sentence
            encoder, "module:function", or a function of a list of strings.
        texts: for "words": the reference, best with a sample of the corpus to be scored.
        dim: for "words": width.
        seed: for "words".

    Raises:
        ValueError: "words" without texts, no such function. FileNotFoundError: no such folder.
    """
    if isinstance(spec, Embedder):
        return spec
    if isinstance(spec, str) and spec == "words":
        from tokenry.corpora.embedding_features import fit

        if not texts:
            raise ValueError("no texts to learn word vectors from. Give the reference's texts, or an encoder's path.")
        words = fit(texts, dim=dim, seed=seed)
        return Embedder(words, "words", "words", words.key)
    if isinstance(spec, str) and ":" in spec and not Path(spec).exists():
        from tokenry.core.choosing import resolve

        return Embedder(resolve(spec, {}, kind="embedder"), "function", spec)
    from tokenry.models.encoders import open_encoder

    encode, key = open_encoder(spec)
    if isinstance(spec, str | Path):
        return Embedder(encode, "folder", str(spec), key)
    return Embedder(encode, "function", getattr(spec, "__name__", type(spec).__name__))


@dataclass(frozen=True)
class SkillGraph:
    """Skills of a reference, and which of them it needs together.

    Attributes:
        skills: name of each, the most frequent one of those that were brought together; most frequent skill first.
        counts_K: problems that need it.
        edges_E2: pairs of skills, the smaller number first, sorted.
        together_E: problems that need both.
        vectors_KD: float32 of length 1.
        members: all names of each skill.
        n_problems: with at least one skill.
        threshold: cosine above which two names were one skill.
        embedder: made the vectors, and makes those of documents.
        provenance: how the skills were named.
    """

    skills: list[str]
    counts_K: np.ndarray
    edges_E2: np.ndarray
    together_E: np.ndarray
    vectors_KD: np.ndarray
    members: list[list[str]]
    n_problems: int
    threshold: float
    embedder: Embedder
    provenance: dict[str, object] = field(default_factory=dict)

    @classmethod
    def build(
        cls,
        problems: Sequence[Sequence[str]],
        embedder: Embedder | Encode,
        *,
        threshold: float = 0.9,
        least: int = 1,
        provenance: dict[str, object] | None = None,
    ) -> "SkillGraph":
        """Bring names of one skill together and count.

        Args:
            problems: the skills of each problem. A problem that lists two names of one skill counts once.
            embedder: of the names.
            threshold: a name joins the first, most frequent leader with a cosine above this; at 1 at most names of
                equal vectors do.
            least: skills of fewer problems are left out.
            provenance: kept with the graph.

        Raises:
            ValueError: no skills at all.

        Paper: MASS (arXiv 2503.14917).
        """
        from tokenry.core.clustering import greedy_leaders

        embedder = embedder if isinstance(embedder, Embedder) else open_embedder(embedder)
        counts = Counter(name for each in problems for name in dict.fromkeys(each))
        if not counts:
            raise ValueError(f"no skill in any of {len(problems):,} problems. Look at the reasons in the skills file.")
        # Most frequent first, ties by name: the result does not depend on the order of the problems.
        names = sorted(counts, key=lambda name: (-counts[name], name))
        vectors_ND = embedder.units(names)
        leader_N = greedy_leaders(vectors_ND, np.array([counts[name] for name in names]), threshold=threshold)
        place = dict(zip(names, leader_N.tolist(), strict=True))
        sets = [sorted({place[name] for name in each}) for each in problems]
        merged = Counter(leader for each in sets for leader in each)
        kept = sorted((one for one in merged if merged[one] >= least), key=lambda one: (-merged[one], names[one]))
        if not kept:
            raise ValueError(f"no skill is needed by {least} problems; the most frequent has {max(merged.values())}.")
        number = {leader: at for at, leader in enumerate(kept)}
        members: list[list[str]] = [[] for _ in kept]
        for name in names:
            if place[name] in number:
                members[number[place[name]]].append(name)
        sets = [[number[leader] for leader in each if leader in number] for each in sets]
        counts_K, edges_E2, together_E = _counted(sets, len(kept))
        return cls(
            [names[leader] for leader in kept], counts_K, edges_E2, together_E, vectors_ND[kept], members,
            sum(bool(each) for each in sets), float(threshold), embedder, dict(provenance or {}),
        )  # fmt: skip

    def adjacency(self, *, idf: bool = False) -> "csr_array":
        """A: skills on the diagonal, pairs beside it, symmetric; each of the two parts sums to 1 (pairs: if any).

        Args:
            idf: weigh skills by log(1 + problems / count) before, so that what everything needs does not rule.
        """
        from scipy.sparse import coo_array

        n = len(self.skills)
        weight_K = np.log1p(self.n_problems / self.counts_K) if idf else np.ones(n)
        nodes_K = self.counts_K * weight_K
        first_E, second_E = self.edges_E2.T
        pairs_E = self.together_E * np.sqrt(weight_K[first_E] * weight_K[second_E])
        pairs_E = pairs_E / (2 * pairs_E.sum()) if len(pairs_E) else pairs_E
        places = np.arange(n)
        rows = np.concatenate([places, first_E, second_E])
        columns = np.concatenate([places, second_E, first_E])
        values = np.concatenate([nodes_K / nodes_K.sum(), pairs_E, pairs_E])
        return coo_array((values, (rows, columns)), shape=(n, n)).tocsr()

    def index(self, skill: str) -> int:
        """The number of a skill by any of its names.

        Raises:
            ValueError: there is none (the nearest name is given).
        """
        known = {name: at for at, names in enumerate(self.members) for name in names}
        if skill not in known:
            raise ValueError(f"no skill {skill!r} in the graph.{suggest(skill, known)} List them: skills show GRAPH.")
        return known[skill]

    def neighbours(self, skill: str) -> list[tuple[str, int]]:
        """Skills that are needed together with this one, and by how many problems; most first."""
        at = self.index(skill)
        touching = (self.edges_E2 == at).any(axis=1)
        others = self.edges_E2[touching].sum(axis=1) - at
        found = zip(others.tolist(), self.together_E[touching].tolist(), strict=True)
        return [(self.skills[other], n) for other, n in sorted(found, key=lambda one: (-one[1], one[0]))]

    def degrees(self) -> np.ndarray:
        """int64 (K,): how many others each skill is needed with."""
        return np.bincount(self.edges_E2.ravel(), minlength=len(self.skills))

    def key(self) -> str:
        """Fingerprint of all that decides scores."""
        return fingerprint(
            "skill graph", _FORMAT, self.skills, self.counts_K, self.edges_E2, self.together_E, self.vectors_KD,
            self.embedder.kind, self.embedder.name, self.embedder.key,
        )  # fmt: skip

    def save(self, folder: str | Path, *, overwrite: bool = False) -> None:
        """Write nodes and edges (Parquet), vectors (npy) and a manifest; the folder appears whole or not at all."""
        import pyarrow.parquet as pq

        from tokenry.core.runs import atomic_folder

        nodes = {"skill": self.skills, "count": self.counts_K, "members": self.members}
        edges = {"a": self.edges_E2[:, 0], "b": self.edges_E2[:, 1], "count": self.together_E}
        embedder = {"kind": self.embedder.kind, "name": self.embedder.name, "key": self.embedder.key}
        manifest = {
            "format": _FORMAT, "problems": self.n_problems, "threshold": self.threshold, "embedder": embedder,
            "provenance": self.provenance,
        }  # fmt: skip
        with atomic_folder(folder, overwrite=overwrite) as part:
            pq.write_table(pa.table(nodes), part / "nodes.parquet", compression="zstd")
            pq.write_table(pa.table(edges), part / "edges.parquet", compression="zstd")
            np.save(part / "vectors.npy", self.vectors_KD, allow_pickle=False)
            if self.embedder.kind == "words":
                self.embedder.encode.save(part / _WORDS)
            text = json.dumps(manifest, indent=1, ensure_ascii=False) + "\n"
            (part / "manifest.json").write_text(text, encoding="utf-8")

    @classmethod
    def load(cls, folder: str | Path, *, embedder: object = None) -> "SkillGraph":
        """Open what `save` wrote; nothing in it is run.

        Args:
            folder: of the graph.
            embedder: needed where a function of yours made the vectors; else the one the graph names is opened.

        Raises:
            FileNotFoundError: there is no graph. ValueError: it is damaged, or the embedder is another one.
        """
        import pyarrow.parquet as pq

        folder = Path(folder)
        if lacking := [name for name in _FILES if not (folder / name).is_file()]:
            raise FileNotFoundError(f"no {lacking[0]} in {folder}. Need the --out of tokenry corpus skills graph.")
        try:
            manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
            named = {str(key): str(value) for key, value in manifest["embedder"].items()}
            nodes, edges = pq.read_table(folder / "nodes.parquet"), pq.read_table(folder / "edges.parquet")
            edges_E2 = np.stack([edges.column(name).to_numpy().astype(np.int64) for name in "ab"], axis=1)
            vectors_KD = _vectors(folder / "vectors.npy")
            counts_K = nodes.column("count").to_numpy().astype(np.int64)
            together_E = edges.column("count").to_numpy().astype(np.int64)
            made = cls(
                nodes.column("skill").to_pylist(), counts_K, edges_E2, together_E,
                vectors_KD, nodes.column("members").to_pylist(), int(manifest["problems"]),
                float(manifest["threshold"]), _embedder_of(folder, named, embedder), manifest.get("provenance", {}),
            )  # fmt: skip
        except (pa.ArrowException, KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
            raise ValueError(f"{folder} holds no skill graph ({error}). Make it again: skills graph.") from error
        n = len(made.skills)
        fits = vectors_KD.ndim == 2 and len(vectors_KD) == n and np.issubdtype(vectors_KD.dtype, np.floating)
        in_range = not len(edges_E2) or (edges_E2.min() >= 0 and edges_E2.max() < n)
        if not (n and fits and in_range and (counts_K > 0).all() and (made.together_E > 0).all()):
            raise ValueError(f"{folder}: nodes, edges and vectors do not fit each other. Make the graph again.")
        return made

    def export(self, path: str | Path) -> None:
        """Write GraphML, which Gephi, Cytoscape, yEd and networkx open."""
        from xml.sax.saxutils import escape, quoteattr

        from tokenry.core.runs import atomic_write

        def clean(text: str) -> str:
            return "".join(char for char in text if char >= " " and not "\ud800" <= char <= "\udfff")

        lines = ['<?xml version="1.0" encoding="UTF-8"?>', '<graphml xmlns="http://graphml.graphdrawing.org/xmlns">']
        for name, kind, what in (("label", "string", "node"), ("count", "long", "node"), ("weight", "long", "edge")):
            lines.append(f'<key id="{name}" for="{what}" attr.name="{name}" attr.type="{kind}"/>')
        lines.append('<graph edgedefault="undirected">')
        for at, (skill, count) in enumerate(zip(self.skills, self.counts_K.tolist(), strict=True)):
            data = f'<data key="label">{escape(clean(skill))}</data><data key="count">{count}</data>'
            lines.append(f"<node id={quoteattr(f'n{at}')}>{data}</node>")
        for (a, b), n in zip(self.edges_E2.tolist(), self.together_E.tolist(), strict=True):
            lines.append(f'<edge source="n{a}" target="n{b}"><data key="weight">{n}</data></edge>')
        atomic_write(path, "\n".join([*lines, "</graph>", "</graphml>", ""]))


def _counted(sets: list[list[int]], n_skills: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """X'X of the problem-skill indicator X: its diagonal, and the entries above it."""
    from scipy.sparse import csr_array, triu

    columns = np.array([skill for each in sets for skill in each], np.int64)
    starts = np.concatenate([[0], np.cumsum([len(each) for each in sets])])
    has_PK = csr_array((np.ones(len(columns), np.int64), columns, starts), shape=(len(sets), n_skills))
    both_KK = (has_PK.T @ has_PK).tocsr()
    above = triu(both_KK, k=1).tocoo()
    order = np.lexsort((above.col, above.row))
    edges_E2 = np.stack([above.row[order], above.col[order]], axis=1).astype(np.int64)
    return both_KK.diagonal().astype(np.int64), edges_E2, above.data[order].astype(np.int64)


def _vectors(path: Path) -> np.ndarray:
    try:
        return np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path} holds no vectors ({error}). Make the graph again.") from error


def _embedder_of(folder: Path, named: dict[str, str], given: object) -> Embedder:
    kind, name, key = named.get("kind", ""), named.get("name", ""), named.get("key", "")
    if given is not None:
        found = open_embedder(given)
    elif kind == "words":
        from tokenry.corpora.embedding_features import WordVectors

        words = WordVectors.load(folder / _WORDS)
        found = Embedder(words, "words", "words", words.key)
    elif kind == "folder":
        found = open_embedder(name)
    else:
        # A function that a file names is code that a file would run.
        raise ValueError(f"the graph {folder} was made with your function {name!r}; give it again (--encoder).")
    if key and found.key and key != found.key:
        raise ValueError(f"the embedder {found.name} is not the one that made {folder}. Give that one, or build anew.")
    return found


def graph_report(graph: SkillGraph, *, skill: str | None = None, n: int = 20) -> Report:
    """What is in a graph, or around one skill: frequent skills and pairs, hubs, how fragmented it is."""
    if skill is not None:
        at, found = graph.index(skill), graph.neighbours(skill)[:n]
        table = pa.table({"together with": [one for one, _ in found], "problems": [count for _, count in found]})
        facts = {"problems": int(graph.counts_K[at]), "neighbours": int(graph.degrees()[at]),
                 "names": ", ".join(graph.members[at][:20])}  # fmt: skip
        return Report("corpus skills show", f"the skill {graph.skills[at]!r}", facts, {"neighbours": table})
    degrees_K = graph.degrees()
    order = np.argsort(-graph.together_E, kind="stable")[:n]
    merged = [len(names) for names in graph.members]
    facts = {
        "problems": graph.n_problems, "skills": len(graph.skills), "names": sum(merged), "pairs": len(graph.edges_E2),
        "threshold": graph.threshold, "embedder": graph.embedder.name,
        "share of skills needed once": round(float((graph.counts_K == 1).mean()), 3),
        "share of all needs in the 10 most frequent": round(float(graph.counts_K[:10].sum() / graph.counts_K.sum()), 3),
        "degree, median": float(np.median(degrees_K)), "degree, highest": int(degrees_K.max()),
    }  # fmt: skip
    skills = pa.table({
        "skill": graph.skills[:n], "problems": graph.counts_K[:n], "degree": degrees_K[:n], "names": merged[:n],
        "also called": [", ".join(names[1:4]) for names in graph.members[:n]],
    })  # fmt: skip
    pairs = pa.table({
        "skill": [graph.skills[a] for a in graph.edges_E2[order, 0]],
        "with": [graph.skills[b] for b in graph.edges_E2[order, 1]], "problems": graph.together_E[order],
    })  # fmt: skip
    warnings = []
    if blind := int((np.abs(graph.vectors_KD).sum(axis=1) == 0).sum()):
        warnings.append(f"{blind} skills have no vector (the embedder knows none of their words): no text matches them")
    if not len(graph.edges_E2):
        warnings.append("no two skills are needed together: scores have no part of pairs")
    figure = Figure.of_values("How many others a skill is needed with", "degree", {"skills": degrees_K})
    title = f"{len(graph.skills):,} skills of {graph.n_problems:,} problems"
    return Report("corpus skills graph", title, facts, {"skills": skills, "pairs": pairs}, [figure], warnings=warnings)
