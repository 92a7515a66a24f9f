"""Score documents by the skills of a small trusted set, and by the skills it needs together.

The paper's own way to bring the graph and the similarities together was not available. What stands here is a
reconstruction, with the simpler ways beside it, so that it can be seen whether pairs add anything for your corpus.
Nothing here sees whether a document is correct.

Papers: MASS: Mathematical Data Selection via Skill Graphs for Pretraining Large Language Models (arXiv 2503.14917).
"""

import functools
import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from tokenry.core.choosing import suggest
from tokenry.core.hashing import fingerprint, stable_hash
from tokenry.core.runs import write_run
from tokenry.corpora.engine import Engine, Mapped, open_engine
from tokenry.corpora.skill_graph import SkillGraph
from tokenry.corpora.units import Reading

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = ["AGGREGATIONS", "COLUMNS", "Explanation", "Scorer", "Scoring", "background_of", "calibrate", "score_batch",
           "score_by_skills", "tau_of"]  # fmt: skip

# Axes: B documents, C chunks, K skills, D width.

AGGREGATIONS = ("quadratic", "linear", "node-only", "similarity-only")
VERSION = 1
COLUMNS = {
    "skills.score": pa.float64(), "skills.score_max": pa.float64(), "skills.nodes": pa.float64(),
    "skills.edges": pa.float64(), "skills.linear": pa.float64(), "skills.similarity": pa.float64(),
    "skills.top": pa.string(), "skills.top_share": pa.float64(), "skills.chunks": pa.int64(),
}  # fmt: skip
BLOCK = 256
"""Chunks whose similarities to all skills are held at a time."""


@dataclass(frozen=True)
class Scoring:
    """How similarities become a score. All four ways are the reconstruction's; s+ is max(s - tau, 0), largest `top_m`.

    Attributes:
        aggregation: what `skills.score` is: "quadratic" s+' A s+ (skills and pairs), "node-only" its diagonal, "linear"
            the sum of A s (the whole graph becomes one direction, and what is combined no longer counts),
            "similarity-only" the mean of s. The last two take s as it is.
        top_m: skills of a chunk that count; None takes all.
        tau: what is taken off a similarity; a number, or one for each skill (`calibrate`).
        idf: weigh rare skills up, see `SkillGraph.adjacency`.
        chunk_bytes: long documents are cut into pieces of this, about 512 tokens of English.
    """

    aggregation: str = "quadratic"
    top_m: int | None = 32
    tau: float | tuple[float, ...] = 0.0
    idf: bool = False
    chunk_bytes: int = 2048

    def __post_init__(self) -> None:
        if self.aggregation not in AGGREGATIONS:
            raise ValueError(
                f"no aggregation {self.aggregation!r}.{suggest(self.aggregation, AGGREGATIONS)} "
                f"Need {', '.join(AGGREGATIONS)}."
            )
        if (self.top_m is not None and self.top_m < 1) or self.chunk_bytes < 64:
            raise ValueError(f"top_m={self.top_m}, chunk_bytes={self.chunk_bytes}; need at least 1 and at least 64.")


@dataclass(frozen=True)
class Explanation:
    """Where the score of a text comes from; contributions of all skills and pairs sum to it (quadratic).

    Attributes:
        score: mean over the chunks.
        skills: name, mean similarity, contribution; most first.
        pairs: name, name, contribution; most first.
    """

    score: float
    skills: list[tuple[str, float, float]]
    pairs: list[tuple[str, str, float]]


class Scorer:
    """Scores texts with a graph.

    Args:
        graph: skills, pairs and the embedder.
        scoring: the way.

    Raises:
        ValueError: as many taus as skills are needed.
    """

    def __init__(self, graph: SkillGraph, scoring: Scoring = Scoring()) -> None:
        from scipy.sparse import diags_array

        self.graph, self.scoring = graph, scoring
        self.n_skills = len(graph.skills)
        self._tau = np.asarray(scoring.tau, np.float32)
        if self._tau.shape not in ((), (self.n_skills,)):
            raise ValueError(
                f"{self._tau.size} taus for {self.n_skills} skills; need one number, or one for each. Calibrate with "
                "this graph."
            )
        adjacency_KK = graph.adjacency(idf=scoring.idf)
        self.nodes_K = adjacency_KK.diagonal()
        self.pairs_KK = (adjacency_KK - diags_array(self.nodes_K)).tocsr()
        self.pairs_KK.eliminate_zeros()
        self._degrees_K = np.asarray(adjacency_KK.sum(axis=1)).ravel()
        # The sum of A s over unit vectors is a product with this one direction; so is the mean of s.
        self._linear_D = self._degrees_K @ graph.vectors_KD
        self._mean_D = graph.vectors_KD.mean(axis=0)

    def similarities(self, vectors_CD: np.ndarray) -> "csr_array":
        """s+ (C, K): the largest `top_m` of max(cosine - tau, 0) of each chunk."""
        from scipy.sparse import csr_array

        above_CK = np.maximum(vectors_CD @ self.graph.vectors_KD.T - self._tau, 0)
        m = self.n_skills if self.scoring.top_m is None else min(self.scoring.top_m, self.n_skills)
        if m < self.n_skills:
            cut_C = np.partition(above_CK, self.n_skills - m, axis=1)[:, self.n_skills - m]
            # Of equal similarities at the cut all are kept: which they are must not depend on the order of the skills.
            above_CK[above_CK < cut_C[:, None]] = 0
        return csr_array(above_CK.astype(np.float64))

    def chunks(self, texts: Sequence[str | None]) -> tuple[list[str], np.ndarray]:
        """The pieces of the texts, and how many each has; none for a text without a word."""
        from tokenry.core.splitting import segments

        pieces = [segments(text, self.scoring.chunk_bytes) if text and text.strip() else [] for text in texts]
        pieces = [[piece for piece in each if piece.strip()] for each in pieces]
        return [piece for each in pieces for piece in each], np.array([len(each) for each in pieces], np.int64)

    def measure(self, texts: Sequence[str | None]) -> dict[str, np.ndarray | list]:
        """The values of `COLUMNS` for some texts; nan and None for a text without a word."""
        from scipy.sparse import csr_array, vstack

        pieces, n_chunks_B = self.chunks(texts)
        owner_C = np.repeat(np.arange(len(texts)), n_chunks_B)
        values_C5, shares = np.zeros((len(pieces), 5)), []
        for start in range(0, len(pieces), BLOCK):
            part = slice(start, min(start + BLOCK, len(pieces)))
            values_C5[part], contributed_CK = self._scored(self.graph.embedder.units(pieces[part]))
            shares.append(contributed_CK)
        with np.errstate(invalid="ignore"):
            sums_B5 = np.stack([np.bincount(owner_C, column, len(texts)) for column in values_C5.T], axis=1)
            means_B5 = sums_B5 / np.where(n_chunks_B > 0, n_chunks_B, np.nan)[:, None]
        most_B = np.full(len(texts), -np.inf)
        np.maximum.at(most_B, owner_C, values_C5[:, 0])
        tops, top_shares = [None] * len(texts), np.full(len(texts), np.nan)
        if shares:
            sums_BC = csr_array((np.ones(len(pieces)), (owner_C, np.arange(len(pieces)))), (len(texts), len(pieces)))
            tops, top_shares = self._dominant((sums_BC @ vstack(shares)).tocsr())
        names = ("skills.score", "skills.nodes", "skills.edges", "skills.linear", "skills.similarity")
        made: dict[str, np.ndarray | list] = {name: means_B5[:, at] for at, name in enumerate(names)}
        made["skills.score_max"] = np.where(n_chunks_B > 0, most_B, np.nan)
        return made | {"skills.top": tops, "skills.top_share": top_shares, "skills.chunks": n_chunks_B}

    def _scored(self, vectors_CD: np.ndarray) -> tuple[np.ndarray, "csr_array"]:
        """Score, nodes, edges, linear, similarity of each chunk; and what each skill gives to the score."""
        similar_CK = self.similarities(vectors_CD)
        alone_CK = similar_CK.multiply(similar_CK).multiply(self.nodes_K[None, :]).tocsr()
        paired_CK = (similar_CK @ self.pairs_KK).multiply(similar_CK).tocsr()
        nodes_C, edges_C = (np.asarray(one.sum(axis=1)).ravel() for one in (alone_CK, paired_CK))
        linear_C, mean_C = (np.asarray(vectors_CD @ one, np.float64) for one in (self._linear_D, self._mean_D))
        score_C, given_CK = {
            "quadratic": (nodes_C + edges_C, alone_CK + paired_CK),
            "node-only": (nodes_C, alone_CK),
            "linear": (linear_C, similar_CK.multiply(self._degrees_K[None, :])),
            "similarity-only": (mean_C, similar_CK),
        }[self.scoring.aggregation]
        return np.stack([score_C, nodes_C, edges_C, linear_C, mean_C], axis=1), given_CK.tocsr()

    def _dominant(self, given_BK: "csr_array") -> tuple[list[str | None], np.ndarray]:
        tops, shares = [], np.full(given_BK.shape[0], np.nan)
        for row, (start, end) in enumerate(zip(given_BK.indptr[:-1], given_BK.indptr[1:], strict=True)):
            values, columns = given_BK.data[start:end], given_BK.indices[start:end]
            if not len(values) or values.max() <= 0:
                tops.append(None)
                continue
            best = columns[values == values.max()].min()
            tops.append(self.graph.skills[best])
            shares[row] = values.max() / values.sum()
        return tops, shares

    def score(self, texts: Sequence[str | None]) -> np.ndarray:
        """The score of each text alone: float64, nan for a text without a word."""
        return self.measure(texts)["skills.score"]

    def explain(self, text: str, *, n: int = 5) -> Explanation:
        """Which skills and pairs give a text its quadratic score.

        Args:
            text: of a document.
            n: skills and pairs to name.
        """
        from scipy.sparse import triu

        pieces, _ = self.chunks([text])
        if not pieces:
            return Explanation(float("nan"), [], [])
        vectors_CD = self.graph.embedder.units(pieces)
        similar_CK = self.similarities(vectors_CD)
        both_KK = (similar_CK.T @ similar_CK) / len(pieces)
        alone_K = both_KK.diagonal() * self.nodes_K
        pairs = triu(both_KK.multiply(self.pairs_KK), k=1).tocoo()
        given_E = 2 * pairs.data
        cosines_K = (vectors_CD @ self.graph.vectors_KD.T).mean(axis=0)
        names = self.graph.skills
        skills = [(names[at], float(cosines_K[at]), float(alone_K[at]))
                  for at in np.argsort(-alone_K, kind="stable")[:n] if alone_K[at] > 0]  # fmt: skip
        named = [(names[pairs.row[at]], names[pairs.col[at]], float(given_E[at]))
                 for at in np.argsort(-given_E, kind="stable")[:n]]  # fmt: skip
        return Explanation(float(alone_K.sum() + given_E.sum()), skills, named)


def background_of(source: object, *, n: int = 1000, seed: int = 0, text: str = "text") -> list[str]:
    """A random sample of documents, the same for the same documents in any order: those of the smallest hashes.

    Args:
        source: documents, as `core.tables.stream` reads them; once through, `n` texts held.
        n: how many.
        seed: of the hash.
        text: the column of the text.
    """
    from tokenry.core.tables import texts

    kept: list[tuple[int, str]] = []
    for one in texts(source, text=text):
        entry = (-stable_hash(f"{seed}\n{one}"), one)
        if len(kept) < n:
            heapq.heappush(kept, entry)
        elif entry > kept[0]:
            heapq.heapreplace(kept, entry)
    return [one for _, one in sorted(kept, reverse=True)]


def calibrate(
    graph: SkillGraph, texts: Sequence[str], *, quantile: float = 0.9, per_skill: bool = True, chunk_bytes: int = 2048
) -> float | tuple[float, ...]:
    """tau: the similarity that this share of a random background does not reach.

    The cosines of an embedder lie in a narrow band, and some skills are similar to everything; without this a score
    says how much a text is of the domain at all.

    Args:
        graph: skills and embedder.
        texts: a random sample of general text (`background_of`); of each the first piece is looked at. A sample that is
            full of the domain takes away the very skills that are looked for.
        quantile: the share.
        per_skill: one tau for each skill; else one for all.
        chunk_bytes: as in `Scoring`.

    Raises:
        ValueError: no texts, a quantile out of 0..1.
    """
    if not 0 <= quantile <= 1:
        raise ValueError(f"quantile={quantile}; need a share from 0 to 1.")
    scorer = Scorer(graph, Scoring(chunk_bytes=chunk_bytes))
    pieces = [scorer.chunks([text])[0][:1] for text in texts]
    vectors_CD = graph.embedder.units([piece for each in pieces for piece in each])
    if not len(vectors_CD):
        raise ValueError("no text in the background sample. Give documents of the kind you do not look for too.")
    if not per_skill:
        return float(np.quantile(vectors_CD @ graph.vectors_KD.T, quantile))
    taus = []
    for start in range(0, len(graph.skills), 1024):
        block = graph.vectors_KD[start : start + 1024]
        taus.append(np.quantile(vectors_CD @ block.T, quantile, axis=0))
    return tuple(np.concatenate(taus).tolist())


def tau_of(
    graph: str | Path,
    background: object,
    *,
    quantile: float = 0.9,
    n: int = 1000,
    seed: int = 0,
    embedder: object = None,
) -> tuple[float, ...]:
    """`calibrate` for a saved graph and `n` random documents of `background`: one tau for each skill."""
    opened = SkillGraph.load(graph, embedder=embedder)
    return calibrate(opened, background_of(background, n=n, seed=seed), quantile=quantile)


def score_batch(batch: pa.RecordBatch, scorer: Scorer) -> pa.RecordBatch:
    """The signals `skills.*` of a batch of documents, row by row."""
    made = scorer.measure(batch.column("text").to_pylist())
    arrays = [batch.column("id")]
    fields = [batch.schema.field("id")]
    for name, kind in COLUMNS.items():
        arrays.append(pa.array(made[name], kind, from_pandas=True))
        fields.append(pa.field(name, kind, metadata={"version": str(VERSION)}))
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))


def _open_scorer(folder: str, scoring: Scoring, embedder: object) -> Scorer:
    return Scorer(SkillGraph.load(folder, embedder=embedder), scoring)


def score_by_skills(
    source: object,
    graph: str | Path,
    out: str | Path,
    *,
    scoring: Scoring = Scoring(),
    embedder: object = None,
    reading: Reading = Reading(),  # noqa: B008 - frozen
    engine: str | Engine = "embedded",
) -> Mapped:
    """Score a corpus and write the signals `skills.*` as a sidecar; `corpus select --score skills.score` decides.

    Args:
        source: documents, as `core.tables.stream` reads them.
        graph: folder of a saved graph; every worker opens it.
        out: the folder to make.
        scoring: the way.
        embedder: only where the graph was made with a function of yours.
        reading: the text column and what happens to broken rows.
        engine: an engine or its name.

    Raises:
        FileNotFoundError: no graph. ValueError: the embedder is another one. FileExistsError: `out` is there.

    Paper: MASS (arXiv 2503.14917).
    """
    opened = SkillGraph.load(graph, embedder=embedder)
    Scorer(opened, scoring)
    key = fingerprint("skills", VERSION, opened.key(), *[str(one) for one in scoring.__dict__.values()])
    made = open_engine(engine).map(
        source, score_batch, out, key=key, reading=reading, label="score by skills",
        setup=functools.partial(_open_scorer, str(graph), scoring, embedder),
    )  # fmt: skip
    told = {**scoring.__dict__, "tau": scoring.tau if isinstance(scoring.tau, float) else fingerprint(scoring.tau)}
    write_run(out, verb="corpus skills score", arguments=told, seed=None, inputs=[source, graph])
    return made
