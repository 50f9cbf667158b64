"""The photos of the studio: a folder each, with the file as it was uploaded and a copy to look at."""

from __future__ import annotations

import asyncio
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from faceloom.errors import FaceError, FaceloomError
from faceloom.faces.detect import detect
from faceloom.files import replacing
from faceloom.imaging.photos import open_photo
from faceloom.server.encoding import shrunk, to_jpeg
from faceloom.server.engine import Engine, Priority
from faceloom.server.refusals import Refusal
from faceloom.server.samples import Samples
from faceloom.server.schemas import FaceInfo, PhotoInfo
from faceloom.server.store import Store, StoredPhoto, new_id
from faceloom.server.uploads import Uploads, display_name, sync_folder
from faceloom.types import Face, Photo

ORIGINAL, VIEW = "original", "view.jpg"
VIEW_SIDE = 2048


@dataclass(frozen=True)
class Photos:
    """Takes photos in and gives them out.

    Attributes:
        folder: has a folder for each photo.
        most_pixels: larger photos are refused before they are decoded.
    """

    folder: Path
    store: Store
    engine: Engine
    uploads: Uploads
    samples: Samples
    most_pixels: int

    async def upload(self, request: Request, encoded_name: str) -> PhotoInfo:
        """Take a photo from a request's body; raises Refusal, PhotoError, FaceError."""
        async with self.uploads.receive(request) as file:
            return await self._add(file, display_name(encoded_name))

    async def add_sample(self, name: str) -> PhotoInfo:
        """Take a sample as if it had been uploaded; raises Refusal 404."""
        path = self.samples.path(name)
        copy = self.uploads.folder / new_id()
        try:
            await run_in_threadpool(shutil.copyfile, path, copy)
            return await self._add(copy, path.name)
        finally:
            copy.unlink(missing_ok=True)

    def info(self, photo: str) -> PhotoInfo:
        """What the page knows of a photo; raises Refusal 404."""
        return _info(self.store.get_photo(photo))

    def view(self, photo: str, side: int) -> bytes:
        """A JPEG of the photo, upright, its longer side at most `side`; raises Refusal 404."""
        self.store.get_photo(photo)
        path = self.folder / photo / VIEW
        with Image.open(path) as image:
            if max(image.size) <= side:
                return path.read_bytes()
            image.draft("RGB", (side, side))
            view = Photo(np.asarray(image.convert("RGB")), image.info.get("icc_profile"))
        return to_jpeg(shrunk(view, side), 90)

    def open(self, photo: str) -> tuple[Photo, tuple[Face, ...]]:
        """The whole photo and the faces in it; raises Refusal 404, PhotoError."""
        row = self.store.get_photo(photo)
        opened = open_photo(self.folder / photo / ORIGINAL, max_pixels=self.most_pixels)
        return Photo(opened.pixels, opened.icc_profile, row.name), tuple(_face(entry) for entry in row.faces)

    def remove(self, photo: str) -> None:
        """Remove the files of a photo that is no longer in the store."""
        shutil.rmtree(self.folder / photo, ignore_errors=True)

    async def _add(self, file: Path, name: str) -> PhotoInfo:
        future = self.engine.submit(lambda: self._take_in(file, name), Priority.PICTURE)
        return await asyncio.wrap_future(future)

    def _take_in(self, file: Path, name: str) -> PhotoInfo:
        """Decode, find the faces, and keep; the row is written last, so that what it names is there."""
        try:
            photo = open_photo(file, max_bytes=self.uploads.most_bytes, max_pixels=self.most_pixels)
        except FaceloomError as error:
            raise type(error)(str(error).replace(repr(str(file)), repr(name))) from error
        faces = detect(Photo(photo.pixels, photo.icc_profile, name))
        if not faces:
            raise FaceError(
                f"no face found in {name}: use a photo where the face is at least 80 pixels wide, lit, and turned "
                "towards the camera"
            )
        row = StoredPhoto(new_id(), name, *photo.size, faces=[_entry(face) for face in faces])
        home = self.folder / row.id
        home.mkdir(parents=True)
        try:
            with replacing(home / VIEW) as view:
                view.write(to_jpeg(shrunk(photo, VIEW_SIDE), 90))
                view.flush()
                os.fsync(view.fileno())
            os.replace(file, home / ORIGINAL)
            sync_folder(home)
            sync_folder(self.folder)
            self.store.add_photo(row)
        except OSError as error:
            self.remove(row.id)
            raise Refusal(507, "disk_full", f"cannot store the photo ({error.strerror}); free some space") from error
        except BaseException:
            self.remove(row.id)
            raise
        return _info(row)


def _info(row: StoredPhoto) -> PhotoInfo:
    faces = [FaceInfo(index=number, box=tuple(entry["box"])) for number, entry in enumerate(row.faces, 1)]
    return PhotoInfo(id=row.id, name=row.name, width=row.width, height=row.height, faces=faces)


def _entry(face: Face) -> dict[str, Any]:
    return {
        "box": [float(edge) for edge in face.box],
        "landmarks": face.landmarks.tolist(),
        "score": float(face.score),
    }


def _face(entry: dict[str, Any]) -> Face:
    left, top, right, bottom = entry["box"]
    return Face((left, top, right, bottom), np.array(entry["landmarks"], dtype=np.float64), entry["score"])
