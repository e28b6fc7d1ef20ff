import numpy as np
import numpy.typing as npt
import pytest

from export.references import (
    SHRINKAGE,
    DomainAnswers,
    build_reference,
    novelty_arrays,
    whitening,
)
from redshank.errors import InputError
from redshank.infer import direction, novelty_rank
from redshank.reference import Reference

Floats = npt.NDArray[np.float64]
MIX = np.random.default_rng(0).normal(size=(24, 24))


def embeddings(n: int, *, seed: int) -> Floats:
    """Correlated, skewed and non-negative, as pooled ReLU features are; one never fires."""
    x = np.maximum(np.random.default_rng(seed).normal(size=(n, 24)) @ MIX + 1.0, 0.0)
    x[:, 7] = 0.0
    return x


def own_scene(n: int) -> npt.NDArray[np.str_]:
    return np.array([f"#{i}" for i in range(n)])


def reference_of(embedding_NE: Floats, scene_N: npt.NDArray[np.str_]) -> Reference:
    empty = np.zeros((1, 2, 19))
    return Reference(empty, empty, np.zeros((2, 2, 19)), *novelty_arrays(embedding_NE, scene_N))


def test_whitening_is_the_inverse_of_the_shrunk_covariance() -> None:
    x = embeddings(200, seed=1)
    mean_E, projection_EE = whitening(x)
    s = sum(np.outer(row - mean_E, row - mean_E) for row in x) / len(x)
    shrunk = (1 - SHRINKAGE) * s + SHRINKAGE * np.trace(s) / 24 * np.eye(24)
    np.testing.assert_allclose(projection_EE @ projection_EE.T @ shrunk, np.eye(24), atol=1e-9)
    np.testing.assert_allclose(mean_E, x.mean(axis=0))


def test_constant_embeddings_do_not_break_it() -> None:
    mean_E, projection_EE = whitening(np.ones((30, 3)))
    assert np.isfinite(projection_EE).all()
    assert mean_E.tolist() == [1.0, 1.0, 1.0]


def test_ranks_of_fresh_source_images_are_uniform() -> None:
    reference = reference_of(embeddings(600, seed=1), own_scene(600))
    rank = np.sort(novelty_rank(reference, embeddings(4000, seed=2)))
    gap = np.abs(rank - (np.arange(4000) + 0.5) / 4000).max()
    assert gap < 1.63 / np.sqrt(300) + 1.63 / np.sqrt(4000)  # two Kolmogorov bounds at 1 %


def test_ranking_the_fitting_images_would_not_be_honest() -> None:
    x, fresh = embeddings(60, seed=1), embeddings(4000, seed=2)
    mean_E, projection_EE = whitening(direction(x))
    same = np.linalg.norm((direction(x) - mean_E) @ projection_EE, axis=1)
    naive = np.linalg.norm((direction(fresh) - mean_E) @ projection_EE, axis=1)
    assert (naive[:, None] > same).mean() > 0.6
    honest = [
        novelty_rank(reference_of(embeddings(60, seed=s), own_scene(60)), fresh).mean()
        for s in range(100, 140)
    ]
    assert np.mean(honest) == pytest.approx(0.5, abs=0.03)


def test_other_images_rank_high() -> None:
    reference = reference_of(embeddings(600, seed=1), own_scene(600))
    fires = embeddings(200, seed=3)
    fires[:, 7] = 20.0
    assert novelty_rank(reference, fires).min() > 0.99


def test_a_scene_never_lies_in_both_halves() -> None:
    x = np.repeat(embeddings(300, seed=1), 2, axis=0)  # every frame twice
    by_scene = reference_of(x, np.repeat(own_scene(300), 2))
    apart = reference_of(x, own_scene(600))
    fresh = embeddings(4000, seed=2)
    assert novelty_rank(by_scene, fresh).mean() == pytest.approx(0.5, abs=0.05)
    assert novelty_rank(apart, fresh).mean() > novelty_rank(by_scene, fresh).mean()


@pytest.mark.parametrize(("images", "scenes"), [(19, 19), (40, 1)])
def test_too_little_is_refused(images: int, scenes: int) -> None:
    with pytest.raises(InputError, match=f"{images} source images of {scenes} scenes"):
        novelty_arrays(embeddings(images, seed=1), np.resize(own_scene(scenes), images))


def test_frames_of_a_scene_count_once_and_unknown_labels_not_at_all() -> None:
    n = 24
    answers = DomainAnswers(
        logits_NC=np.tile(np.array([[3.0, 0.0]], np.float32), (n, 1)),
        embedding_NE=embeddings(n, seed=1),
        label_N=np.array([0, 1, -1, -1] * 6),
        scene_N=np.repeat(own_scene(n // 4), 4),
        weight_N=np.full(n, 0.25),
    )
    reference = build_reference({"reef": answers}, None, temperature=1.0)
    assert reference.validation_counts_DCB[0].sum() == pytest.approx(6.0)
    assert not reference.has_absolute
    assert reference.labelled_counts_CCB.sum(axis=(1, 2)) == pytest.approx([1.5, 1.5])
    assert reference.labelled_counts_CCB[:, 0].sum() == pytest.approx(3.0)  # all predicted 0
