from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator
from pathlib import Path

import fsspec
import numpy as np
import pytest
from PIL import Image

from redshank.cli import main
from redshank.cli.retrain import _field_store
from redshank.errors import StageError
from redshank.field_follower import FollowingFieldStore
from redshank.field_mirror import MARK, Pass, pull, push
from redshank.fieldstore import FieldStore
from redshank.image_bytes import as_location
from redshank.mirror_state import LOCK, STATE
from redshank.object_folder import ObjectFolder
from redshank.settings import Home, MirrorSettings, Settings

DOMAINS = ("gate-1", "hall/north 2")


def png(seed: int) -> bytes:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def digest(seed: int) -> str:
    return hashlib.sha256(png(seed)).hexdigest()


def capture(root: Path, *seeds: int) -> FieldStore:
    """Images of alternating domains, one second apart."""
    store = FieldStore(root)
    for seed in seeds:
        assert store.add(
            DOMAINS[seed % 2],
            png(seed),
            sha256=digest(seed),
            received_at=1e9 + seed,
            client=f"c{seed}",
            sequence_id=f"s{seed}",
            dhash="",
            confidence=0.5,
            novelty=0.25,
        )
    return store


def kept(root: Path) -> set[str]:
    store = FieldStore(root)
    return {image.sha256 for domain in store.domains() for image in store.images(domain)}


@pytest.fixture(params=["folder", "bucket"])
def mirror(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ObjectFolder]:
    if request.param == "folder":
        yield ObjectFolder(tmp_path / "mirror")
        return
    yield ObjectFolder(as_location("memory://field-images/site"))
    system = fsspec.filesystem("memory")
    if system.exists("/field-images"):
        system.rm("/field-images", recursive=True)


class Moody(ObjectFolder):
    """A storage that goes away after some writes."""

    def __init__(self, place: Path, writes: int) -> None:
        super().__init__(place)
        self.writes = writes

    def write(self, name: str, data: bytes) -> None:
        if self.writes == 0:
            raise StageError(f"{name}: the storage does not answer")
        self.writes -= 1
        super().write(name, data)


def test_images_go_there_and_come_back_whole(tmp_path: Path, mirror: ObjectFolder) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    store = capture(here, 0, 1, 2, 3)
    assert push(here, mirror) == Pass(uploaded=4)
    assert push(here, mirror) == Pass()
    assert pull(there, mirror) == Pass(downloaded=4)
    assert pull(there, mirror) == Pass()
    for domain in DOMAINS:
        theirs = FieldStore(there).images(domain)
        assert len(theirs) == 2
        for mine, other in zip(store.images(domain), theirs, strict=True):
            assert other.path.read_bytes() == mine.path.read_bytes()
            assert (mine.sha256, mine.received_at, mine.scene, mine.client) == (
                other.sha256,
                other.received_at,
                other.scene,
                other.client,
            )


def test_what_is_forgotten_on_one_side_goes_on_both(tmp_path: Path, mirror: ObjectFolder) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    capture(here, 0, 1, 2, 3)
    push(here, mirror)
    pull(there, mirror)
    FieldStore(here).delete(digest(0))
    FieldStore(there).delete(digest(1))
    assert pull(there, mirror) == Pass(forgotten=1, removed=1)
    assert push(here, mirror) == Pass(forgotten=2, removed=1)
    assert pull(there, mirror) == Pass(forgotten=1)
    left = {digest(2), digest(3)}
    assert kept(here) == kept(there) == left
    assert {n.rpartition("/")[2][:64] for n in mirror.names() if n[0] != "."} == left
    store = FieldStore(there)
    assert store.deleted() == FieldStore(here).deleted() == {digest(0), digest(1)}


def test_what_expired_here_goes_there(tmp_path: Path, mirror: ObjectFolder) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    store = capture(here, 0, 1, 2, 3)
    push(here, mirror)
    pull(there, mirror)
    capture(there, 7)  # of its own
    store.expire(1e9 + 2)
    assert push(here, mirror) == Pass(removed=2)
    assert pull(there, mirror) == Pass(removed=2)
    assert kept(there) == {digest(2), digest(3), digest(7)}
    assert FieldStore(there).deleted() == frozenset()  # it may come again


def test_homes_that_share_a_mirror_leave_each_others_images(
    tmp_path: Path, mirror: ObjectFolder
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    capture(one, 0, 1)
    capture(two, 1, 2)
    push(one, mirror)
    assert push(two, mirror).uploaded == 1
    FieldStore(one).expire(2e9)
    assert push(one, mirror).removed == 2
    assert push(two, mirror) == Pass(uploaded=1)  # the one that both had
    pull(three := tmp_path / "three", mirror)
    assert kept(three) == {digest(1), digest(2)}


def test_a_home_that_lost_its_disk_empties_no_mirror(tmp_path: Path, mirror: ObjectFolder) -> None:
    capture(tmp_path / "here", 0, 1)
    push(tmp_path / "here", mirror)
    assert push(tmp_path / "new", mirror) == Pass()
    assert pull(tmp_path / "other", mirror).downloaded == 2


def test_a_pass_goes_on_where_the_last_one_was_cut(tmp_path: Path) -> None:
    here, place = tmp_path / "here", tmp_path / "mirror"
    capture(here, *range(10))
    done = push(here, Moody(place, writes=7))  # three images and half of the fourth
    assert (done.uploaded, done.failed, done.left) == (3, 3, 4)
    assert "does not answer" in done.problems[0]
    assert pull(tmp_path / "there", ObjectFolder(place)).downloaded == 3
    assert push(here, ObjectFolder(place)) == Pass(uploaded=7)
    assert pull(tmp_path / "there", ObjectFolder(place)).downloaded == 7


def test_a_pass_without_time_begins_nothing(tmp_path: Path, mirror: ObjectFolder) -> None:
    capture(tmp_path / "here", 0, 1)
    assert push(tmp_path / "here", mirror, within_s=-1) == Pass(left=2)
    assert mirror.names() == {MARK}


def test_a_picture_that_changed_is_not_taken(tmp_path: Path, mirror: ObjectFolder) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    capture(here, 0, 2)
    push(here, mirror)
    mirror.write(f"gate-1/{digest(0)}.png", png(5))
    done = pull(there, mirror)
    assert (done.downloaded, done.failed) == (1, 1)
    assert "not the picture that its record names" in done.problems[0]
    assert kept(there) == {digest(2)}
    mirror.write(f"gate-1/{digest(0)}.png", (here / "gate-1" / f"{digest(0)}.png").read_bytes())
    assert pull(there, mirror) == Pass(downloaded=1)


def test_names_of_others_are_left_alone(tmp_path: Path, mirror: ObjectFolder) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    capture(here, 0)
    push(here, mirror)
    record = json.loads(mirror.read(f"gate-1/{digest(0)}.json"))
    for name, values in (
        (f"gate-1/{digest(9)}.json", record),  # of another image
        (f"hall/{digest(0)}.json", record),  # of another domain
        (f"gate-1/{digest(8)}.json", {**record, "image": {**record["image"], "file": "../x"}}),
        (f"gate-1/{digest(7)}.json", "text"),
    ):
        mirror.write(name, json.dumps(values).encode())
    foreign = {"readme.txt", f".deleted/{'z' * 64}", f".hidden/{digest(1)}.json", "a/b/c.json"}
    for name in foreign:
        mirror.write(name, b"{}")
    done = pull(there, mirror)
    assert (done.downloaded, done.failed, done.forgotten) == (1, 4, 0)
    assert kept(there) == {digest(0)}
    push(here, mirror)
    assert foreign < mirror.names()
    files = {path.name for path in there.rglob("*") if path.is_file()}
    own = {Path(STATE).name, LOCK}
    assert files == {f"{digest(0)}.png", f"{digest(0)}.json", "gate-1.lock", *own}


def test_a_torn_state_costs_nothing_but_what_it_knew(tmp_path: Path, mirror: ObjectFolder) -> None:
    here = tmp_path / "here"
    capture(here, 0)
    push(here, mirror)
    (here / STATE).write_bytes(b"{")
    assert push(here, mirror) == Pass()


def test_a_following_store_pulls_once_in_a_while(tmp_path: Path) -> None:
    here, there, place = tmp_path / "here", tmp_path / "there", tmp_path / "mirror"
    said: list[str] = []
    now = [0.0]
    store = FollowingFieldStore(
        there, ObjectFolder(place), every_s=10, say=said.append, clock_s=lambda: now[0]
    )
    assert store.domains() == ()
    capture(here, 0, 1)
    push(here, ObjectFolder(place))
    assert store.images("gate-1") == ()
    now[0] = 10.0
    assert [image.sha256 for image in store.images("gate-1")] == [digest(0)]
    assert store.domains() == tuple(sorted(DOMAINS))
    assert said == [f"{place}: 2 images downloaded"]


def test_a_following_store_goes_on_with_what_it_has(tmp_path: Path) -> None:
    class Away(ObjectFolder):
        def names(self) -> set[str]:
            raise StageError("nobody answers")

    said: list[str] = []
    capture(tmp_path, 0)
    store = FollowingFieldStore(tmp_path, Away(tmp_path / "m"), every_s=10, say=said.append)
    assert len(store.images("gate-1")) == 1
    assert len(said) == 1
    assert "kept images are used: nobody answers" in said[0]


def test_what_the_time_did_not_allow_comes_later_but_not_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    capture(tmp_path / "here", 0)
    push(tmp_path / "here", place := ObjectFolder(tmp_path / "mirror"))
    now, asked = [0.0], []

    def no_time(_root: Path, _mirror: ObjectFolder, *, within_s: float) -> Pass:
        asked.append(within_s)
        return Pass(left=1)

    monkeypatch.setattr("redshank.field_follower.pull", no_time)
    store = FollowingFieldStore(
        tmp_path / "there", place, every_s=3600, say=lambda _: None, clock_s=lambda: now[0]
    )
    store.domains()
    store.images("gate-1")
    assert len(asked) == 1
    now[0] = asked[0]
    store.domains()
    assert len(asked) == 2


def test_the_retraining_loop_follows_where_it_is_told_to(tmp_path: Path) -> None:
    home = Home(root=str(tmp_path / "there"))
    assert type(_field_store(Settings(home=home))) is FieldStore
    capture(tmp_path / "here", 0, 1)
    push(tmp_path / "here", ObjectFolder(tmp_path / "mirror"))
    mirror = MirrorSettings(pull_from=str(tmp_path / "mirror"))
    assert _field_store(Settings(home=home, mirror=mirror)).domains() == tuple(sorted(DOMAINS))


def test_the_command_pushes_and_pulls(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capture(tmp_path / "here" / "field", 0)
    mirror = tmp_path / "mirror"

    def field(*words: str) -> int:
        return main(["field", *words])

    assert field("push", str(mirror), "--set", f"home.root={tmp_path / 'here'}") == 0
    assert "1 images uploaded" in capsys.readouterr().err
    settings = ("--set", f"home.root={tmp_path / 'there'}", "--set", f"mirror.pull_from={mirror}")
    assert field("pull", "--json", *settings) == 0
    assert json.loads(capsys.readouterr().out)["downloaded"] == 1
    assert field("push", "--set", f"home.root={tmp_path / 'here'}") == 2
    assert "needs a URL" in capsys.readouterr().err
    (mirror / "gate-1" / f"{digest(0)}.png").write_bytes(b"")
    other = ("--set", f"home.root={tmp_path / 'other'}")
    assert field("pull", str(mirror), *other) == 3
