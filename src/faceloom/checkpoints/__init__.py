"""Checkpoints of every origin, read without executing anything."""

from faceloom.checkpoints.loading import load_codes, load_generator
from faceloom.checkpoints.reader import read_checkpoint

__all__ = ["load_codes", "load_generator", "read_checkpoint"]
