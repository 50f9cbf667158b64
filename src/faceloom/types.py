"""The values that travel through the pipe, from a photo to its edited copy.

Conventions, everywhere: `pixels` are uint8 arrays of shape (H, W, 3), RGB. `images` are float tensors of shape
(N, 3, H, W), RGB in [-1, 1]. Coordinates are (x, y) in pixels, with (0, 0) at the upper left corner of the upper left
pixel, so that the centre of that pixel is (0.5, 0.5). Angles are in degrees.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

Pixels = NDArray[np.uint8]
"""(H, W, 3) uint8 RGB."""
Mask = NDArray[np.float32]
"""(H, W) float32 in [0, 1]."""
Points = NDArray[np.float64]
"""(K, 2) float64, each row (x, y)."""
Matrix = NDArray[np.float64]
"""(3, 3) float64, acting on column vectors (x, y, 1)."""
Space = Literal["w", "w+", "s"]


@dataclass(frozen=True, eq=False)
class Photo:
    """A photo as a person sees it: upright (EXIF rotation applied), 8-bit RGB.

    Attributes:
        pixels: (H, W, 3) uint8 RGB.
        icc_profile: the embedded colour profile, written back unchanged on save; None where there is none.
        name: where it came from, for messages.
    """

    pixels: Pixels = field(repr=False)
    icc_profile: bytes | None = field(default=None, repr=False)
    name: str = "photo"

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return self.pixels.shape[1], self.pixels.shape[0]


@dataclass(frozen=True, eq=False)
class Face:
    """A face found in a photo.

    Attributes:
        box: left, top, right, bottom in photo pixels; may reach outside the photo.
        landmarks: (68, 2) points in iBUG 300-W order, in photo pixels.
        score: the detector's confidence; larger is surer, not comparable between detectors.
    """

    box: tuple[float, float, float, float]
    landmarks: Points = field(repr=False)
    score: float

    @property
    def area(self) -> float:
        """Area of the box in square pixels."""
        left, top, right, bottom = self.box
        return max(0.0, right - left) * max(0.0, bottom - top)


@dataclass(frozen=True, eq=False)
class Crop:
    """An aligned square picture of one face that knows where it came from.

    Attributes:
        pixels: (S, S, 3) uint8 RGB, the aligned face.
        quad: (4, 2) corners of the crop in photo pixels: upper left, lower left, lower right, upper right.
        face: the face it was cut around.
        others: other faces of the photo that are near: centre (x, y) and size, in sides of the crop.
    """

    pixels: Pixels = field(repr=False)
    quad: Points = field(repr=False)
    face: Face
    others: tuple[tuple[float, float, float], ...] = ()

    @property
    def size(self) -> int:
        """Side of the square in pixels."""
        side: int = self.pixels.shape[0]
        return side

    @property
    def side(self) -> float:
        """Side of the square in photo pixels."""
        return float(np.hypot(*(self.quad[3] - self.quad[0])))

    def to_photo(self, size: int | None = None) -> Matrix:
        """Similarity transform from the pixels of a crop of side `size` (default: this one's) to photo pixels."""
        side = self.size if size is None else size
        upper_left, lower_left, _, upper_right = self.quad
        x_axis = (upper_right - upper_left) / side
        y_axis = (lower_left - upper_left) / side
        return np.array([[x_axis[0], y_axis[0], upper_left[0]], [x_axis[1], y_axis[1], upper_left[1]], [0.0, 0.0, 1.0]])

    def from_photo(self, size: int | None = None) -> Matrix:
        """The inverse of `to_photo`."""
        return np.linalg.inv(self.to_photo(size)).astype(np.float64)

    def placed(self, quad: Points) -> Crop:
        """The same aligned face at another place: its landmarks move along with the corners."""
        points = np.c_[self.face.landmarks, np.ones(len(self.face.landmarks))] @ self.from_photo().T
        moved = Crop(self.pixels, quad, self.face)
        landmarks = (points @ moved.to_photo().T)[:, :2]
        (left, top), (right, bottom) = landmarks.min(axis=0), landmarks.max(axis=0)
        face = Face((float(left), float(top), float(right), float(bottom)), landmarks, self.face.score)
        return Crop(self.pixels, quad, face, self.others)

    def recut(self, pixels: Pixels, quad: Points) -> Crop:
        """Another square (S, S, 3) of the same photo, with corners `quad`, around the same face."""
        cut = Crop(pixels, quad, self.face)
        change = cut.from_photo(1) @ self.to_photo(1)
        scale = float(np.sqrt(abs(np.linalg.det(change[:2, :2]))))
        moved = [(change @ (x, y, 1.0), scale * size) for x, y, size in self.others]
        return replace(cut, others=tuple((float(to[0]), float(to[1]), size) for to, size in moved))

    def place_of(self, face: Face) -> tuple[float, float, float]:
        """Centre (x, y) and size of a face of the same photo, in sides of the crop."""
        points = np.c_[face.landmarks, np.ones(len(face.landmarks))] @ self.from_photo(1).T
        x, y = points[:, :2].mean(axis=0).tolist()
        return x, y, float(np.ptp(points[:, :2], axis=0).mean())

    def alone(self) -> Crop:
        """The same aligned face as a photo of its own, which it fills."""
        side = float(self.size)
        return self.placed(np.array([[0.0, 0.0], [0.0, side], [side, side], [side, 0.0]]))


@dataclass(frozen=True, eq=False)
class Latent:
    """A style code of one face in the latent space of one generator.

    Attributes:
        codes: (num_ws, w_dim) float32 tensor on the CPU, one row for each style layer.
        space: "w" where all rows are equal, "w+" otherwise.
        fingerprint: of the generator that it belongs to.
    """

    codes: torch.Tensor = field(repr=False)
    space: Space
    fingerprint: str


@dataclass(frozen=True, eq=False)
class Render:
    """The outcome of rendering one recipe.

    Attributes:
        photo: the whole photo with the edited faces in their places.
        before: for each open face, (S, S, 3) uint8 RGB, the generator's reconstruction of it unedited.
        after: for each open face, (S, S, 3) uint8 RGB, the generator's picture of it edited.
        mask: (H, W) float32 in [0, 1]; the photo is unchanged, bit for bit, where it is 0.
    """

    photo: Photo
    before: tuple[Pixels, ...] = field(repr=False)
    after: tuple[Pixels, ...] = field(repr=False)
    mask: Mask = field(repr=False)
