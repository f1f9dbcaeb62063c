"""Reading and writing audio files; the only room that knows soundfile.

Called by `speech_trainer.data` (samples, prepare, validate) and by recipes that write samples to
listen to. Formats: whatever libsndfile reads (WAV, FLAC, OGG, Opus, MP3).
"""

import errno
import io
import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import soundfile
import torch
from torch import Tensor

_SUBTYPE = "PCM_16"


@dataclass(frozen=True)
class AudioInfo:
    """What the header of an audio file says; nothing is decoded."""

    sample_rate: int  # Hz
    num_samples: int  # per channel
    channels: int

    @property
    def seconds(self) -> float:
        return self.num_samples / self.sample_rate


def open_regular(path: Path) -> io.BufferedReader:
    """Open a file that a manifest names, which can be anything: a pipe without a writer would hold a loader for ever.

    Raises: OSError, also for a pipe, a device or a socket.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    raise OSError(errno.EINVAL, "is no regular file", str(path))


def read_info(path: Path) -> AudioInfo:
    """Read the header of `path`.

    Raises: OSError when the file can't be opened, soundfile.LibsndfileError when it is no audio.
    """
    with open_regular(path) as stream:
        info = soundfile.info(stream)
    return AudioInfo(int(info.samplerate), int(info.frames), int(info.channels))


def read_audio(path: Path) -> tuple[Tensor, int]:
    """Decode `path` to mono float32: waveform [T] in -1..1 and its sample rate in Hz.

    Raises: OSError when the file can't be opened, soundfile.LibsndfileError when it can't be
    decoded.
    """
    with open_regular(path) as stream:
        samples, sample_rate = soundfile.read(stream, dtype="float32", always_2d=True)
    return torch.from_numpy(samples).mean(dim=1), int(sample_rate)


def write_takes(
    folder: Path, kinds: Sequence[str], takes: Iterable[Sequence[Tensor]], sample_rate: int
) -> tuple[Path, ...]:
    """Write waveforms [T] to listen to side by side, as `1-<kind>.wav` and on. Raises as `write_wav`."""
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    for number, take in enumerate(takes, start=1):
        for kind, waveform in zip(kinds, take, strict=True):
            path = folder / f"{number}-{kind}.wav"
            write_wav(path, waveform, sample_rate)
            written.append(path)
    return tuple(written)


def write_wav(path: Path, waveform: Tensor, sample_rate: int) -> None:
    """Write waveform [T] as 16-bit PCM; values outside -1..1 are clipped, NaN becomes silence.

    Raises: OSError, soundfile.LibsndfileError (disk full, folder missing).
    """
    samples = waveform.detach().to("cpu", torch.float32).nan_to_num(0.0).clamp(-1.0, 1.0).numpy()
    with path.open("wb") as stream:
        soundfile.write(stream, samples, sample_rate, format="WAV", subtype=_SUBTYPE)
