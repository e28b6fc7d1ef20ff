import numpy as np
import pytest

from demo.site_optics import HARMLESS, KINDS
from demo.sites import make_site
from redshank.errors import InputError


def scene() -> np.ndarray:
    """A grey cross on a darker ground, off the middle."""
    image = np.full((32, 32, 3), 60, dtype=np.uint8)
    image[8:28, 14:18] = 210
    image[12:16, 6:26] = 210
    return image


def photograph(
    kind: str, severity: float, *, site_seed: int = 7, picture_seed: int = 1
) -> np.ndarray:
    site = make_site(kind, severity=severity, seed=site_seed)
    return site.photograph(scene(), np.random.default_rng(picture_seed))


@pytest.mark.parametrize("kind", KINDS)
def test_same_site_same_generator_same_picture(kind: str) -> None:
    assert np.array_equal(photograph(kind, 3), photograph(kind, 3))


@pytest.mark.parametrize("kind", KINDS)
def test_severity_zero_is_the_scene(kind: str) -> None:
    assert np.array_equal(photograph(kind, 0), scene())


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_changes_the_picture_more_with_severity(kind: str) -> None:
    def change(severity: float) -> float:
        difference = photograph(kind, severity).astype(float) - scene()
        return float(np.sqrt((difference**2).mean()))

    assert change(5) > 5
    assert change(5) > change(1)


@pytest.mark.parametrize("kind", ["fog", "dirty_lens", "old_sensor", "backlit"])
def test_two_cameras_of_a_kind_have_their_own_quirks(kind: str) -> None:
    mean_of = {
        seed: np.mean([photograph(kind, 5, site_seed=seed, picture_seed=i) for i in range(20)], 0)
        for seed in (1, 2)
    }
    assert np.abs(mean_of[1] - mean_of[2]).mean() > 2


def test_quirks_stay_while_noise_is_fresh() -> None:
    site = make_site("old_sensor", severity=5, seed=3)
    rng = np.random.default_rng(0)
    first, second = site.photograph(scene(), rng), site.photograph(scene(), rng)
    assert not np.array_equal(first, second)
    assert site.optics is not None
    assert site.optics.dead_pixels is not None
    dead = site.optics.dead_pixels
    assert np.array_equal(first[dead], second[dead])


@pytest.mark.parametrize("kind", HARMLESS)
def test_lamps_shift_colour_and_leave_the_shape(kind: str) -> None:
    picture = photograph(kind, 5).astype(float)
    middle = picture[8:24, 8:24]
    assert abs(middle[..., 0].mean() - middle[..., 2].mean()) > 25
    green, before = middle[..., 1].ravel(), scene()[8:24, 8:24, 1].astype(float).ravel()
    assert np.corrcoef(green, before)[0, 1] > 0.97


def test_warm_and_cool_lean_to_opposite_sides() -> None:
    warm, cool = photograph("warm_lamp", 4), photograph("cool_lamp", 4)
    assert warm[..., 0].mean() > warm[..., 2].mean()
    assert cool[..., 0].mean() < cool[..., 2].mean()


def test_other_sizes_work() -> None:
    site = make_site("shake", severity=4, seed=0, shape=(64, 48))
    image = np.zeros((64, 48, 3), dtype=np.uint8)
    assert site.photograph(image, np.random.default_rng(0)).shape == (64, 48, 3)


def test_unknown_kind_and_severity_are_refused() -> None:
    with pytest.raises(InputError, match="`hail` is unknown"):
        make_site("hail", severity=1)
    with pytest.raises(InputError, match=r"outside 0\.\.5"):
        make_site("fog", severity=6)
