import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tokenry.core.clustering import LINKAGES, agglomerate, greedy_leaders, kmeans, nearest

numbers = st.floats(-100, 100, width=32, allow_subnormal=False)
matrices = hnp.arrays(np.float64, st.tuples(st.integers(1, 30), st.integers(1, 4)), elements=numbers)


def blobs(n=600, k=6, width=5, *, seed=0, spread=0.3):
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(k, width)) * 4
    labels = rng.integers(0, k, n)
    return centres[labels] + rng.normal(size=(n, width)) * spread, labels


def within(vectors, centroids, labels):
    """What k-means makes small: the sum of the squared distances from the centroids."""
    return float(np.square(vectors - centroids[labels].astype(np.float64)).sum())


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_the_same_start_gives_the_centroids_of_scikit_learn(dtype):
    cluster = pytest.importorskip("sklearn.cluster")
    vectors = np.random.default_rng(3).normal(size=(500, 8)).astype(dtype)
    start = vectors[:12]
    theirs = cluster.KMeans(12, init=start, n_init=1, max_iter=100, tol=0, algorithm="lloyd").fit(vectors)
    centroids, labels = kmeans(vectors, 12, n_iter=100, init_KD=start)
    assert np.array_equal(labels, theirs.labels_)
    assert centroids.dtype == dtype
    np.testing.assert_allclose(centroids, theirs.cluster_centers_, rtol=1e-4 if dtype == np.float32 else 1e-10)
    assert within(vectors, centroids, labels) == pytest.approx(theirs.inertia_, rel=1e-5)


def test_drawn_starts_are_about_as_good_as_those_of_scikit_learn():
    """Mean over 10 seeds: k-means++ with the same number of trials, so the same expected start."""
    cluster = pytest.importorskip("sklearn.cluster")
    vectors, _ = blobs(k=20, spread=1.5)
    ours = [within(vectors, *kmeans(vectors, 20, seed=seed)) for seed in range(10)]
    theirs = [cluster.KMeans(20, n_init=1, random_state=seed).fit(vectors).inertia_ for seed in range(10)]
    error = np.hypot(np.std(ours), np.std(theirs)) / np.sqrt(10)
    assert abs(np.mean(ours) - np.mean(theirs)) < 4 * error


@pytest.mark.parametrize("batch", [None, 100])
def test_planted_clusters_are_found(batch):
    vectors, truth = blobs()
    _, labels = kmeans(vectors, 6, seed=1, batch=batch)
    pairs = set(zip(labels.tolist(), truth.tolist(), strict=True))
    assert len(pairs) == 6


def test_mini_batches_come_near_to_whole_passes():
    vectors, _ = blobs(4000, 15, spread=1.0)
    whole = np.mean([within(vectors, *kmeans(vectors, 15, seed=seed)) for seed in range(3)])
    parts = np.mean([within(vectors, *kmeans(vectors, 15, seed=seed, batch=256)) for seed in range(3)])
    assert parts < 1.1 * whole


@settings(max_examples=40, deadline=None)
@given(matrices, st.integers(1, 8), st.integers(0, 3), st.sampled_from([None, 3]))
def test_labels_name_the_nearest_centroid_and_seeds_repeat(vectors, k, seed, batch):
    k = min(k, len(vectors))
    centroids, labels = kmeans(vectors, k, seed=seed, batch=batch)
    again = kmeans(vectors, k, seed=seed, batch=batch)
    assert np.array_equal(centroids, again[0])
    assert np.array_equal(labels, again[1])
    assert np.isfinite(centroids).all()
    distances = np.square(vectors[:, None] - centroids).sum(axis=2)
    chosen = distances[np.arange(len(vectors)), labels]
    assert (chosen <= distances.min(axis=1) + 1e-6 * (1 + np.square(vectors).sum(axis=1))).all()
    assert np.array_equal(labels, nearest(vectors, centroids))


@settings(max_examples=25, deadline=None)
@given(matrices, st.integers(1, 8))
def test_more_passes_never_lie_farther(vectors, k):
    k = min(k, len(vectors))
    sums = [within(vectors, *kmeans(vectors, k, n_iter=n)) for n in (1, 2, 5, 20)]
    assert all(later <= earlier * (1 + 1e-9) + 1e-6 for earlier, later in itertools.pairwise(sums))


def test_a_cluster_that_loses_its_vectors_moves_to_the_farthest_one():
    vectors = np.array([[0.0], [1], [2], [100]])
    centroids, labels = kmeans(vectors, 2, init_KD=np.array([[1.0], [1e6]]))
    assert sorted(centroids[:, 0]) == [1, 100]
    assert labels[0] == labels[1] == labels[2] != labels[3]


def test_far_from_the_origin_float32_still_tells_clusters_apart():
    vectors, truth = blobs(200, 3, spread=0.05)
    far = (vectors + 1e4).astype(np.float32)
    _, labels = kmeans(far, 3)
    assert len(set(zip(labels.tolist(), truth.tolist(), strict=True))) == 3


def brute_leaders(vectors, weights, threshold):
    units = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-300)
    leader, leaders = np.arange(len(vectors)), []
    for row in np.argsort(-np.asarray(weights, float), kind="stable"):
        if not vectors[row].any():
            continue
        for one in leaders:
            if units[row] @ units[one] > threshold:
                leader[row] = one
                break
        else:
            leaders.append(row)
    return leader


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(np.int64, st.tuples(st.integers(0, 90), st.integers(1, 3)), elements=st.integers(-3, 3)),
    st.sampled_from([-0.47, 0.013, 0.31, 0.77, 0.93]),  # no cosine of such vectors, so rounding decides nothing
    st.integers(0, 5),
)
def test_leaders_are_those_of_the_plain_loop(vectors, threshold, seed):
    weights = np.random.default_rng(seed).integers(0, 5, len(vectors))
    ours = greedy_leaders(vectors, weights, threshold=threshold)
    assert np.array_equal(ours, brute_leaders(vectors.astype(float), weights, threshold))
    assert np.array_equal(ours[ours], ours)


def test_leaders_of_many_blocks_are_those_of_the_plain_loop():
    rng = np.random.default_rng(0)
    vectors, weights = rng.normal(size=(900, 4)), rng.random(900)
    assert np.array_equal(greedy_leaders(vectors, weights, threshold=0.9), brute_leaders(vectors, weights, 0.9))


def same_grouping(left, right):
    pairs = set(zip(left.tolist(), right.tolist(), strict=True))
    return len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})


@pytest.mark.parametrize("linkage", LINKAGES)
def test_merging_gives_the_clusters_of_scikit_learn_and_scipy(linkage):
    cluster = pytest.importorskip("sklearn.cluster")
    from scipy.cluster.hierarchy import fcluster
    from scipy.cluster.hierarchy import linkage as tree_of

    vectors = np.random.default_rng(5).normal(size=(80, 3))
    for n in (1, 2, 7, 30, 80):
        theirs = cluster.AgglomerativeClustering(n, linkage=linkage).fit(vectors).labels_
        assert same_grouping(agglomerate(vectors, n_clusters=n, linkage=linkage), theirs)
    for distance in (0.1, 0.5, 1.5, 4.0):
        ours = agglomerate(vectors, distance=distance, linkage=linkage)
        theirs = cluster.AgglomerativeClustering(None, distance_threshold=distance, linkage=linkage).fit(vectors)
        assert same_grouping(ours, theirs.labels_)
        assert same_grouping(ours, fcluster(tree_of(vectors, linkage), distance, "distance"))


def test_merging_numbers_clusters_by_their_first_vector_and_knows_its_limits():
    assert agglomerate(np.array([[9.0], [0], [9.1], [0.1]]), distance=1.0).tolist() == [0, 1, 0, 1]
    assert agglomerate(np.empty((0, 3)), distance=1.0).tolist() == []
    assert agglomerate(np.ones((1, 3)), n_clusters=1).tolist() == [0]
    with pytest.raises(ValueError, match="exactly one"):
        agglomerate(np.ones((3, 2)))
    with pytest.raises(ValueError, match="one of average"):
        agglomerate(np.ones((3, 2)), distance=1, linkage="median")
    with pytest.raises(ValueError, match="kmeans"):
        agglomerate(np.ones((20_001, 1)), distance=1.0)


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match=r"1 <= k <= 3"):
        kmeans(np.ones((3, 2)), 4)
    with pytest.raises(ValueError, match="not finite"):
        kmeans(np.array([[np.nan]]), 1)
    with pytest.raises(ValueError, match="one width"):
        nearest(np.ones((3, 2)), np.ones((3, 4)))
    with pytest.raises(ValueError, match="cosine"):
        greedy_leaders(np.ones((3, 2)), np.ones(3), threshold=2)
