"""Cutting objects out of a video, frame by frame."""

import errno
import io
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType

import av
import numpy as np
from av.codec.codec import UnknownCodecError
from av.container import InputContainer, OutputContainer
from av.error import FFmpegError, InvalidDataError
from av.stream import Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from byol_helpers.background.compositing import cover_size
from byol_helpers.core.errors import UserError
from byol_helpers.core.files import replacing
from byol_helpers.core.progress import Progress
from byol_helpers.cutout.cutter import Cutter, WrittenCutout, get_video_suffix

# ffmpeg opens many more, among them lists that name other files or addresses.
READING = {
    "format_whitelist": (
        "3g2,3gp,asf,avi,flv,m4a,matroska,mj2,mov,mp4,mpeg,mpegts,mpegvideo,ogg,webm"
    ),
    "protocol_whitelist": "file",
}
# Container, codec, its options, pixel formats for even and for odd sizes (4:2:0 needs even ones).
TRANSPARENT = (
    "mov",
    "prores_ks",
    {"profile": "4444", "alpha_bits": "8"},
    "yuva444p10le",
    "yuva444p10le",
)
OPAQUE = ("mp4", "libx264", {"crf": "18", "preset": "veryfast"}, "yuv420p", "yuv444p")
# Numbers of colour matrices, as in AVColorSpace.
BT709 = 1
BT601 = 5
NEARLY = 0.95  # a video that ends before this share of its length is cut off
MATRICES = {1: BT709, 4: 4, 5: BT601, 6: BT601, 7: 7, 9: 9}


def cut_video(
    path: Path, target: Path, predict: Callable[[np.ndarray], list[dict]], cutter: Cutter
) -> WrittenCutout:
    """Remove the background of every frame of a video; objects are chosen anew in each.

    A transparent cut-out is ProRes 4444 in a .mov, which editors take and every decoder reads with
    its alpha (8 bits); about 130 kB for a frame of 640 x 480. Any other is H.264 in an .mp4. Time
    stamps, frame rate, shape of the pixels and colour matrix are those of the video; its rotation
    is applied. Audio is copied untouched where the container takes it; what is left out is remarked
    upon. The memory does not depend on the length. The file appears under its name once it is
    whole, so a video that was interrupted is done again.

    Args:
        path: a video file in one of the formats of ``READING``.
        target: where to write; replaced if it is there.
        predict: from a frame [H, W, 3], uint8, RGB, upright, to COCO results.
        cutter: what to keep and what to put in place of the rest.

    Raises:
        UserError: not a video, broken, or frames of different sizes.
        OSError: the disk is full.
    """
    with _open_video(path) as (source, video):
        first = next(filter(None, _decode_frames(source, video)), None)
    if first is None:
        raise UserError(f"{path}: no frame in it decodes; replace or remove it")
    size = _read_upright(first).shape[:2]
    if isinstance(cutter.background, np.ndarray):
        cutter = replace(cutter, background=cover_size(cutter.background, size))
    container = _choose_output(cutter)[0]
    with (
        _open_video(path) as (source, video),
        replacing(target) as part,
        av.open(f"file:{part}", "w", format=container) as out,
    ):
        encoder = _add_encoder(out, video, first, cutter)
        copies, left_out = _copy_audio_streams(source, video, out)
        length = _get_length(source, video)
        expected = video.frames or round(length * _get_rate(video))
        progress = Progress(f"cutout {path.name!a}", expected, "frames")
        frames = 0
        empty = 0
        broken = 0
        seconds = Fraction(0)
        for frame in _decode_frames(source, video, copies, out):
            if frame is None:
                broken += 1
                continue
            image = _read_upright(frame)
            if image.shape[:2] != size:
                raise UserError(f"{path}: its frames differ in size; convert it to one size")
            cut, found = cutter.cut(image, predict(image))
            frames += 1
            empty += not found
            seconds = _get_time(frame) - _get_time(first)
            out.mux(encoder.encode(_make_encodable(cut, frame, encoder)))
            progress.update()
        out.mux(encoder.encode(None))
        progress.total = frames
        progress.close()
    remarks = []
    if left_out:
        remarks.append(f"left out, because .{container} does not take it: {', '.join(left_out)}")
    short = seconds + 1 / _get_rate(video) < NEARLY * length
    if broken or short:
        of = f", {float(seconds):.1f} of {length:.1f} s" if short else ""
        remarks.append(f"cut off or broken: {frames} frames could be read{of}")
    if empty:
        remarks.append(f"{cutter.nothing_found} in {empty} of {frames} frames; these are empty")
    return WrittenCutout(empty < frames, remarks)


def _choose_output(cutter: Cutter) -> tuple[str, str, dict[str, str], str, str]:
    return TRANSPARENT if get_video_suffix(cutter) == ".mov" else OPAQUE


@contextmanager
def _open_video(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open a video and its best stream of images; what ffmpeg complains of is one line."""
    if path.stat().st_size == 0:
        raise UserError(f"{path}: the file is empty; replace or remove it")
    opened = False
    try:
        with av.open(f"file:{path}", options=READING, metadata_errors="replace") as source:
            video = source.streams.best("video")
            opened = True
            if not isinstance(video, VideoStream):
                raise UserError(f"{path}: no video in it; replace or remove it")
            video.thread_type = "AUTO"
            yield source, video
    except FFmpegError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise OSError(error.errno, os.strerror(error.errno)) from None
        if not opened:
            raise UserError(
                f"{path}: not a video of a known format, or cut off; convert it to MP4 or remove it"
            ) from None
        raise UserError(
            f"{path}: does not decode ({error.strerror}); replace or remove it"
        ) from None


def _decode_frames(
    source: InputContainer,
    video: VideoStream,
    copies: Mapping[int, Stream] = MappingProxyType({}),
    out: OutputContainer | None = None,
) -> Iterator[VideoFrame | None]:
    """The decoded frames, with time stamps that grow, and None for what does not decode.

    Packets of the streams in ``copies`` are passed on meanwhile.
    """
    time_base = _get_time_base(video)
    step = max(1, round(1 / (_get_rate(video) * time_base)))
    before = None
    for packet in source.demux(video, *(source.streams[index] for index in copies)):
        if packet.stream.index != video.index:
            if out is not None and packet.dts is not None:
                packet.stream = copies[packet.stream.index]
                out.mux(packet)
            continue
        try:
            decoded = packet.decode()
        except InvalidDataError:
            yield None
            continue
        for frame in decoded:
            if not isinstance(frame, VideoFrame):
                continue
            if frame.pts is None:
                frame.pts = 0 if before is None else before + step
            elif before is not None and frame.pts <= before:
                frame.pts = before + 1
            before = frame.pts
            frame.time_base = time_base
            yield frame


def _add_encoder(
    out: OutputContainer, video: VideoStream, first: VideoFrame, cutter: Cutter
) -> VideoStream:
    """The stream of images in the cut-out, like that of the video."""
    _, codec, options, even, odd = _choose_output(cutter)
    try:
        stream = out.add_stream(codec, rate=_get_rate(video), options=dict(options))
    except UnknownCodecError:
        raise UserError(
            f"{codec}: not in this build of ffmpeg; install the package av from PyPI, or choose "
            "another fill"
        ) from None
    if not isinstance(stream, VideoStream):
        raise TypeError(f"{codec} is no codec of videos")
    height, width = _read_upright(first).shape[:2]
    stream.height = height
    stream.width = width
    stream.pix_fmt = odd if height % 2 or width % 2 else even
    stream.time_base = _get_time_base(video)
    stream.codec_context.time_base = _get_time_base(video)
    shape = video.sample_aspect_ratio
    if shape:
        stream.codec_context.sample_aspect_ratio = 1 / shape if first.rotation % 180 else shape
    stream.codec_context.colorspace = _get_matrix(first)
    stream.codec_context.color_primaries = video.codec_context.color_primaries
    stream.codec_context.color_trc = video.codec_context.color_trc
    return stream


def _copy_audio_streams(
    source: InputContainer, video: VideoStream, out: OutputContainer
) -> tuple[dict[int, Stream], list[str]]:
    """Streams of the cut-out for the audio that it takes, by index; in words, what is left out."""
    copies = {}
    left_out = []
    for stream in source.streams:
        codec = stream.codec_context.name if stream.codec_context else "unknown"
        if stream.type == "audio" and _takes_audio(out.format.name, codec, stream):
            copies[stream.index] = out.add_stream_from_template(stream)
        elif stream.index != video.index:
            left_out.append(f"{stream.type} ({codec})")
    return copies, left_out


def _takes_audio(container: str, codec: str, audio: Stream) -> bool:
    """Whether a container takes an audio stream as it is: found out by writing a header with it."""
    if container == "mp4" and codec.startswith("pcm_"):
        return False  # some only fails at the end of the file, and few players expect it
    try:
        with av.open(io.BytesIO(), "w", format=container) as trial:
            trial.add_stream_from_template(audio)
            trial.start_encoding()
    except (FFmpegError, ValueError):
        return False
    return True


def _make_encodable(cut: np.ndarray, frame: VideoFrame, encoder: VideoStream) -> VideoFrame:
    """A cut-out as the encoder takes it, at the time of the frame it was made of."""
    made = VideoFrame.from_ndarray(
        np.ascontiguousarray(cut), format="rgba" if cut.shape[2] == 4 else "rgb24"
    )
    made = made.reformat(format=encoder.pix_fmt, dst_colorspace=_get_matrix(frame))
    made.pts = frame.pts
    made.time_base = frame.time_base
    return made


def _read_upright(frame: VideoFrame) -> np.ndarray:
    """The image of a frame as a player shows it, [H, W, 3], uint8, RGB."""
    pixels = frame.to_ndarray(
        format="rgb24", src_colorspace=_get_matrix(frame), src_color_range=frame.color_range
    )
    return np.ascontiguousarray(np.rot90(pixels, round(frame.rotation / 90)))


def _get_matrix(frame: VideoFrame) -> int:
    """The colour matrix of a frame; where none is named, BT.709 for HD and BT.601 below."""
    return MATRICES.get(frame.colorspace, BT709 if frame.height > 576 else BT601)


def _get_rate(video: VideoStream) -> Fraction:
    """Frames a second; 25 where the file does not tell, which only guides the encoder."""
    return video.average_rate or video.guessed_rate or Fraction(25)


def _get_time_base(video: VideoStream) -> Fraction:
    """Seconds of one unit of the time stamps."""
    if video.time_base is None:
        raise UserError("a video without a unit of time; convert it to MP4 or remove it")
    return video.time_base


def _get_time(frame: VideoFrame) -> Fraction:
    """Seconds at which a frame is shown; ``_decode_frames`` sees to it that it has a time."""
    return (frame.pts or 0) * (frame.time_base or Fraction(0))


def _get_length(source: InputContainer, video: VideoStream) -> float:
    """Seconds that the images last by the file's own account; 0 where it gives none."""
    # In a MOV, the frames that an editor cut away count too.
    if video.frames and "mov" not in source.format.name:
        return float(video.frames / _get_rate(video))
    if video.duration and video.time_base:
        return float(video.duration * video.time_base)
    # Matroska and WebM.
    stated = re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d+)?)", video.metadata.get("DURATION", ""))
    if not stated:
        return 0.0
    hours, minutes, seconds = map(float, stated.groups())
    return hours * 3600 + minutes * 60 + seconds
