import io

import numpy as np
import pytest
from PIL import Image

from demo.digit_manifest import write_digit_manifest
from demo.digits import SplitCounts, build_digits
from demo.field import FieldSite, deal_contents, encode, interleave, photograph_site
from demo.site_schedules import healthy, sudden
from redshank.dataset import Manifest, read_manifest
from redshank.errors import InputError


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    root = tmp_path_factory.mktemp("digits")
    counts = {"mnist": SplitCounts(1, 0, 3), "syn": SplitCounts(1, 0, 2)}
    return read_manifest(write_digit_manifest(root, build_digits(root, counts=counts, workers=1)))


def test_every_site_gets_test_images_of_its_own(manifest: Manifest) -> None:
    hands = deal_contents(manifest, [("mnist", 12), ("syn", 20), ("mnist", 18)], seed=0)
    assert [len(hand) for hand in hands] == [12, 20, 18]
    items = [item for hand in hands for item in hand]
    assert len({item.path for item in items}) == 50
    assert {item.split for item in items} == {"test"}
    assert {item.domain for item in hands[1]} == {"syn"}


def test_too_few_images_are_named(manifest: Manifest) -> None:
    with pytest.raises(InputError, match="11 more test images of mnist, 10 are left"):
        deal_contents(manifest, [("mnist", 20), ("mnist", 11)], seed=0)


def test_site_is_healthy_until_its_onset(manifest: Manifest) -> None:
    items = deal_contents(manifest, [("mnist", 10)], seed=0)[0]
    site = FieldSite("ramp", "mnist", "fog", sudden(5, onset=6), images=10)
    uploads = photograph_site(site, items, manifest, seed=0)
    for index, (upload, item) in enumerate(zip(uploads, items, strict=True)):
        pixels = np.asarray(Image.open(io.BytesIO(upload.body)))
        scene = np.asarray(Image.open(manifest.image_path(item)))
        assert np.array_equal(pixels, scene) == (index < 6)
        assert upload.severity == (0 if index < 6 else 5)
        assert upload.label == item.label
        assert upload.domain == "ramp"
    assert len({upload.sequence_id for upload in uploads}) == 10


def test_pictures_repeat_with_the_seed(manifest: Manifest) -> None:
    items = deal_contents(manifest, [("syn", 5)], seed=0)[0]
    site = FieldSite("yard", "syn", "old_sensor", sudden(4, onset=0), images=5, codec="jpeg")
    first, again, other = (photograph_site(site, items, manifest, seed=s) for s in (1, 1, 2))
    assert [u.body for u in first] == [u.body for u in again]
    assert [u.body for u in first] != [u.body for u in other]


@pytest.mark.parametrize(("codec", "name"), [("png", "PNG"), ("jpeg", "JPEG")])
def test_encode_says_what_it_wrote(codec: str, name: str) -> None:
    body, content_type = encode(np.zeros((32, 32, 3), dtype=np.uint8), codec)
    assert content_type == f"image/{codec}"
    assert Image.open(io.BytesIO(body)).format == name


def test_interleave_takes_turns(manifest: Manifest) -> None:
    hands = deal_contents(manifest, [("mnist", 3), ("syn", 1)], seed=0)
    streams = {
        name: photograph_site(
            FieldSite(name, "mnist", "fog", healthy(), len(hand)), hand, manifest, seed=0
        )
        for name, hand in zip("ab", hands, strict=True)
    }
    assert [upload.domain for upload in interleave(streams)] == ["a", "b", "a", "a"]
