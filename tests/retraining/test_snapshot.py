from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from redshank.dataset import Item, Manifest, read_manifest
from redshank.errors import InputError
from redshank.fieldstore import FieldImage
from redshank.files import read_json, sha256_bytes
from retraining.snapshot import (
    MANIFEST,
    MOST_HELD_BACK,
    SNAPSHOT,
    Usable,
    choose_images,
    field_items,
    held_back,
    look_at,
    write_snapshot,
)
from tests.retraining.tiny_world import picture


def an_image(folder: Path, number: int, *, domain: str = "pier", client: str = "c") -> FieldImage:
    data = picture(number % 3, seed=number)
    digest = sha256_bytes(f"{domain} {number}".encode())
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{digest}.png"
    path.write_bytes(data)
    return FieldImage(
        schema=1,
        file=path.name,
        domain=domain,
        sha256=digest,
        size_bytes=len(data),
        received_at=1000.0 + number,
        client=client,
        sequence_id="",
        scene=f"{domain}/{number}",
        dhash="",
        confidence=0.5,
        novelty=0.5,
        path=path,
    )


@pytest.fixture
def field(tmp_path: Path) -> tuple[FieldImage, ...]:
    return tuple(an_image(tmp_path / "field", number) for number in range(12))


@pytest.fixture
def champion(tmp_path: Path) -> Manifest:
    (tmp_path / "data").mkdir()
    items = []
    for number in range(4):
        (tmp_path / "data" / f"{number}.png").write_bytes(picture(0, seed=number))
        label = "red" if number < 2 else ""
        items.append(
            Item(f"{number}.png", "paper", label, sha256=f"{number:064x}", hidden_label="red")
        )
    return Manifest(("red", "green"), tmp_path / "data", tuple(items))


def test_a_snapshot_holds_the_champions_data_and_the_field(
    tmp_path: Path, field: tuple[FieldImage, ...], champion: Manifest
) -> None:
    folder = tmp_path / "snapshots" / "h-1"
    usable = Usable(field, unreadable=1, constant=2)
    path = write_snapshot(
        folder, champion_run="r-1", champion=champion, usable=usable, deleted=frozenset()
    )
    manifest = read_manifest(path)
    assert path == folder / MANIFEST
    assert manifest.classes == champion.classes
    carried, fresh = manifest.items[:4], manifest.items[4:]
    assert [Path(item.path).is_absolute() for item in carried] == [True] * 4
    assert [(i.label, i.hidden_label) for i in carried] == [
        (i.label, i.hidden_label) for i in champion.items
    ]
    assert field_items(manifest) == fresh
    assert [item.sha256 for item in fresh] == [image.sha256 for image in field]
    assert {(i.label, i.split, i.domain) for i in fresh} == {("", "train", "pier")}
    for item, image in zip(fresh, field, strict=True):
        assert manifest.image_path(item).samefile(image.path), "a hard link, no copy"
    record = read_json(folder / SNAPSHOT)
    assert (record["unreadable"], record["constant"], record["kept_items"]) == (1, 2, 4)
    assert [entry["client"] for entry in record["field"]] == ["c"] * 12


def test_it_survives_the_field_store_forgetting(
    tmp_path: Path, field: tuple[FieldImage, ...], champion: Manifest
) -> None:
    usable = Usable(field, 0, 0)
    path = write_snapshot(
        tmp_path / "h", champion_run="r", champion=champion, usable=usable, deleted=()
    )
    for image in field:
        image.path.unlink()
    manifest = read_manifest(path)
    assert all(manifest.image_path(item).is_file() for item in manifest.items)


def test_it_is_never_written_twice(
    tmp_path: Path, field: tuple[FieldImage, ...], champion: Manifest
) -> None:
    folder = tmp_path / "h"
    path = write_snapshot(
        folder, champion_run="r", champion=champion, usable=Usable(field, 0, 0), deleted=()
    )
    before = path.read_bytes()
    again = write_snapshot(
        folder, champion_run="r", champion=champion, usable=Usable((), 0, 0), deleted=()
    )
    assert again.read_bytes() == before


def test_what_a_killed_process_left_is_swept(
    tmp_path: Path, field: tuple[FieldImage, ...], champion: Manifest
) -> None:
    orphan = tmp_path / "snapshots" / ".h-1.abc123"
    (orphan / "images").mkdir(parents=True)
    (orphan / "images" / "x.png").write_bytes(b"x")
    write_snapshot(
        tmp_path / "snapshots" / "h-1",
        champion_run="r",
        champion=champion,
        usable=Usable(field, 0, 0),
        deleted=(),
    )
    assert [path.name for path in (tmp_path / "snapshots").iterdir()] == ["h-1"]


def test_deleted_images_stay_out_of_both_parts(
    tmp_path: Path, field: tuple[FieldImage, ...], champion: Manifest
) -> None:
    deleted = {field[3].sha256, champion.items[2].sha256}
    path = write_snapshot(
        tmp_path / "h",
        champion_run="r",
        champion=champion,
        usable=Usable(field, 0, 0),
        deleted=deleted,
    )
    manifest = read_manifest(path)
    assert len(manifest.items) == 3 + 11
    assert not deleted & {item.sha256 for item in manifest.items}
    assert read_json(tmp_path / "h" / SNAPSHOT)["kept_items"] == 3


def test_images_of_an_older_snapshot_are_carried_once(
    tmp_path: Path, field: tuple[FieldImage, ...], champion: Manifest
) -> None:
    first = write_snapshot(
        tmp_path / "1", champion_run="r", champion=champion, usable=Usable(field, 0, 0), deleted=()
    )
    new = an_image(tmp_path / "field", 99)
    second = write_snapshot(
        tmp_path / "2",
        champion_run="r2",
        champion=read_manifest(first),
        usable=Usable((*field, new), 0, 0),
        deleted=(),
    )
    manifest = read_manifest(second)
    assert len(manifest.items) == 4 + 12 + 1
    digests = [image.sha256 for image in (*field, new)]
    assert [item.sha256 for item in field_items(manifest)] == digests, "the gates look at all"
    gone = write_snapshot(
        tmp_path / "3",
        champion_run="r2",
        champion=read_manifest(first),
        usable=Usable((new,), 0, 0),
        deleted=(),
    )
    assert len(read_manifest(gone).items) == 4 + 12 + 1
    assert [item.sha256 for item in field_items(read_manifest(gone))] == [new.sha256]


def test_two_healings_of_the_same_images_have_different_digests(
    tmp_path: Path, champion: Manifest
) -> None:
    paths = [
        write_snapshot(
            tmp_path / name,
            champion_run="r",
            champion=champion,
            usable=Usable((), 0, 0),
            deleted=(),
        )
        for name in ("1", "2")
    ]
    assert paths[0].read_bytes() != paths[1].read_bytes()


def test_a_labelled_image_that_is_gone_is_an_error(tmp_path: Path, champion: Manifest) -> None:
    champion.image_path(champion.items[3]).unlink()  # unlabelled: left out
    path = write_snapshot(
        tmp_path / "1", champion_run="r", champion=champion, usable=Usable((), 0, 0), deleted=()
    )
    assert len(read_manifest(path).items) == 3
    champion.image_path(champion.items[0]).unlink()
    with pytest.raises(InputError, match="is gone"):
        write_snapshot(
            tmp_path / "2", champion_run="r", champion=champion, usable=Usable((), 0, 0), deleted=()
        )
    assert not (tmp_path / "2").exists()


def test_data_in_a_bucket_are_carried_on_by_their_uri(
    tmp_path: Path, field: tuple[FieldImage, ...]
) -> None:
    champion = Manifest(("red",), "s3://bucket/set", (Item("a/1.png", "paper", "red"),))
    path = write_snapshot(
        tmp_path / "snapshots" / "h-1",
        champion_run="r-1",
        champion=champion,
        usable=Usable(field, 0, 0),
        deleted=frozenset(),
    )
    manifest = read_manifest(path)
    assert manifest.image_location(manifest.items[0]) == "s3://bucket/set/a/1.png"
    assert field_items(manifest) == manifest.items[1:]


def test_the_choice_is_even_over_domains_bounded_and_repeatable(tmp_path: Path) -> None:
    pier = [an_image(tmp_path, number, domain="pier") for number in range(30)]
    quay = [an_image(tmp_path, number, domain="quay") for number in range(5)]
    chosen = choose_images([*pier, *quay], max_images=20, client_share=1.0)
    assert len(chosen) == 20
    assert sum(image.domain == "quay" for image in chosen) == 5
    assert choose_images([*quay, *reversed(pier)], max_images=20, client_share=1.0) == chosen
    smallest = sorted(image.sha256 for image in pier)[:15]
    assert sorted(image.sha256 for image in chosen if image.domain == "pier") == smallest


def test_labelled_images_are_not_missed(tmp_path: Path) -> None:
    images = [an_image(tmp_path, number) for number in range(30)]
    last = {image.sha256 for image in sorted(images, key=lambda i: i.sha256)[-3:]}
    chosen = choose_images(images, max_images=10, client_share=1.0, first=last)
    assert last < {image.sha256 for image in chosen}
    assert len(chosen) == 10
    assert choose_images(images[::-1], max_images=10, client_share=1.0, first=last) == chosen


def test_labelled_images_judge_and_are_not_trained_on(
    tmp_path: Path, field: tuple[FieldImage, ...], champion: Manifest
) -> None:
    labels = {image.sha256: "green" for image in field[:2]}
    labels |= {field[2].sha256: "?", field[3].sha256: "no class"}
    path = write_snapshot(
        tmp_path / "snapshots" / "h-1",
        champion_run="r-1",
        champion=champion,
        usable=Usable(field, 0, 0),
        deleted=frozenset(),
        labels=labels,
    )
    fresh = field_items(read_manifest(path))
    assert len(fresh) == len(field)
    assert [(i.split, i.label, i.hidden_label) for i in fresh[:4]] == [
        *[("test", "", "green")] * 2,
        *[("train", "", "")] * 2,
    ]
    assert {item.split for item in fresh[4:]} == {"train"}


def test_most_images_are_trained_on_however_many_are_labelled(tmp_path: Path) -> None:
    pier = [an_image(tmp_path, number, domain="pier") for number in range(12)]
    quay = [an_image(tmp_path, number, domain="quay") for number in range(400, 802)]
    everything = {image.sha256 for image in [*pier, *quay]}
    held = held_back([*pier, *quay], everything)
    assert sum(image.sha256 in held for image in pier) == 4
    assert sum(image.sha256 in held for image in quay) == MOST_HELD_BACK
    assert held == held_back([*quay, *pier[::-1]], everything)
    assert held_back(pier, set()) == frozenset()


def test_no_client_gives_more_than_its_share(tmp_path: Path) -> None:
    flood = [an_image(tmp_path, number, client="flood") for number in range(40)]
    honest = [an_image(tmp_path, number, client="honest") for number in range(100, 104)]
    chosen = choose_images([*flood, *honest], max_images=20, client_share=0.25)
    assert sum(image.client == "flood" for image in chosen) == 5
    assert sum(image.client == "honest" for image in chosen) == 4


def test_pictures_that_show_nothing_are_counted(field: tuple[FieldImage, ...]) -> None:
    field[0].path.write_bytes(b"no picture")
    field[1].path.unlink()
    Image.new("RGB", (16, 16), "grey").save(field[2].path)
    usable = look_at(field, height=16, width=16)
    assert (len(usable.images), usable.unreadable, usable.constant) == (9, 2, 1)
    assert usable.broken_share == pytest.approx(3 / 12)
