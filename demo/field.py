"""Field sites: cameras with a schedule, what they see, and the pictures they send.

Contents are test images: training never saw them, and no image is sent by two sites.
"""

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from redshank.dataset import Item, Manifest
from redshank.errors import InputError

from .site_schedules import Schedule
from .sites import Site, make_site
from .uploads import Upload

ImageU8 = NDArray[np.uint8]


@dataclass(frozen=True)
class FieldSite:
    """One camera in the field."""

    name: str
    """The domain it announces itself with."""
    content: str
    """Digit domain of the scenes in front of it."""
    kind: str
    """What its camera does when the severity is above 0."""
    schedule: Schedule
    images: int
    camera: int = 0
    """Seed of the camera's fixed quirks."""
    codec: str = "png"
    """png or jpeg."""


def deal_contents(
    manifest: Manifest, wanted: Sequence[tuple[str, int]], *, seed: int
) -> list[list[Item]]:
    """Give each (domain, number) test items of its own, in random order.

    Raises:
        InputError: a domain has too few test images for all that want some.
    """
    rng = np.random.default_rng(seed)
    decks: dict[str, list[Item]] = {}
    for domain in sorted({domain for domain, _ in wanted}):
        items = [i for i in manifest.items if i.domain == domain and i.split == "test"]
        decks[domain] = [items[place] for place in rng.permutation(len(items))]
    hands = []
    for domain, number in wanted:
        deck = decks[domain]
        if len(deck) < number:
            raise InputError(
                f"the field wants {number} more test images of {domain}, {len(deck)} are left",
                hint="Build more digits of this domain.",
            )
        hands.append(deck[:number])
        decks[domain] = deck[number:]
    return hands


def photograph_site(
    site: FieldSite, items: Sequence[Item], manifest: Manifest, *, seed: int
) -> list[Upload]:
    """Take one picture of each item, as `site` sees it at that moment of its schedule.

    `seed` is of the noise in each picture.
    """
    rng = np.random.default_rng([seed, *site.name.encode()])
    cameras: dict[float, Site] = {}
    uploads = []
    for index, item in enumerate(items):
        severity = site.schedule(index)
        if severity not in cameras:
            cameras[severity] = make_site(site.kind, severity=severity, seed=site.camera)
        with Image.open(manifest.image_path(item)) as image:
            scene = np.asarray(image.convert("RGB"))
        picture = cameras[severity].photograph(scene, rng)
        body, content_type = encode(picture, site.codec)
        uploads.append(
            Upload(
                domain=site.name,
                sequence_id=f"{site.name}-{index:05d}",
                body=body,
                content_type=content_type,
                label=item.label or item.hidden_label,
                severity=severity,
            )
        )
    return uploads


def encode(picture: ImageU8, codec: str) -> tuple[bytes, str]:
    """Image file and its content type; JPEG at quality 95."""
    buffer = io.BytesIO()
    if codec == "jpeg":
        Image.fromarray(picture).save(buffer, "JPEG", quality=95)
    else:
        Image.fromarray(picture).save(buffer, "PNG")
    return buffer.getvalue(), f"image/{codec}"


def interleave(streams: Mapping[str, Sequence[Upload]]) -> Iterator[Upload]:
    """Take one picture of each site in turn until all are used up."""
    longest = max(len(stream) for stream in streams.values())
    for index in range(longest):
        for stream in streams.values():
            if index < len(stream):
                yield stream[index]
