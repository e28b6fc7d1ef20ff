from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from redshank.fingerprint import brightness, dhash_hex, fingerprint, fingerprints
from redshank.preprocess import ImageArray


def pillow_dhash_hex(image_HW3: ImageArray) -> str:
    grey = Image.fromarray(image_HW3).convert("L").resize((9, 8), Image.Resampling.BILINEAR)
    pixels = np.asarray(grey)
    return np.packbits(pixels[:, 1:] > pixels[:, :-1]).tobytes().hex()


def pictures(seed: int, *shape: int) -> ImageArray:
    """Noise, few levels, and a ramp: many equal neighbours, whose order rounding decides."""
    images = np.random.default_rng(seed).integers(0, 256, (*shape, 3), np.uint8)
    images[1:] = images[1:] // 64 * 64
    images[2:] = np.linspace(0, 255, shape[2]).astype(np.uint8)[:, np.newaxis]
    return images


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (8, 9), (9, 9), (32, 32), (33, 47), (224, 224)])
def test_difference_hash_is_that_of_pillow_bit_for_bit(size: tuple[int, int]) -> None:
    for seed in range(10):
        images = pictures(seed, 3, *size)
        found = [dhash for dhash, _, _ in fingerprints(images)]
        assert found == [pillow_dhash_hex(image) for image in images]


def test_pillow_shrinks_tall_pictures_the_other_way_round_and_a_few_bits_differ() -> None:
    for image in pictures(0, 20, 64, 16):
        bits = int(dhash_hex(image), 16) ^ int(pillow_dhash_hex(image), 16)
        assert bits.bit_count() <= 4


def test_a_batch_is_its_images_one_by_one() -> None:
    images = pictures(5, 7, 32, 32)
    assert fingerprints(images) == [fingerprint(image) for image in images]


def test_difference_hash_of_a_ramp_a_copy_and_another_picture() -> None:
    ramp = np.tile(np.arange(0, 256, 4, dtype=np.uint8)[None, :, None], (64, 1, 3))
    assert dhash_hex(ramp) == "f" * 16
    assert dhash_hex(ramp[:, ::-1].copy()) == "0" * 16
    image = np.random.default_rng(3).integers(0, 200, (8, 9, 3), np.uint8)
    image = image.repeat(8, axis=0).repeat(8, axis=1)
    brighter = (image + 20).astype(np.uint8)
    assert (int(dhash_hex(image), 16) ^ int(dhash_hex(brighter), 16)).bit_count() <= 4
    other = np.random.default_rng(4).integers(0, 200, (64, 72, 3), np.uint8)
    assert (int(dhash_hex(image), 16) ^ int(dhash_hex(other), 16)).bit_count() > 12


def test_brightness_is_mean_and_deviation_of_grey() -> None:
    halves = np.zeros((8, 8, 3), np.uint8)
    halves[:4] = 255
    assert brightness(halves) == pytest.approx((0.5, 0.5))
    assert brightness(np.full((4, 4, 3), 51, np.uint8)) == pytest.approx((0.2, 0.0))
    image = pictures(9, 1, 40, 30)[0]
    grey = np.asarray(Image.fromarray(image).convert("L")) / 255
    assert brightness(image) == pytest.approx((grey.mean(), grey.std()))
    assert fingerprint(image) == (dhash_hex(image), *brightness(image))
