"""One family of errors. Every message says what happened and what to do next.

The command line prints the message on one line and exits with `exit_code`; the library raises it.
"""

from __future__ import annotations


class FaceloomError(Exception):
    """Base of every error that Faceloom raises on purpose."""

    exit_code = 2


class UsageError(FaceloomError):
    """The request itself makes no sense: an unknown edit, a value out of range, a missing folder."""


class PhotoError(FaceloomError):
    """The photo cannot be read: missing, not a picture, corrupt, or too large."""


class PhotoSizeError(PhotoError):
    """The photo has more pixels than are allowed, or too few to hold a face."""


class FaceError(FaceloomError):
    """The photo has no face that can be used, or not the face that was asked for."""


class CheckpointError(FaceloomError):
    """The checkpoint is unreadable, hostile, or of a kind that Faceloom does not support."""


class DownloadError(FaceloomError):
    """A file cannot be fetched: the server does not answer, stalls, or serves something else."""


class DirectionError(FaceloomError):
    """The direction is malformed, or was made for another generator."""


class TrainingError(FaceloomError):
    """Training cannot start or go on: no usable images, or a run folder from other settings."""


class MissingExtraError(FaceloomError):
    """A package that this feature needs is not installed; the message names the extra to install."""


class FaceloomWarning(UserWarning):
    """Something that works, but perhaps not as one thinks. The command line prints it on one line, as a note."""
