"""Ranks are those of a brute-force ranking, whatever the sizes; ties go against the query."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from changeling.errors import FeatureError
from changeling.stats.retrieval import BLOCK_SIZE, recall_at, retrieval_ranks


def brute(
    queries: np.ndarray, gallery: np.ndarray, own: np.ndarray, clusters: np.ndarray
) -> tuple[list[int], list[int]]:
    """Sort everything: the slow way."""
    exact: list[int] = []
    loose: list[int] = []
    for query, mine in zip(queries, own, strict=True):
        similar = [float(query @ text / np.linalg.norm(query) / np.linalg.norm(text)) for text in gallery]
        hit = [i == mine for i in range(len(gallery))]
        near = [clusters[i] == clusters[mine] for i in range(len(gallery))]
        for hits, ranks in ((hit, exact), (near, loose)):
            # the better first; of equals, those that are no hit
            order = sorted((-round(similarity, 5), is_hit) for similarity, is_hit in zip(similar, hits, strict=True))
            ranks.append(1 + next(place for place, (_, is_hit) in enumerate(order) if is_hit))
    return exact, loose


@given(st.integers(1, 2 * BLOCK_SIZE + 3), st.lists(st.integers(1, 6), min_size=1, max_size=20), st.integers(0, 99))
def test_ranks_are_brute_force(count: int, sizes: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    clusters = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))  # captions of a cluster need not be neighbours
    gallery = rng.integers(-2, 3, (len(clusters), 4)).astype(np.float32) + np.float32(0.25)  # many ties
    queries = rng.integers(-2, 3, (count, 4)).astype(np.float32) + np.float32(0.25)
    own = rng.integers(0, len(clusters), count)
    ranks = retrieval_ranks(queries, gallery, own, clusters)
    exact, loose = brute(queries, gallery, own, clusters)
    assert ranks.exact.tolist() == exact
    assert ranks.cluster.tolist() == loose


def test_ties_are_settled_against_the_query() -> None:
    same = np.ones((4, 3), np.float32)
    ranks = retrieval_ranks(same[:1], same, np.array([2]), np.array([0, 0, 1, 1]))
    assert ranks.exact.tolist() == [4]  # three equals that are no hit stand before it
    assert ranks.cluster.tolist() == [3]  # its cluster has two of the four


def test_recall_counts_one_hit_a_query() -> None:
    ratio = recall_at(np.array([1, 4, 2, 9]), 3, np.array([0, 0, 1, 1]))
    assert (ratio.value, ratio.images) == (0.5, 4)
    assert ratio.numerator.tolist() == [1, 1]


@pytest.mark.parametrize(("value", "message"), [(np.nan, "is not finite"), (np.inf, "is not finite"), (0, "all zeros")])
@pytest.mark.parametrize("place", ["images", "captions"])
def test_a_feature_without_a_direction_is_refused_and_is_no_hit(place: str, value: float, message: str) -> None:
    """A caption of NaN once counted as a hit: half of the captions NaN gave an R@1 of 50 % by chance."""
    rng = np.random.default_rng(0)
    queries, gallery = rng.normal(size=(6, 8)), rng.normal(size=(6, 8))
    (queries if place == "images" else gallery)[4] = value
    with pytest.raises(FeatureError, match=f"row 4 of the {place}' features .*{message}"):
        retrieval_ranks(queries, gallery, np.arange(6), np.arange(6))


def test_a_gallery_of_one_caption_is_always_found_and_shuffled_captions_at_chance() -> None:
    rng = np.random.default_rng(0)
    queries = rng.normal(size=(300, 16))
    one = retrieval_ranks(queries, rng.normal(size=(1, 16)), np.zeros(300, np.int64), np.zeros(1, np.int64))
    assert set(one.exact) == set(one.cluster) == {1}
    ranks = retrieval_ranks(queries, rng.normal(size=(300, 16)), np.arange(300), np.arange(300))
    assert recall_at(ranks.exact, 30, np.arange(300)).value == pytest.approx(0.1, abs=0.06)
    assert recall_at(ranks.exact, 300, np.arange(300)).value == 1


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(1, 9)), min_size=1, max_size=40), st.integers(1, 9))
def test_recall_at_k_is_the_share_of_ranks_up_to_k(queries: list[tuple[int, int]], k: int) -> None:
    clusters, ranks = (np.array(column) for column in zip(*queries, strict=True))
    ratio = recall_at(ranks, k, clusters)
    assert ratio.value == pytest.approx(sum(rank <= k for _, rank in queries) / len(queries))
    for cluster in range(len(ratio.denominator)):
        own = [rank for number, rank in queries if number == cluster]
        assert ratio.denominator[cluster] == len(own)
        assert ratio.numerator[cluster] == sum(rank <= k for rank in own)
