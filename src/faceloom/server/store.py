"""Projects on disk: a SQLite database beside the files. What a method has returned from survives a power cut.

The write-ahead log with synchronous=FULL makes a commit reach the disk before it returns. The database is locked by the
one studio that has it open; the system lets go of the lock when that process ends, however it ends.
"""

from __future__ import annotations

import json
import re
import secrets
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from faceloom.errors import UsageError
from faceloom.server.refusals import Refusal, not_found
from faceloom.server.schemas import (
    Project,
    ProjectBrief,
    ProjectChange,
    ProjectState,
    RecipeBody,
    StepInfo,
)

DATABASE = "studio.sqlite"
ROOT_LABEL = "Original"
INTERRUPTED = "The studio was stopped before it had found the face; start that again."
_SCHEMAS = (
    """
CREATE TABLE photos (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, width INTEGER NOT NULL, height INTEGER NOT NULL,
    faces TEXT NOT NULL, created TEXT NOT NULL
) STRICT;
CREATE TABLE projects (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, photo TEXT NOT NULL REFERENCES photos (id),
    faces TEXT NOT NULL, fidelity REAL NOT NULL, state TEXT NOT NULL, message TEXT NOT NULL,
    created TEXT NOT NULL, changed TEXT NOT NULL, current TEXT NOT NULL,
    model TEXT NOT NULL, codes TEXT, codes_fidelity REAL, fingerprint TEXT
) STRICT;
CREATE TABLE steps (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE,
    project TEXT NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    parent TEXT, label TEXT NOT NULL, recipe TEXT NOT NULL, at TEXT NOT NULL
) STRICT;
CREATE INDEX steps_of_project ON steps (project, number);
CREATE INDEX projects_of_photo ON projects (photo);
""",
    """
ALTER TABLE projects ADD COLUMN warning TEXT NOT NULL DEFAULT '';
ALTER TABLE projects ADD COLUMN readings TEXT NOT NULL DEFAULT '{}';
CREATE TABLE choices (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
""",
)
"""What brings the database from one version to the next, from an empty one on."""
VERSION = len(_SCHEMAS)


@dataclass(frozen=True)
class StoredPhoto:
    """A photo's row; `faces` holds what detection found, largest first, as JSON values."""

    id: str
    name: str
    width: int
    height: int
    faces: list[dict[str, Any]]


@dataclass(frozen=True)
class Source:
    """What is needed to open a project: its photo, whose faces, and the codes where they have been found."""

    id: str
    photo: str
    faces: str | list[int]
    fidelity: float
    model: str
    codes: str | None
    fingerprint: str | None


@dataclass(frozen=True)
class Notes:
    """What was noticed about the faces of a project; see `ProjectBrief`."""

    warning: str = ""
    readings: dict[str, float] = field(default_factory=dict)


def new_id() -> str:
    """16 hexadecimal digits that nobody can guess."""
    return secrets.token_hex(8)


def is_id(name: str) -> bool:
    """Whether `new_id` may have made this name."""
    return re.fullmatch(r"[0-9a-f]{16}", name) is not None


def now() -> str:
    """ISO 8601 in UTC, to the microsecond, so that texts sort as times do."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class Store:
    """The database. Its methods may be called from any thread, and each is one transaction.

    Args:
        path: of the database file; it is made where it is missing.

    Raises:
        UsageError: another studio has it open, a later Faceloom made it, or it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.RLock()
        try:
            self._base = sqlite3.connect(path, timeout=2.0, isolation_level=None, check_same_thread=False)
            self._base.row_factory = sqlite3.Row
            self._prepare(path)
        except sqlite3.OperationalError as error:
            if "locked" in str(error):
                raise UsageError(
                    f"another studio has {str(path.parent)!r} open; use that one, or give this one --data FOLDER"
                ) from error
            raise UsageError(f"cannot open {str(path)!r} ({error}); check the folder's permissions") from error
        except sqlite3.DatabaseError as error:
            raise UsageError(
                f"{str(path)!r} is damaged ({error}); to start anew, move its whole folder away"
            ) from error

    def _prepare(self, path: Path) -> None:
        for setting in ("locking_mode=EXCLUSIVE", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            self._base.execute(f"PRAGMA {setting}")
        with self._transaction() as base:
            (found,) = base.execute("PRAGMA user_version").fetchone()
            if found > VERSION:
                raise UsageError(f"{str(path)!r} was made by a later Faceloom; upgrade, or give --data FOLDER")
            for schema in _SCHEMAS[found:]:
                for statement in filter(str.strip, schema.split(";")):
                    base.execute(statement)
            base.execute(f"PRAGMA user_version={VERSION}")
            # Nothing can be inverting now: a project that says so was interrupted.
            base.execute(
                "UPDATE projects SET state='failed', message=? WHERE state='inverting' AND codes IS NULL",
                (INTERRUPTED,),
            )
            base.execute(
                "UPDATE projects SET state='ready', message='', fidelity=codes_fidelity WHERE state='inverting'"
            )

    def close(self) -> None:
        """Let go of the database."""
        with self._lock:
            self._base.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._base.execute("BEGIN IMMEDIATE")
            try:
                yield self._base
            except BaseException:
                self._base.execute("ROLLBACK")
                raise
            self._base.execute("COMMIT")

    def choice(self, name: str) -> str | None:
        """What the person has chosen, if anything."""
        with self._lock:
            row = self._base.execute("SELECT value FROM choices WHERE name=?", (name,)).fetchone()
        return None if row is None else str(row["value"])

    def choose(self, name: str, value: str) -> None:
        """Remember a choice."""
        with self._transaction() as base:
            base.execute("INSERT OR REPLACE INTO choices VALUES (?, ?)", (name, value))

    def add_photo(self, photo: StoredPhoto) -> None:
        """Add a photo whose files are in place."""
        row = (photo.id, photo.name, photo.width, photo.height, json.dumps(photo.faces), now())
        with self._transaction() as base:
            base.execute("INSERT INTO photos VALUES (?, ?, ?, ?, ?, ?)", row)

    def get_photo(self, photo: str) -> StoredPhoto:
        """A photo; raises Refusal 404."""
        with self._lock:
            row = self._base.execute("SELECT * FROM photos WHERE id=?", (photo,)).fetchone()
        if row is None:
            raise not_found("photo")
        return StoredPhoto(row["id"], row["name"], row["width"], row["height"], json.loads(row["faces"]))

    def forget_photos(self, before: str) -> list[str]:
        """Remove the photos that no project has and that were added before a time; returns their ids."""
        with self._transaction() as base:
            rows = base.execute(
                "DELETE FROM photos WHERE created < ? AND id NOT IN (SELECT photo FROM projects) RETURNING id",
                (before,),
            ).fetchall()
        return [row["id"] for row in rows]

    def photo_ids(self) -> set[str]:
        """The ids of all photos."""
        with self._lock:
            return {row["id"] for row in self._base.execute("SELECT id FROM photos")}

    def add_project(self, photo: str, faces: str | list[int], fidelity: float, name: str, model: str) -> Project:
        """Add a project that is being inverted, with the root of its history."""
        project, root, at = new_id(), new_id(), now()
        recipe = RecipeBody(model=model).model_dump_json()
        with self._transaction() as base:
            base.execute(
                "INSERT INTO projects (id, name, photo, faces, fidelity, state, message, created, changed, current, "
                "model) VALUES (?, ?, ?, ?, ?, 'inverting', '', ?, ?, ?, ?)",
                (project, name, photo, json.dumps(faces), fidelity, at, at, root, model),
            )
            base.execute(
                "INSERT INTO steps (id, project, parent, label, recipe, at) VALUES (?, ?, NULL, ?, ?, ?)",
                (root, project, ROOT_LABEL, recipe, at),
            )
            return self._project(project)

    def list_projects(self) -> list[ProjectBrief]:
        """All projects, the last changed first."""
        with self._lock:
            rows = self._base.execute(f"{_SELECT} ORDER BY changed DESC, projects.rowid DESC").fetchall()
        return [ProjectBrief(**_brief(row)) for row in rows]

    def project_ids(self) -> set[str]:
        """The ids of all projects."""
        with self._lock:
            return {row["id"] for row in self._base.execute("SELECT id FROM projects")}

    def get_project(self, project: str) -> Project:
        """A project with its history; raises Refusal 404."""
        with self._lock:
            return self._project(project)

    def source(self, project: str) -> Source:
        """What is needed to open it; raises Refusal 404."""
        with self._lock:
            row = self._base.execute("SELECT * FROM projects WHERE id=?", (project,)).fetchone()
        if row is None:
            raise not_found("project")
        return Source(
            row["id"],
            row["photo"],
            json.loads(row["faces"]),
            row["fidelity"],
            row["model"],
            row["codes"],
            row["fingerprint"],
        )

    def state(self, project: str) -> tuple[ProjectState, str]:
        """State and message; raises Refusal 404."""
        with self._lock:
            row = self._base.execute("SELECT state, message FROM projects WHERE id=?", (project,)).fetchone()
        if row is None:
            raise not_found("project")
        return row["state"], row["message"]

    def current_recipe(self, project: str) -> tuple[str, RecipeBody]:
        """The current step's id and recipe; raises Refusal 404."""
        with self._lock:
            row = self._base.execute(
                "SELECT steps.id, recipe FROM steps JOIN projects ON steps.id = current WHERE projects.id=?", (project,)
            ).fetchone()
        if row is None:
            raise not_found("project")
        return row["id"], RecipeBody.model_validate_json(row["recipe"])

    def change_project(self, project: str, change: ProjectChange) -> Project:
        """Rename it, or make another step the current one; raises Refusal 404."""
        with self._transaction() as base:
            self._project(project)
            if change.current is not None:
                self._check_step(project, change.current)
                base.execute("UPDATE projects SET current=? WHERE id=?", (change.current, project))
            if change.name is not None:
                base.execute("UPDATE projects SET name=? WHERE id=?", (change.name, project))
            if change.model_fields_set:
                base.execute("UPDATE projects SET changed=? WHERE id=?", (now(), project))
            return self._project(project)

    def delete_project(self, project: str) -> str | None:
        """Remove a project; returns the id of its photo if no other project has it. Raises Refusal 404."""
        with self._transaction() as base:
            photo = self._project(project).photo
            base.execute("DELETE FROM projects WHERE id=?", (project,))
            if base.execute("SELECT 1 FROM projects WHERE photo=?", (photo,)).fetchone() is not None:
                return None
            base.execute("DELETE FROM photos WHERE id=?", (photo,))
            return photo

    def add_step(self, project: str, parent: str, label: str, recipe: RecipeBody) -> StepInfo:
        """Add a step and make it the current one; raises Refusal 404."""
        step = StepInfo(id=new_id(), parent=parent, label=label, recipe=recipe, at=now())
        with self._transaction() as base:
            self._project(project)
            self._check_step(project, parent)
            base.execute(
                "INSERT INTO steps (id, project, parent, label, recipe, at) VALUES (?, ?, ?, ?, ?, ?)",
                (step.id, project, parent, label, recipe.model_dump_json(), step.at),
            )
            base.execute("UPDATE projects SET current=?, changed=? WHERE id=?", (step.id, step.at, project))
        return step

    def begin_inversion(self, project: str, fidelity: float) -> Project:
        """Say that it is being inverted anew; raises Refusal 404, or 409 if it is being inverted already."""
        with self._transaction() as base:
            if self._project(project).state == "inverting":
                raise Refusal(409, "busy", "the face is being found already; cancel that first")
            base.execute(
                "UPDATE projects SET state='inverting', message='', fidelity=?, changed=? WHERE id=?",
                (fidelity, now(), project),
            )
            return self._project(project)

    def finish_inversion(self, project: str, codes: str, fingerprint: str, notes: Notes | None = None) -> str | None:
        """Say that its codes are in the file `codes`; returns the file that they replace."""
        notes = notes or Notes()
        with self._transaction() as base:
            row = base.execute("SELECT codes FROM projects WHERE id=?", (project,)).fetchone()
            if row is None:
                raise not_found("project")
            base.execute(
                "UPDATE projects SET state='ready', message='', codes=?, codes_fidelity=fidelity, fingerprint=?, "
                "changed=?, warning=?, readings=? WHERE id=?",
                (codes, fingerprint, now(), notes.warning, json.dumps(notes.readings), project),
            )
        old: str | None = row["codes"]
        return old

    def end_inversion(self, project: str, state: ProjectState, message: str) -> ProjectState:
        """Say that it was cancelled or has failed. A project that has codes from before keeps them and is ready."""
        with self._transaction() as base:
            base.execute(
                "UPDATE projects SET state=CASE WHEN codes IS NULL THEN ? ELSE 'ready' END, message=?, "
                "fidelity=coalesce(codes_fidelity, fidelity), changed=? WHERE id=?",
                (state, message, now(), project),
            )
            return self.state(project)[0]

    def drop_codes(self, project: str, message: str) -> None:
        """Say that its codes are of no more use, and why."""
        with self._transaction() as base:
            base.execute(
                "UPDATE projects SET state='failed', message=?, codes=NULL, codes_fidelity=NULL, fingerprint=NULL "
                "WHERE id=?",
                (message, project),
            )

    def _project(self, project: str) -> Project:
        row = self._base.execute(f"{_SELECT} WHERE projects.id=?", (project,)).fetchone()
        if row is None:
            raise not_found("project")
        steps = self._base.execute("SELECT * FROM steps WHERE project=? ORDER BY number", (project,)).fetchall()
        return Project(**_brief(row), steps=[_step(step) for step in steps])

    def _check_step(self, project: str, step: str) -> None:
        if self._base.execute("SELECT 1 FROM steps WHERE project=? AND id=?", (project, step)).fetchone() is None:
            raise not_found("step in this project's history")


_SELECT = "SELECT projects.*, width, height FROM projects JOIN photos ON photos.id = photo"


def _brief(row: sqlite3.Row) -> dict[str, Any]:
    known = {name: row[name] for name in ProjectBrief.model_fields}
    return {**known, "faces": json.loads(row["faces"]), "readings": json.loads(row["readings"])}


def _step(row: sqlite3.Row) -> StepInfo:
    recipe = RecipeBody.model_validate_json(row["recipe"])
    return StepInfo(id=row["id"], parent=row["parent"], label=row["label"], recipe=recipe, at=row["at"])
