"""Chunks to packed chunks and back (spec chapter 6).

`Compressor` chooses a codec and packs; `Expander` takes any packed form back. A compressor is never believed: each
packed chunk is expanded again and compared with its source, and what does not come back is stored raw (C-4).

What to try is decided on a sample of 8 KiB, so that noise costs next to nothing: known floats go into planes of their
width, other known types are only entropy coded, and unknown bytes are judged at each stride and phase.

An expander trusts no size: what the header of a zstd frame declares is checked before zstd sees it (C-2), and the
caller's buffer says how long a chunk is.
"""

from __future__ import annotations

import enum
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import zstandard

from airbundle.codec import planes
from airbundle.codec.dtypes import Dtype
from airbundle.codec.entropy import SearchingCoder, literal_coder, placed
from airbundle.codec.survey import byte_cost, pieces_of, plane_costs
from airbundle.errors import FormatError
from airbundle.format.limits import CHUNK_MAX, WINDOW_MAX
from airbundle.stages import Stages

if TYPE_CHECKING:
    from airbundle.codec.planes import Bytes, Words

_MAGIC: Final = b"\x28\xb5\x2f\xfd"
_GAIN: Final = 256
"""A packed form has to save at least one byte in so many, or it is not worth expanding."""
_WORTH_TRYING: Final = 0.99
_NOISE: Final = 0.998
"""Bytes of unknown type that cost more, whatever their place in a word, are not looked at word by word."""
_CLOSE: Final = 0.01
"""Costs that differ by less are equal; the simpler form is taken."""
_WIDTHS: Final = (2, 4)
_REPEATING: Final = 0.25
"""A plane that costs less may be full of repeats, which are looked for; Huffman coding alone gives 0.125 at best."""
_HEADER_MAX: Final = 1 + 4 * 4
_GLANCE: Final = 64
_PLAN_USES: Final = 32
"""A survey costs as much as a digest; for chunks of one known type it is made once in so many."""

_TEXT_LEVEL: Final = 3


class Codec(enum.StrEnum):
    """The names of chapter 6, as they stand in a segment's index."""

    RAW = "raw"
    ZSTD = "zstd"
    PLANES2 = "planes-2"
    PLANES4 = "planes-4"
    FILLER = "filler"


_PLANES: Final = {Codec.PLANES2: 2, Codec.PLANES4: 4}


@dataclass(frozen=True, slots=True)
class _Plan:
    """What to try on one chunk: a codec, for planes their phase, and what each row of bytes costs by its sample."""

    codec: Codec
    phase: int = 0
    costs: tuple[float, ...] = ()

    @property
    def width(self) -> int:
        """Bytes of a word; 0 where there are no planes."""
        return _PLANES.get(self.codec, 0)


@dataclass(frozen=True, slots=True)
class _Recent:
    """A plan, how many chunks it was used for, and the packed share of the first of them."""

    plan: _Plan
    uses: int
    share: float


class Compressor:
    """Packs chunks. One per worker: it owns its contexts and buffers, and is not to be shared by threads."""

    def __init__(self, stages: Stages | None = None) -> None:
        self._stages = stages or Stages()
        self._literals, self._repeats = literal_coder(), SearchingCoder()
        self._text = zstandard.ZstdCompressor(level=_TEXT_LEVEL)
        self._scratch = planes.new_scratch()
        self._expander = Expander(scratch=self._scratch)  # what it takes counts as compare
        self._phases: dict[Dtype, int] = {}
        self._recent: dict[Dtype, _Recent] = {}
        self._packed = np.empty(CHUNK_MAX + _HEADER_MAX, np.uint8)
        self._plane = np.empty(CHUNK_MAX // min(_WIDTHS), np.uint8)
        self._again = np.empty(CHUNK_MAX, np.uint8)

    def compress(self, plain: memoryview, dtype: Dtype) -> tuple[Codec, memoryview]:
        """Pack a chunk of 1 byte to 1 MiB; the packed view is never longer than `plain`.

        The view is valid until the next call. For `Codec.RAW` it is `plain` itself. Raises FormatError for other sizes.
        """
        if not 1 <= plain.nbytes <= CHUNK_MAX:
            raise FormatError(f"a chunk of {plain.nbytes} bytes", rule="S-14")
        source = np.frombuffer(plain, np.uint8)
        plan = self._recent_plan(dtype) or self._plan(source, dtype)
        room = source.size - max(1, source.size // _GAIN)
        if plan.codec is Codec.ZSTD:
            size = self._pack_text(source, self._packed[:room]) if dtype is Dtype.UNKNOWN else (
                self._pack_bytes(source, plan.costs[0], self._packed[:room]))
        elif plan.width:
            size = self._pack_planes(source, plan, room)
        else:
            size = 0
        self._remember(dtype, plan, size / source.size)
        packed = self._packed[:size].data
        with self._stages("compare"):
            if size and self._comes_back(plan.codec, packed, source):
                return plan.codec, packed
        return Codec.RAW, plain

    def forget(self) -> None:
        """Survey anew. Called where a segment begins, so that its bytes depend on nothing before it."""
        self._phases.clear()
        self._recent.clear()

    def _recent_plan(self, dtype: Dtype) -> _Plan | None:
        """The plan of the chunks before, for a few chunks of a type that a header vouches for."""
        recent = self._recent.get(dtype)
        return recent.plan if recent is not None and recent.uses < _PLAN_USES else None

    def _remember(self, dtype: Dtype, plan: _Plan, share: float) -> None:
        """Keep a plan for as long as it packs as it did when it was made."""
        recent = self._recent.get(dtype)
        if dtype is Dtype.UNKNOWN or not plan.width:
            return
        if recent is None or recent.plan is not plan:
            self._recent[dtype] = _Recent(plan, 1, share)
        elif abs(share - recent.share) > _CLOSE:
            del self._recent[dtype]
        else:
            self._recent[dtype] = _Recent(plan, recent.uses + 1, recent.share)

    def _plan(self, source: Bytes, dtype: Dtype) -> _Plan:
        sample = pieces_of(source)
        if dtype in {Dtype.FLOAT8, Dtype.OPAQUE}:
            cost = byte_cost(sample)
            return _Plan(Codec.ZSTD, costs=(cost,)) if cost < _WORTH_TRYING else _Plan(Codec.RAW)
        if dtype is Dtype.UNKNOWN and len(sample) > 1 and byte_cost(sample) > _NOISE:
            return _Plan(Codec.ZSTD if self._frame_cost(source) < _WORTH_TRYING else Codec.RAW)
        widths = {Dtype.FLOAT16: (2,), Dtype.FLOAT32: (4,)}.get(dtype, _WIDTHS)
        best, plan = _WORTH_TRYING, _Plan(Codec.RAW)
        known = self._phases.get(dtype)
        for width in widths:
            # Chunks of one run of known floats have one phase: it is looked for once.
            phases = range(width) if known is None else (known,)
            costs = np.minimum(plane_costs(sample, width, phases), 1)
            # A phase that is off by one can look as good by its sample: phase 0 goes first.
            means = costs.mean(axis=1)
            means[1:] += _CLOSE / 2
            phase = int(np.argmin(means))
            # By their sample alone, 2-byte floats look a little better in 4 planes than they are: width 2 goes first.
            if costs[phase].mean() < best - (_CLOSE if plan.width else 0):
                best = float(costs[phase].mean())
                if dtype is not Dtype.UNKNOWN:
                    self._phases[dtype] = phase
                plan = _Plan(Codec.PLANES2 if width == 2 else Codec.PLANES4, phase, tuple(costs[phase].tolist()))
        if dtype is Dtype.UNKNOWN and self._frame_cost(source) < best + (_CLOSE if plan.width else 0):
            return _Plan(Codec.ZSTD)
        if not plan.width:
            self._phases.pop(dtype, None)
        return plan

    def _frame_cost(self, source: Bytes) -> float:
        """What zstd makes of two runs of 16 KiB, per byte: it finds the repeats that counting bytes does not show."""
        run = 1 << 14
        if source.size <= 2 * run:
            return len(self._text.compress(source.data)) / source.size
        starts = (source.size // 4, source.size // 4 * 3)
        sizes = [len(self._text.compress(source[at : at + run].data)) for at in starts]
        return sum(sizes) / (2 * run)

    def _pack_text(self, plain: Bytes, out: Bytes) -> int:
        """A frame of bytes of unknown type; 0 if it does not fit into `out`."""
        with self._stages("zstd"):
            return placed(self._text.compress(plain.data), out)

    def _pack_planes(self, source: Bytes, plan: _Plan, room: int) -> int:
        """The packed form of spec chapter 6, and its size; 0 if it would not fit into `room`."""
        width, phase = plan.width, plan.phase
        count = (source.size - phase) // width
        if count < 1:  # the plan is that of longer chunks
            return 0
        at = 1 + 4 * width
        self._packed[at : at + phase] = source[:phase]
        at += phase
        words, sizes = _words(source, phase, width), []
        for row, cost in enumerate(plan.costs):
            sizes.append(self._pack_plane(words, row, cost, self._packed[at : at + count]))
            at += sizes[-1]
        tail = source[phase + count * width :]
        self._packed[at : at + tail.size] = tail
        self._packed[: 1 + 4 * width] = np.frombuffer(struct.pack(f"<B{width}I", phase, *sizes), np.uint8)
        return at + tail.size if at + tail.size <= room else 0

    def _pack_plane(self, words: Words, row: int, cost: float, out: Bytes) -> int:
        """One plane, coded where that gains, in `out`, which has room for all of it; gives the bytes that it takes."""
        plane = self._plane[: out.size] if cost < _WORTH_TRYING else out
        with self._stages("planes"):
            planes.split_one(words, row, plane, self._scratch)
        if plane[:_GLANCE].max(initial=0) <= 1:  # zeros or signs, in floats that were made from shorter ones
            cost = 0
            if plane is out:
                plane = self._plane[: out.size]
                plane[:] = out
        if cost >= _WORTH_TRYING:
            return out.size
        size = self._pack_bytes(plane, cost, out[: out.size - out.size // _GAIN - 1])
        if not size:
            out[:] = plane
        return size or out.size

    def _pack_bytes(self, plain: Bytes, cost: float, out: Bytes) -> int:
        """A frame of bytes that cost so much by their sample; 0 if it does not fit into `out`."""
        coder = self._literals if cost >= _REPEATING else self._repeats
        with self._stages("zstd"):
            return coder.pack(plain, out)

    def _comes_back(self, codec: Codec, packed: memoryview, source: Bytes) -> bool:
        """C-4: whether `packed` expands to `source` again."""
        again = self._again[: source.size]
        try:
            self._expander.expand(codec, packed, again.data)
        except FormatError:
            return False
        return _are_equal(again, source)


class Expander:
    """Expands packed chunks. One per worker: it owns its context and scratch, and is not to be shared by threads."""

    def __init__(self, stages: Stages | None = None, *, scratch: Bytes | None = None) -> None:
        self._stages = stages or Stages()
        self._zstd = zstandard.ZstdDecompressor(max_window_size=WINDOW_MAX)
        self._scratch = planes.new_scratch() if scratch is None else scratch

    def expand(self, codec: Codec, packed: memoryview, out: memoryview) -> None:
        """Fill `out`, of as many bytes as the index says, from a packed chunk whose seal was opened (C-1).

        Raises FormatError if the packed form is not exactly that of chapter 6 (C-2, C-3); `out` then holds nothing
        of use.
        """
        if not 1 <= out.nbytes <= CHUNK_MAX or codec is Codec.FILLER:
            raise FormatError(f"a chunk of {out.nbytes} bytes, codec {codec}", rule="S-14")
        source, target = np.frombuffer(packed, np.uint8), np.frombuffer(out, np.uint8)
        match codec:
            case Codec.RAW:
                if source.size != target.size:
                    raise FormatError(f"a raw chunk of {target.size} bytes has {source.size}", rule="C-3")
                target[:] = source
            case Codec.ZSTD:
                target[:] = self._expand_frame(source, target.size)
            case Codec.PLANES2:
                self._expand_planes(source, target, 2)
            case Codec.PLANES4:
                self._expand_planes(source, target, 4)

    def _expand_planes(self, source: Bytes, target: Bytes, width: int) -> None:
        head = 1 + 4 * width
        if source.size < head:
            raise FormatError("a packed chunk ends within its header", rule="C-3")
        phase, *stored = struct.unpack_from(f"<B{width}I", source.data)
        if phase >= width:
            raise FormatError(f"phase {phase} in words of {width} bytes", rule="C-3")
        # A chunk that is shorter than its phase has a count below 0, and no length is within that.
        count, tail = divmod(target.size - phase, width)
        if head + phase + sum(stored) + tail != source.size or max(stored) > count:
            raise FormatError("the lengths in a packed chunk do not add up", rule="C-3")
        target[:phase] = source[head : head + phase]
        at = head + phase
        rows: list[Bytes] = []
        for size in stored:
            part = source[at : at + size]
            rows.append(part if size == count else self._expand_frame(part, count))
            at += size
        with self._stages("planes"):
            planes.join(rows, _words(target, phase, width), self._scratch)
        target[target.size - tail :] = source[at:]

    def _expand_frame(self, frame: Bytes, size: int) -> Bytes:
        """The `size` bytes of one zstd frame. Checked first, so that zstd allocates `size` bytes and no more (C-2)."""
        if frame[:4].tobytes() != _MAGIC:
            raise FormatError("not a zstd frame", rule="C-2")
        try:
            stated = zstandard.get_frame_parameters(frame.data)
        except zstandard.ZstdError:
            raise FormatError("the header of a zstd frame is cut off or wrong", rule="C-2") from None
        if stated.content_size != size:
            raise FormatError(f"a zstd frame of {size} bytes does not say so", rule="C-2")
        if stated.window_size > WINDOW_MAX:
            raise FormatError(f"a zstd frame wants a window of {stated.window_size} bytes", rule="C-2")
        if stated.dict_id != 0:
            raise FormatError("a zstd frame wants a dictionary", rule="C-2")
        try:
            with self._stages("zstd"):
                plain = self._zstd.decompress(frame.data, read_across_frames=False, allow_extra_data=False)
        except zstandard.ZstdError:
            raise FormatError("a zstd frame is not whole, or has bytes behind it", rule="C-2") from None
        if len(plain) != size:
            raise FormatError(f"a zstd frame of {size} bytes gives {len(plain)}", rule="C-2")
        return np.frombuffer(plain, np.uint8)


def _are_equal(one: Bytes, other: Bytes) -> bool:
    """Whether two buffers of one size hold the same; by words, and with the interpreter free for other threads."""
    words = one.size // 8 * 8
    return np.array_equal(one[:words].view(np.uint64), other[:words].view(np.uint64)) and (
        np.array_equal(one[words:], other[words:]))


def _words(chunk: Bytes, phase: int, width: int) -> Words:
    """The words of a chunk, without its first `phase` bytes and its tail."""
    return chunk[phase : phase + (chunk.size - phase) // width * width].view(planes.word_type(width))
