"""Erasure code over buffers: zfec defines the generator matrix, ISA-L (else zfec) computes.

Not for checking: neither library notices a wrong cell, so callers verify every source before
decoding.

The matrix is read off `zfec.Encoder` with unit vectors, and rows for decoding off `zfec.Decoder`
the same way, so any zfec can decode our shards for ever. ISA-L comes from pyeclib's wheel, else
from the system's libisal2.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib import metadata
from typing import Any

import zfec

from gateway.model.layout import Geometry
from storaged.base.errors import Kind, StorageError
from storaged.node import Buffer

DECODE_TABLES_MAX = 256  # sets of lost cells whose tables are kept, 32·k·rows bytes each


class CodecMismatch(StorageError):
    """The two erasure code libraries disagree."""

    kind = Kind.CORRUPT
    hint = "do not serve: reinstall pyeclib and zfec, and check the memory of this machine"


class _PyBuffer(ctypes.Structure):
    """CPython's Py_buffer: the only way to the address of a read-only buffer without a copy."""

    _fields_ = (
        ("buf", ctypes.c_void_p),
        ("obj", ctypes.c_void_p),
        ("len", ctypes.c_ssize_t),
        ("itemsize", ctypes.c_ssize_t),
        ("readonly", ctypes.c_int),
        ("ndim", ctypes.c_int),
        ("format", ctypes.c_char_p),
        ("shape", ctypes.c_void_p),
        ("strides", ctypes.c_void_p),
        ("suboffsets", ctypes.c_void_p),
        ("internal", ctypes.c_void_p),
    )


_get_buffer = ctypes.pythonapi.PyObject_GetBuffer
_get_buffer.argtypes = (ctypes.py_object, ctypes.POINTER(_PyBuffer), ctypes.c_int)
_get_buffer.restype = ctypes.c_int
_release_buffer = ctypes.pythonapi.PyBuffer_Release
_release_buffer.argtypes = (ctypes.POINTER(_PyBuffer),)
_release_buffer.restype = None


def _library_paths() -> list[str]:
    """Where ISA-L may be, best first."""
    try:
        files = metadata.files("pyeclib") or []
    except metadata.PackageNotFoundError:
        files = []
    bundled = [str(path.locate()) for path in files if path.name.startswith("libisal")]
    return [*bundled, "libisal.so.2"]


def _load_isal() -> Any:
    """ISA-L with its two functions declared, or None."""
    for path in _library_paths():
        try:
            library = ctypes.CDLL(path)
            library.ec_init_tables.argtypes = (
                ctypes.c_int,
                ctypes.c_int,
                ctypes.c_char_p,
                ctypes.c_char_p,
            )
            library.ec_init_tables.restype = None
            library.ec_encode_data.argtypes = (
                ctypes.c_int,
                ctypes.c_int,
                ctypes.c_int,
                ctypes.c_char_p,
                ctypes.c_void_p,
                ctypes.c_void_p,
            )
            library.ec_encode_data.restype = None
        except (OSError, AttributeError):
            continue
        return library
    return None


_ISAL = _load_isal()


@lru_cache(maxsize=32)
def _pointers(count: int) -> Any:
    return ctypes.c_void_p * count


def _unit_rows(k: int) -> list[bytes]:
    return [bytes(int(i == j) for j in range(k)) for i in range(k)]


class Codec:
    """One geometry's code.

    Args:
        geometry: 1 ≤ k, k + m ≤ 255.
        use_isal: False computes with zfec, as where ISA-L does not load.
    """

    def __init__(self, geometry: Geometry, *, use_isal: bool = True) -> None:
        self.geometry = geometry
        k, n = geometry.k, geometry.n
        self._encoder = zfec.Encoder(k, n)
        self._decoder = zfec.Decoder(k, n)
        self._parity_indexes = list(range(k, n))
        self._library: Any = _ISAL if use_isal else None
        self._decode_tables: dict[tuple[tuple[int, ...], tuple[int, ...]], Any] = {}
        if self._library is not None:
            rows = self._encoder.encode(_unit_rows(k), self._parity_indexes) if geometry.m else []
            self._parity_table = self._table(rows)

    @property
    def backend_name(self) -> str:
        """The library that computes: "isal" or "zfec"."""
        return "zfec" if self._library is None else "isal"

    def encode_into(self, cells: memoryview, cell_bytes: int) -> None:
        """Fill the parity cells.

        Args:
            cells: writable, at least n·cell_bytes contiguous bytes: k data cells, then room for m
                parity cells.
        """
        k, m, n = self.geometry.k, self.geometry.m, self.geometry.n
        assert cell_bytes > 0 and cells.nbytes >= n * cell_bytes
        if not m:
            return
        if self._library is None:
            sources = [cells[i * cell_bytes : (i + 1) * cell_bytes] for i in range(k)]
            parity = self._encoder.encode(sources, self._parity_indexes)
            cells[k * cell_bytes : n * cell_bytes] = b"".join(parity)
            return
        base = ctypes.addressof(ctypes.c_char.from_buffer(cells))
        pointers = _pointers(n)(*range(base, base + n * cell_bytes, cell_bytes))
        start = ctypes.addressof(pointers)
        self._library.ec_encode_data(
            cell_bytes, k, m, self._parity_table, start, start + k * ctypes.sizeof(ctypes.c_void_p)
        )

    def reconstruct(
        self, present: Mapping[int, Buffer], wanted: Sequence[int], cell_bytes: int
    ) -> dict[int, bytearray]:
        """Compute cells, or the same range of them, from k others.

        Args:
            present: verified cells by index, `cell_bytes` long each; k or more, the first k by
                index are used.
            wanted: indexes to compute, none of them in `present`.

        Returns:
            A fresh buffer of `cell_bytes` bytes for each wanted index.
        """
        k, n = self.geometry.k, self.geometry.n
        assert len(present) >= k and all(0 <= index < n for index in (*present, *wanted))
        sources = tuple(sorted(present)[:k])
        targets = tuple(wanted)
        assert all(memoryview(present[index]).nbytes == cell_bytes for index in sources)
        if self._library is None:
            blocks = [bytes(present[index]) for index in sources]
            cells = self._combine(blocks, sources, targets)
            return {index: bytearray(cell) for index, cell in zip(targets, cells, strict=True)}
        table = self._decode_table(sources, targets)
        out = {index: bytearray(cell_bytes) for index in targets}
        views: list[_PyBuffer] = []
        try:
            for index in sources:
                views.append(_PyBuffer())
                if _get_buffer(present[index], views[-1], 0):
                    raise BufferError(f"cell {index} is not contiguous")
            inputs = _pointers(k)(*[view.buf for view in views])
            outputs = _pointers(len(targets))(
                *[ctypes.addressof(ctypes.c_char.from_buffer(cell)) for cell in out.values()]
            )
            self._library.ec_encode_data(
                cell_bytes,
                k,
                len(targets),
                table,
                ctypes.addressof(inputs),
                ctypes.addressof(outputs),
            )
        finally:
            for view in views:
                if view.obj:
                    _release_buffer(view)
        return out

    def _combine(
        self, blocks: Sequence[bytes], sources: Sequence[int], targets: Sequence[int]
    ) -> list[bytes]:
        """Cells of `targets` by zfec; from unit vectors as blocks: rows of the matrix."""
        primary = self._decoder.decode(list(blocks), list(sources))
        parity = [index for index in targets if index >= self.geometry.k]
        computed = self._encoder.encode(primary, parity) if parity else []
        by_index = dict(zip(parity, computed, strict=True))
        return [bytes(by_index[i] if i in by_index else primary[i]) for i in targets]

    def _decode_table(self, sources: tuple[int, ...], targets: tuple[int, ...]) -> Any:
        key = (sources, targets)
        table = self._decode_tables.get(key)
        if table is None:
            rows = self._combine(_unit_rows(self.geometry.k), sources, targets)
            if len(self._decode_tables) >= DECODE_TABLES_MAX:
                self._decode_tables.clear()
            table = self._decode_tables[key] = self._table(rows)
        return table

    def _table(self, rows: Sequence[bytes]) -> Any:
        """ISA-L's multiplication tables of a matrix, 32 bytes for each coefficient."""
        k = self.geometry.k
        table = ctypes.create_string_buffer(max(1, 32 * k * len(rows)))
        if rows:
            self._library.ec_init_tables(k, len(rows), b"".join(rows), table)
        return table

    def self_check(self) -> None:
        """Prove on a fixed stripe that both libraries give the same cells; run at start.

        Raises:
            CodecMismatch: they differ, or a lost cell does not come back.
        """
        k, m, n = self.geometry.k, self.geometry.m, self.geometry.n
        cell = 67  # odd, so that vector code and its remainder both run
        cells = bytearray(n * cell)
        cells[: k * cell] = bytes((i * i * 7 + i * 31 + 5) & 0xFF for i in range(k * cell))
        view = memoryview(cells)
        self.encode_into(view, cell)
        blocks = [bytes(view[i * cell : (i + 1) * cell]) for i in range(n)]
        if [bytes(b) for b in self._encoder.encode(blocks[:k], list(range(n)))] != blocks:
            raise CodecMismatch(k=k, m=m, step="encode")
        lost = tuple(range(min(m, k)))
        present = {i: blocks[i] for i in range(n) if i not in lost}
        for index, got in self.reconstruct(present, lost, cell).items():
            if got != blocks[index]:
                raise CodecMismatch(k=k, m=m, step="decode")


def backend_name() -> str:
    """The library that codecs compute with on this machine: "isal" or "zfec"."""
    return "zfec" if _ISAL is None else "isal"


@lru_cache(maxsize=32)
def codec_for(geometry: Geometry) -> Codec:
    """The codec of a geometry, checked once."""
    codec = Codec(geometry)
    codec.self_check()
    return codec
