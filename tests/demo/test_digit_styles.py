import numpy as np
import pytest

from demo.digit_sources import STREET_FONTS, SYN_FONTS, load_fonts, load_photos
from demo.digit_styles import (
    draw_mnist,
    draw_mnist_m,
    draw_optdigits,
    draw_street,
    draw_syn,
)


def digit_28() -> np.ndarray:
    image = np.zeros((28, 28), dtype=np.uint8)
    image[6:22, 12:16] = 255
    return image


def test_mnist_is_grey_and_keeps_ink() -> None:
    image = draw_mnist(digit_28())
    assert image.shape == (32, 32, 3)
    assert np.array_equal(image[..., 0], image[..., 2])
    assert image[16, 16, 0] == 255
    assert image[2, 2, 0] == 0


def test_mnist_m_is_the_absolute_difference_of_digit_and_photo() -> None:
    photo = np.full((80, 80, 3), 60, dtype=np.uint8)
    image = draw_mnist_m(digit_28(), [photo], np.random.default_rng(0))
    assert image[16, 16].tolist() == [195, 195, 195]
    assert image[2, 2].tolist() == [60, 60, 60]


def test_optdigits_is_framed_in_black() -> None:
    image = draw_optdigits(np.full((8, 8), 16, dtype=np.uint8))
    assert image[:3].max() == 0
    assert image[16, 16].tolist() == [255, 255, 255]


@pytest.mark.parametrize("digit", [1, 8])
def test_rendered_digits_repeat_with_their_generator(digit: int) -> None:
    syn, street, photos = (
        load_fonts(SYN_FONTS),
        load_fonts(STREET_FONTS),
        load_photos(textures=True),
    )

    def draw(seed: int) -> list[np.ndarray]:
        rng = np.random.default_rng(seed)
        return [draw_syn(digit, syn, rng), draw_street(digit, street, photos, rng)]

    for first, again, other in zip(draw(1), draw(1), draw(2), strict=True):
        assert first.shape == (32, 32, 3)
        assert first.dtype == np.uint8
        assert np.array_equal(first, again)
        assert not np.array_equal(first, other)


def test_rendered_ink_differs_from_its_ground() -> None:
    fonts = load_fonts(SYN_FONTS)
    spread = [draw_syn(3, fonts, np.random.default_rng(seed)).std() for seed in range(20)]
    assert min(spread) > 5
