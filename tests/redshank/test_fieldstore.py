from __future__ import annotations

import hashlib
import io
import multiprocessing
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from redshank.errors import InputError
from redshank.field_sample import sample
from redshank.fieldstore import FieldStore
from redshank.files import read_json


def png(seed: int) -> bytes:
    generator = np.random.default_rng(seed)
    buffer = io.BytesIO()
    Image.fromarray(generator.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def add(
    store: FieldStore,
    seed: int,
    *,
    domain: str = "gate-1",
    at: float | None = None,
    client: str = "c",
    sequence_id: str = "",
    dhash: str | None = None,
) -> bool:
    data = png(seed)
    digest = hashlib.sha256(data).hexdigest()
    return store.add(
        domain,
        data,
        sha256=digest,
        received_at=1000.0 + 10 * seed if at is None else at,
        client=client,
        sequence_id=sequence_id,
        dhash=digest[:16] if dhash is None else dhash,
        confidence=0.5,
        novelty=0.25,
    )


def digests(seeds: range) -> list[str]:
    return sorted(hashlib.sha256(png(seed)).hexdigest() for seed in seeds)


def test_what_goes_in_comes_out_in_order_of_time(tmp_path: Path) -> None:
    store = FieldStore(tmp_path)
    assert add(store, 2)
    assert add(store, 1)
    assert not add(store, 1, at=5000.0)
    first, second = FieldStore(tmp_path).images("gate-1")
    assert (first.received_at, second.received_at) == (1010.0, 1020.0)
    assert first.path.read_bytes()[:4] == b"\x89PNG"
    assert (first.confidence, first.novelty, first.client) == (0.5, 0.25, "c")
    assert store.images("gate-1", since_s=1015.0) == (second,)
    assert store.images("elsewhere") == ()


def test_a_scene_gives_one_image(tmp_path: Path) -> None:
    store = FieldStore(tmp_path)
    assert add(store, 1, at=0.0, dhash="0" * 16)
    assert not add(store, 2, at=1.5, dhash="0" * 15 + "f")  # 4 bits apart
    assert not add(store, 3, at=3.0, dhash="0" * 15 + "f")  # goes on from the last frame
    assert add(store, 4, at=3.5, dhash="0" * 15 + "f", client="another")
    assert add(store, 5, at=3.6, dhash="f" * 16)  # another picture
    assert add(store, 6, at=9.0, dhash="0" * 15 + "f")  # after a pause
    assert add(store, 7, at=10.0, sequence_id="s")
    assert not add(store, 8, at=50.0, sequence_id="s")
    assert len(store.images("gate-1")) == 5


def expected(*seeds: int, most: int) -> list[str]:
    """What must be kept of images added with their usual times, in whatever order."""
    received = {hashlib.sha256(png(seed)).hexdigest(): 1000.0 + 10 * seed for seed in seeds}
    return sorted(sample(received, most))


def test_the_same_images_stay_whatever_the_order(tmp_path: Path) -> None:
    for name, seeds in (("up", range(60)), ("down", range(59, -1, -1))):
        store = FieldStore(tmp_path / name, per_domain=10)
        for seed in seeds:
            add(store, seed)
        kept = [image.sha256 for image in store.images("gate-1")]
        assert sorted(kept) == expected(*range(60), most=10)
        assert sorted(kept[5:]) == digests(range(55, 60))
        assert sorted(kept[:5]) == digests(range(55))[:5]
        folder = tmp_path / name / "gate-1"
        assert len(list(folder.iterdir())) == 20  # picture and facts, nothing else


def test_an_old_image_enters_a_full_store_by_its_digest(tmp_path: Path) -> None:
    store = FieldStore(tmp_path, per_domain=4)
    for seed in range(10, 14):
        add(store, seed)
    older = digests(range(10, 12))
    late = [(hashlib.sha256(png(seed)).hexdigest(), seed) for seed in range(10)]
    (_, low), (_, high) = min(late), max(late)
    assert min(late)[0] < older[1] < max(late)[0]
    assert not add(store, high)
    assert add(store, low)
    kept = {image.sha256 for image in store.images("gate-1")}
    assert kept == {min(late)[0], older[0], *digests(range(12, 14))}


def test_an_image_without_a_record_goes_before_newer_ones(tmp_path: Path) -> None:
    store = FieldStore(tmp_path, per_domain=2)
    add(store, 1)
    add(store, 2)
    lost = store.images("gate-1")[1]
    lost.path.with_suffix(".json").unlink()
    store = FieldStore(tmp_path, per_domain=2)
    assert add(store, 3)
    assert add(store, 4)
    assert digests(range(4, 5))[0] in {image.sha256 for image in store.images("gate-1")}


def test_the_byte_cap_takes_from_the_largest_domain(tmp_path: Path) -> None:
    size = len(png(0))
    store = FieldStore(tmp_path, max_bytes=12 * size)
    add(store, 1000, domain="small")
    for seed in range(30):
        add(store, seed, domain="large")
    used = sum(path.stat().st_size for path in tmp_path.glob("*/*") if path.is_file())
    assert used <= 12 * size
    assert len(store.images("small")) == 1
    assert len(store.images("large")) >= 3


def test_deleted_images_never_come_back(tmp_path: Path) -> None:
    store = FieldStore(tmp_path)
    add(store, 1)
    add(store, 1, domain="gate-2")
    digest = digests(range(1, 2))[0]
    assert store.delete(digest) == 2
    assert store.deleted() == frozenset({digest})
    assert not add(FieldStore(tmp_path), 1, at=9999.0)
    assert store.images("gate-1") == store.images("gate-2") == ()


def test_old_images_expire_and_leave_no_tombstone(tmp_path: Path) -> None:
    store = FieldStore(tmp_path / "field", per_domain=3)
    for seed in range(3):
        assert add(store, seed)  # received at 1000, 1010 and 1020
    assert add(store, 0, domain="a b")
    oldest, _, youngest = store.images("gate-1")
    os.link(oldest.path, tmp_path / "snapshot.png")
    victim = digests(range(50, 51))[0]
    store.delete(victim)

    assert FieldStore(tmp_path / "field").expire(1020.0) == 3  # another process
    assert store.images("gate-1") == (youngest,)
    assert store.images("a b") == ()
    assert len(list((tmp_path / "field" / "gate-1").iterdir())) == 2
    assert (tmp_path / "snapshot.png").read_bytes() == png(0)
    assert store.deleted() == frozenset({victim})
    assert add(store, 0, at=2000.0), "the site has room, and nobody deleted this image"
    assert FieldStore(tmp_path / "field").expire(1020.0) == 0


def test_what_a_crash_left_expires_by_its_last_change(tmp_path: Path) -> None:
    store = FieldStore(tmp_path)
    for seed in range(3):
        add(store, seed, at=1e12)
    torn, lost, kept = store.images("gate-1")
    torn.path.with_suffix(".json").write_bytes(b"")
    lost.path.unlink()
    half = tmp_path / "gate-1" / ".abcdefg"
    half.write_bytes(png(9))
    assert store.expire(1000.0) == 0
    for path in (half, torn.path, torn.path.with_suffix(".json"), kept.path):
        os.utime(path, (500.0, 500.0))
    assert store.expire(1000.0) == 2
    assert {path.stem for path in (tmp_path / "gate-1").iterdir()} == {lost.sha256, kept.sha256}
    assert store.expire(2e12) == 1
    assert list((tmp_path / "gate-1").iterdir()) == []


def test_expiry_of_an_empty_store_makes_nothing(tmp_path: Path) -> None:
    assert FieldStore(tmp_path / "field").expire(1e12) == 0
    assert not (tmp_path / "field").exists()


@pytest.mark.parametrize("domain", ["..", ".state", "a/../../b", "Größe 7", "%2E", "a b"])
def test_any_domain_is_a_plain_folder(tmp_path: Path, domain: str) -> None:
    root = tmp_path / "field"
    store = FieldStore(root)
    assert add(store, 1, domain=domain)
    assert len(store.images(domain)) == 1
    assert store.domains() == (domain,)
    assert [path.name for path in tmp_path.iterdir()] == ["field"]
    assert len([p for p in root.iterdir() if not p.name.startswith(".")]) == 1


def test_impossible_names_and_digests_are_refused(tmp_path: Path) -> None:
    store = FieldStore(tmp_path)
    with pytest.raises(InputError, match="too long"):
        add(store, 1, domain="x" * 241)
    with pytest.raises(InputError, match="no sha256") as caught:
        store.delete("../../etc/passwd")
    assert "sha256sum" in caught.value.hint


def test_a_torn_file_is_left_out(tmp_path: Path) -> None:
    store = FieldStore(tmp_path)
    add(store, 1)
    add(store, 2)
    store.images("gate-1")[0].path.write_bytes(b"")
    assert len(store.images("gate-1")) == 1


def test_a_record_is_parsed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, read = FieldStore(tmp_path), []

    def counted(path: Path) -> object:
        read.append(path)
        return read_json(path)

    monkeypatch.setattr("redshank.fieldstore.read_json", counted)
    for seed in range(5):
        add(store, seed)
    assert len(store.images("gate-1")) == 5
    assert len(store.images("gate-1", since_s=1020.0)) == 3
    assert len(read) == 5
    add(store, 7)
    victim = store.images("gate-1")[0].sha256
    FieldStore(tmp_path).delete(victim)  # another process
    assert victim not in {image.sha256 for image in store.images("gate-1")}
    assert len(store.images("gate-1")) == 5
    assert len(read) == 6


def test_a_record_that_was_written_anew_is_read_anew(tmp_path: Path) -> None:
    store = FieldStore(tmp_path)
    add(store, 1, at=1000.0)
    (image,) = store.images("gate-1")
    record = image.path.with_suffix(".json")
    record.write_text(record.read_text().replace("1000.0", "2000.0"))
    os.utime(record, ns=(1, 1))
    assert store.images("gate-1")[0].received_at == 2000.0


def _fill(root: Path, first: int) -> None:
    store = FieldStore(root, per_domain=40)
    for seed in range(first, first + 60):
        add(store, seed, client=f"c{first}")


def test_processes_share_a_folder(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_fill, args=(tmp_path, first)) for first in (0, 30, 60)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    add(FieldStore(tmp_path, per_domain=40), 500)  # a last look at the cap
    kept = sorted(image.sha256 for image in FieldStore(tmp_path).images("gate-1"))
    assert kept == expected(*range(120), 500, most=40)


def test_images_expire_while_processes_add(tmp_path: Path) -> None:
    limit_s = 1300.0  # images 0 to 29 are older
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_fill, args=(tmp_path, first)) for first in (0, 30)]
    for worker in workers:
        worker.start()
    store, gone = FieldStore(tmp_path), 0
    while any(worker.is_alive() for worker in workers):
        gone += store.expire(limit_s)
    assert [worker.exitcode for worker in workers] == [0, 0]
    gone += store.expire(limit_s)
    assert gone > 0
    kept = store.images("gate-1")
    assert kept
    assert all(image.received_at >= limit_s for image in kept)
    assert len(list((tmp_path / "gate-1").iterdir())) == 2 * len(kept)


def test_a_listing_in_memory_sees_what_other_stores_and_hands_do(tmp_path: Path) -> None:
    ours, theirs = FieldStore(tmp_path), FieldStore(tmp_path)
    first, second = (hashlib.sha256(png(seed)).hexdigest() for seed in (1, 2))
    assert add(ours, 1)
    assert add(theirs, 2)
    assert not add(ours, 2, at=5000.0)
    assert theirs.delete(first) == 1
    assert not add(ours, 1, at=6000.0)
    for path in (tmp_path / "gate-1").glob(f"{second}*"):
        path.unlink()
    os.utime(tmp_path / "gate-1", ns=(1, 1))  # as if it had happened at another moment
    assert add(ours, 2, at=7000.0)
