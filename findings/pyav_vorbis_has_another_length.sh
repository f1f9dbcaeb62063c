#!/bin/sh
# av 18.1.0 (FFmpeg), decoding Ogg Vorbis that soundfile 0.14.0 (libsndfile 1.2.2) wrote: the number of samples is not the
# one that was written, and that both libraries give as the file's length. A short clip gets more samples behind its end,
# a longer one that begins in silence loses some; what both have is equal to 1e-6. soundfile reads exactly what was written.
# Codes, alignments and durations that were made with one reader do not fit the audio of the other:
#   noise, 0.77 s at 16 kHz: written 12345, soundfile 12345, av 12544
#   tone after 0.5 s of silence, 2 s at 24 kHz: written 48000, soundfile 48000, av 47744
packages="av==18.1.0 soundfile==0.14.0 numpy==2.3.5"
. "$(dirname "$0")/environment.sh"
cat > probe.py <<'PY'
import av
import numpy as np
import soundfile


def lengths(name, samples, rate):
    soundfile.write("clip.ogg", samples, rate, subtype="VORBIS")
    one, _ = soundfile.read("clip.ogg", dtype="float32")
    with av.open("clip.ogg") as file:
        stream = file.streams.audio[0]
        stated = round(stream.duration * stream.time_base * rate)
        other = np.concatenate([frame.to_ndarray()[0] for frame in file.decode(stream)])
    both = min(len(one), len(other))
    assert np.abs(one[:both] - other[:both]).max() < 1e-6, "not the same audio"
    assert stated == len(samples) == len(one), (stated, len(samples), len(one))
    print(f"{name}: written {len(samples)}, soundfile {len(one)}, av {len(other)}")
    return len(other) - len(samples)


noise = 0.1 * np.random.default_rng(0).standard_normal(12345)
time = np.arange(48000) / 24000
tone = 0.1 * np.sin(2 * np.pi * 440 * time) * (time > 0.5)
more = lengths("noise, 0.77 s at 16 kHz", noise, 16000)
fewer = lengths("tone after 0.5 s of silence, 2 s at 24 kHz", tone, 24000)
assert (more, fewer) == (199, -256), (more, fewer)
PY
"$python" probe.py
