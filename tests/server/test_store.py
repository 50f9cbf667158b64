from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest

from faceloom.errors import UsageError
from faceloom.server.refusals import Refusal
from faceloom.server.schemas import ProjectChange, RecipeBody
from faceloom.server.store import INTERRUPTED, Store, StoredPhoto, new_id
from faceloom.server.studio import Studio, StudioSettings


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "studio.sqlite"


def _filled(path: Path) -> tuple[Store, str]:
    store = Store(path)
    store.add_photo(StoredPhoto("a" * 16, "me.jpg", 10, 20, [{"box": [0, 0, 1, 1]}]))
    return store, store.add_project("a" * 16, [1], 0.5, "Me", "default").id


def test_it_is_durable_by_its_settings(path: Path) -> None:
    store, _ = _filled(path)
    settings = {name: store._base.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")}
    assert settings == {"journal_mode": "wal", "synchronous": 2}
    store.close()


def test_an_interrupted_inversion_is_told_at_the_next_start(path: Path) -> None:
    store, first = _filled(path)
    second = store.add_project("a" * 16, "all", 0.5, "You", "default").id
    assert store.finish_inversion(second, "codes-1.safetensors", "f") is None
    store.begin_inversion(second, 0.9)
    store.close()
    store = Store(path)
    assert store.state(first) == ("failed", INTERRUPTED)
    assert store.state(second) == ("ready", "")
    assert store.get_project(second).fidelity == 0.5
    store.close()


def test_two_studios_do_not_share_a_folder(path: Path) -> None:
    store = Store(path)
    with pytest.raises(UsageError, match="another studio"):
        Store(path)
    store.close()
    Store(path).close()


def test_a_later_or_damaged_database_is_left_alone(path: Path) -> None:
    with sqlite3.connect(path) as base:
        base.execute("PRAGMA user_version=99")
    base.close()
    with pytest.raises(UsageError, match="later Faceloom"):
        Store(path)
    path.write_bytes(b"this is no database, and long enough to be read as one" * 100)
    before = path.read_bytes()
    with pytest.raises(UsageError, match="damaged"):
        Store(path)
    assert path.read_bytes() == before


def test_a_failed_change_changes_nothing(path: Path) -> None:
    store, project = _filled(path)
    before = store.get_project(project)
    with pytest.raises(Refusal):
        store.change_project(project, ProjectChange(name="Other", current="b" * 16))
    with pytest.raises(Refusal):
        store.add_step(project, "b" * 16, "x", RecipeBody())
    assert store.get_project(project) == before
    store.close()


def test_many_threads_write_at_once(path: Path) -> None:
    store, project = _filled(path)
    root = store.get_project(project).current

    def work() -> None:
        for number in range(20):
            store.add_step(project, root, str(number), RecipeBody())

    threads = [threading.Thread(target=work) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store.get_project(project).steps) == 101
    store.close()


@pytest.mark.parametrize("name", ["photos", "projects", "incoming", "outgoing", "workshop", "incoming-models"])
def test_folders_of_somebody_else_are_left_alone(path: Path, name: str) -> None:
    file = path.parent / name / "holiday" / "a.jpg"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"a photo")
    with pytest.raises(UsageError, match="no studio here knows"):
        Studio(StudioSettings(data=path.parent))
    assert file.read_bytes() == b"a photo"
    assert not path.exists()


def test_only_what_a_studio_made_is_swept(path: Path) -> None:
    Studio(StudioSettings(data=path.parent)).stop()
    lost, other = path.parent / "photos" / new_id(), path.parent / "photos" / "holiday"
    lost.mkdir()
    other.mkdir()
    studio = Studio(StudioSettings(data=path.parent))
    studio._sweep()
    studio.stop()
    assert not lost.exists()
    assert other.exists()


def test_unused_photos_are_forgotten_after_a_time(path: Path) -> None:
    store, _ = _filled(path)
    store.add_photo(StoredPhoto("b" * 16, "unused.jpg", 10, 20, []))
    assert store.forget_photos("2000") == []
    assert store.forget_photos("9999") == ["b" * 16]
    assert store.photo_ids() == {"a" * 16}
    store.close()
