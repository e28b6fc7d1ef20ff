import numpy as np
import pytest

from demo.digit_sources import (
    MATPLOTLIB_FONTS,
    STREET_FONTS,
    SYN_FONTS,
    load_fonts,
    load_mnist_5k,
    load_optdigits,
    load_photos,
    package_folder,
)
from redshank.errors import MissingPartError


def test_mnist_has_500_digits_of_each_class() -> None:
    images, labels = load_mnist_5k()
    assert images.shape == (5000, 28, 28)
    assert np.bincount(labels).tolist() == [500] * 10
    assert images.max() == 255


def test_optdigits_has_its_published_size() -> None:
    images, labels = load_optdigits()
    assert images.shape == (1797, 8, 8)
    assert images.max() == 16
    assert np.bincount(labels).min() == 174


def test_photos_are_rgb_and_bounded() -> None:
    photos = load_photos(textures=True)
    assert len(photos) == 9
    assert all(photo.shape[2] == 3 and max(photo.shape) <= 640 for photo in photos)


def test_syn_and_street_share_no_font() -> None:
    syn, street = load_fonts(SYN_FONTS, MATPLOTLIB_FONTS), load_fonts(STREET_FONTS)
    assert len(syn) >= 10
    assert len(street) >= 5
    assert not set(syn) & set(street)


def test_missing_package_names_the_extra() -> None:
    with pytest.raises(MissingPartError, match="no_such_package") as caught:
        package_folder("no_such_package")
    assert "demo" in caught.value.hint
