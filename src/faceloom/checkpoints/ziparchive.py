"""The directory of a zip archive, read with distrust.

The standard module zipfile is not used: it reads a directory of any size into memory, and lets entries overlap.

Source of the format: PKWARE APPNOTE.TXT 6.3.10, sections 4.3 to 4.5.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

from faceloom.checkpoints.inert import quoted
from faceloom.checkpoints.pickles import Budget
from faceloom.checkpoints.spans import Span
from faceloom.errors import CheckpointError

_END = struct.Struct("<4s4H2LH")
_END_64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR_64 = struct.Struct("<4sLQL")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_MAX_DIRECTORY = 8 << 20
_MAX_COMMENT = 0xFFFF
_STORED, _DEFLATED = 0, 8


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of the archive: where its (compressed) bytes lie, and how large it says it is."""

    name: str
    span: Span
    size: int
    compressed: bool
    checksum: int


class ZipArchive:
    """The entries of a zip archive by name.

    Args:
        span: the archive.
        budget: what the entries may cost in memory.
        inflate: bytes that compressed entries may grow to, all together; none where 0.

    Raises:
        CheckpointError: if the archive is damaged, or built to trick its reader.
    """

    def __init__(self, span: Span, budget: Budget, *, inflate: int = 0) -> None:
        self._allowance = inflate
        self.entries: dict[str, Entry] = {}
        count, start, length = _find_directory(span)
        budget.spend(512 * count)
        directory = span.read(start, length)
        extents = []
        position = 0
        for _ in range(count):
            header_at, end, entry, position = _read_entry(span, directory, position)
            if entry.name in self.entries:
                raise CheckpointError(f"the archive holds {quoted(entry.name)} twice; it is damaged or hostile")
            self.entries[entry.name] = entry
            extents.append((header_at, end))
        extents.sort()
        bounds = [begin for begin, _ in extents[1:]] + [start]
        if any(end > bound for (_, end), bound in zip(extents, bounds, strict=True)):
            raise CheckpointError("entries of the archive overlap; it is damaged or hostile")

    def open(self, name: str) -> Span:
        """The contents of an entry.

        Raises:
            CheckpointError: if there is no such entry, or it grows beyond all measure.
        """
        entry = self.entries.get(name)
        if entry is None:
            raise CheckpointError(f"the archive lacks {quoted(name)}; it is damaged")
        if not entry.compressed:
            return entry.span
        self._allowance -= entry.size
        if self._allowance < 0:
            raise CheckpointError("the archive unpacks to far more than its size; refusing it")
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        data = inflater.decompress(entry.span.read(), entry.size + 1)
        if len(data) != entry.size or zlib.crc32(data) != entry.checksum:
            raise CheckpointError(f"{quoted(entry.name)} in the archive is damaged")
        return Span.of_bytes(data)


def _find_directory(span: Span) -> tuple[int, int, int]:
    """Number of entries, start and length of the central directory."""
    tail_start = max(0, span.length - _END.size - _MAX_COMMENT)
    tail = span.read(tail_start)
    found = tail.rfind(b"PK\5\6")
    if found < 0 or found + _END.size > len(tail):
        raise CheckpointError("the archive is cut short: it has no directory; download it again")
    _, disk, first_disk, _, count, length, start, _ = _END.unpack_from(tail, found)
    end_at = tail_start + found
    if 0xFFFF in (count, disk) or 0xFFFFFFFF in (length, start):
        locator = span.read(end_at - _LOCATOR_64.size, _LOCATOR_64.size)
        signature, _, record_at, _ = _LOCATOR_64.unpack(locator)
        record = _END_64.unpack(span.read(record_at, _END_64.size))
        if signature != b"PK\6\7" or record[0] != b"PK\6\6":
            raise CheckpointError("the directory of the archive is damaged")
        disk, first_disk, count, length, start = record[4], record[5], record[7], record[8], record[9]
    if disk or first_disk:
        raise CheckpointError("the archive is split over several files, which is not supported")
    if length > _MAX_DIRECTORY or count * _CENTRAL.size > length or start + length > end_at:
        raise CheckpointError("the directory of the archive is damaged or hostile")
    return count, start, length


def _read_entry(span: Span, directory: bytes, position: int) -> tuple[int, int, Entry, int]:
    """Start and end of the entry in the archive, the entry, and where the directory goes on."""
    fields = _CENTRAL.unpack_from(directory, position)
    flags, method, checksum = fields[3], fields[4], fields[7]
    compressed_size, size, name_length, extra_length, comment_length, header_at = *fields[8:13], fields[16]
    name_at = position + _CENTRAL.size
    extra_at = name_at + name_length
    following = extra_at + extra_length + comment_length
    if fields[0] != b"PK\1\2" or following > len(directory):
        raise CheckpointError("the directory of the archive is damaged")
    name = _safe_name(directory[name_at:extra_at])
    wide = _wide_numbers(directory[extra_at : extra_at + extra_length])
    narrow = (size, compressed_size, header_at)
    size, compressed_size, header_at = (wide.pop(0) if value == 0xFFFFFFFF and wide else value for value in narrow)
    if flags & 1:
        raise CheckpointError("the archive is encrypted, which is not supported")
    if method not in (_STORED, _DEFLATED) or (method == _STORED and size != compressed_size):
        raise CheckpointError(f"{quoted(name)} in the archive is packed in an unknown way")
    local = _LOCAL.unpack(span.read(header_at, _LOCAL.size))
    if local[0] != b"PK\3\4":
        raise CheckpointError("the archive is damaged: an entry does not begin where the directory says")
    data_at = header_at + _LOCAL.size + local[9] + local[10]
    entry = Entry(name, span.part(data_at, compressed_size), size, method == _DEFLATED, checksum)
    return header_at, data_at + compressed_size, entry, following


def _safe_name(raw: bytes) -> str:
    name = raw.decode("utf-8", "replace")
    parts = name.split("/")
    if not name or "\\" in name or ":" in name or "\0" in name or ".." in parts or parts[0] == "":
        raise CheckpointError(f"the archive names a file {quoted(name)!r} outside of itself; it is hostile")
    return name


def _wide_numbers(extra: bytes) -> list[int]:
    """The 64-bit numbers of the extra field, in the order size, compressed size, start of the header."""
    position = 0
    while position + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, position)
        if kind == 1:
            field = extra[position + 4 : position + 4 + length]
            return [value for (value,) in struct.iter_unpack("<Q", field[: len(field) // 8 * 8])]
        position += 4 + length
    return []
