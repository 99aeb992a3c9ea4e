"""Made-up videos and a stand-in for a model, for the tests of cutting out."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from pycocotools import mask as rle

NTSC = Fraction(30000, 1001)


def result(mask: np.ndarray, certainty: float, category: int = 1) -> dict:
    """A COCO result with this mask, [H, W] of bool."""
    encoded = rle.encode(np.asfortranarray(mask, np.uint8))
    return {
        "category_id": category,
        "score": certainty,
        "bbox": [0, 0, 1, 1],
        "segmentation": encoded,
    }


def left_half(image: np.ndarray) -> list[dict]:
    """A model that is sure of the left half, and blind to dark images."""
    mask = np.zeros(image.shape[:2], bool)
    mask[:, : image.shape[1] // 2] = True
    return [result(mask, 0.9)] if image.mean() > 10 else []


def picture(index: int, height: int, width: int) -> np.ndarray:
    """Four flat quarters, their colours a little different in every picture; uint8 [H, W, 3]."""
    pixels = np.full((height, width, 3), (40, 80, 200), np.uint8)
    pixels[:, : width // 2] = 200, 60 + index % 60, 30
    pixels[: height // 2] = pixels[: height // 2] // 2 + 40
    return pixels


def film(
    path: Path,
    frames: int = 12,
    size: tuple[int, int] = (48, 64),
    codec: str = "libx264",
    pixels: str = "yuv420p",
    rate: Fraction = NTSC,
    audio: str | None = None,
    rotation: int = 0,
    times: list[int] | None = None,
    matrix: int = 5,
    full: bool = False,
    dark: int = 0,
) -> Path:
    """Write a video, the last ``dark`` frames of it black.

    ``times`` are thousandths of a frame's duration; ``rotation`` is how far a player turns it,
    counterclockwise; ``full`` uses all 256 levels instead of 16 to 235.
    """
    with av.open(f"file:{path}", "w") as out:
        video = out.add_stream(codec, rate=rate)
        video.height, video.width, video.pix_fmt = *size, pixels
        video.codec_context.time_base = 1 / rate / (1000 if times else 1)
        video.codec_context.colorspace, video.codec_context.color_range = matrix, 2 if full else 1
        if rotation:
            video.set_display_rotation(rotation)
        sound = out.add_stream(audio, rate=48000) if audio else None
        for index in range(frames):
            shown = (
                picture(index, *size) if index < frames - dark else np.zeros((*size, 3), np.uint8)
            )
            frame = av.VideoFrame.from_ndarray(shown, format="rgb24").reformat(
                format=pixels, dst_colorspace=matrix, dst_color_range=2 if full else 1
            )
            frame.pts, frame.time_base = (
                times[index] if times else index,
                video.codec_context.time_base,
            )
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
        if sound:
            _play(out, sound, float(frames / rate))
    return path


def _play(out: av.container.OutputContainer, sound: av.AudioStream, seconds: float) -> None:
    """A tone of 440 Hz."""
    resampler = av.AudioResampler(
        format=sound.format,
        layout=sound.layout,
        rate=48000,
        frame_size=sound.codec_context.frame_size or 1024,
    )
    wave = np.sin(np.arange(int(48000 * seconds)) * (2 * np.pi * 440 / 48000)).astype(np.float32)
    tone = av.AudioFrame.from_ndarray(wave[None], format="fltp", layout="mono")
    tone.sample_rate, tone.pts = 48000, 0
    for frame in [*resampler.resample(tone), *resampler.resample(None)]:
        out.mux(sound.encode(frame))
    out.mux(sound.encode(None))


def watched(path: Path) -> tuple[list[np.ndarray], list[Fraction], Fraction]:
    """Every frame [H, W, 4] as RGBA of uint8, its time in seconds, and the frame rate."""
    with av.open(f"file:{path}") as source:
        video = source.streams.video[0]
        frames = list(source.decode(video))
        return (
            [frame.to_ndarray(format="rgba") for frame in frames],
            [frame.pts * frame.time_base for frame in frames],
            video.average_rate,
        )


def heard(path: Path) -> list[tuple[str, bytes]]:
    """The codec and the packed bytes of every audio stream."""
    with av.open(f"file:{path}") as source:
        streams = source.streams.audio
        packed = {stream.index: b"" for stream in streams}
        for packet in source.demux(*streams) if streams else ():
            packed[packet.stream.index] += bytes(packet) if packet.size else b""
        return [(stream.codec_context.name, packed[stream.index]) for stream in streams]
