"""espeak-ng in a process of its own: text to IPA and 16-bit speech, with no system package.

The library keeps global state, is not thread-safe and may abort its process, so `Espeak` talks to a child
(`python -m speech_trainer.data.espeak`) over pipes: a JSON line in, a JSON line and raw samples out.
Deterministic: the same request gives the same samples. The library comes from `espeakng-loader`.
"""

import contextlib
import ctypes
import dataclasses
import json
import subprocess
import sys
from types import TracebackType
from typing import Any, BinaryIO, Final, Self

from speech_trainer.errors import DataError

_SYNCHRONOUS: Final = 2  # AUDIO_OUTPUT_SYNCHRONOUS: samples go to the callback, none to a device
_UTF8: Final = 1  # espeakCHARS_UTF8
_CHARACTERS: Final = 1  # POS_CHARACTER
_IPA: Final = 2  # phoneme mode: international phonetic alphabet
_RATE: Final = 1  # espeakRATE, words per minute
_PITCH: Final = 3  # espeakPITCH, 0-100
_INSTALL: Final = "install the trainer extra: pip install 'speechtrain[trainer]'"


@dataclasses.dataclass(frozen=True)
class SpeechRequest:
    """One sentence for one voice, such as `te` or `te+f3`."""

    text: str
    voice: str
    words_per_minute: int = 160
    pitch: int = 50


@dataclasses.dataclass(frozen=True)
class Speech:
    """16-bit little-endian mono samples, their rate in Hz, and the IPA that was spoken."""

    pcm: bytes
    sample_rate: int
    phonemes: str


class Espeak:
    """A speaking child process; use as a context manager."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "speech_trainer.data.espeak"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        process = self._child()
        with contextlib.suppress(BrokenPipeError):  # it already ended; its code was reported
            self._stream(process.stdin).close()
        self._stream(process.stdout).close()
        process.wait()

    def say(self, request: SpeechRequest) -> Speech:
        """Speak one sentence. Raises: DataError for an unknown voice or a dead library."""
        process = self._child()
        line = json.dumps(dataclasses.asdict(request)).encode() + b"\n"
        try:
            stdin = self._stream(process.stdin)
            stdin.write(line)
            stdin.flush()
        except BrokenPipeError as error:
            raise self._ended(request) from error
        stdout = self._stream(process.stdout)
        header = stdout.readline()
        if not header:
            raise self._ended(request)
        answer = json.loads(header)
        if "error" in answer:
            raise DataError(answer["error"])
        return Speech(stdout.read(answer["bytes"]), answer["sample_rate"], answer["phonemes"])

    def _child(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "use Espeak as a context manager"
        return self._process

    def _ended(self, request: SpeechRequest) -> DataError:
        code = self._child().wait()
        return DataError(f"text: {request.text!r} ended espeak-ng with code {code}; {_INSTALL}")

    @staticmethod
    def _stream(stream: Any) -> BinaryIO:
        assert stream is not None
        return stream  # type: ignore[no-any-return]


class _Library:
    """The child's side: ctypes over espeak-ng's speak_lib.h."""

    def __init__(self) -> None:
        import espeakng_loader  # the child alone needs it

        self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        data = espeakng_loader.get_data_path().encode()
        self.sample_rate: int = self._library.espeak_Initialize(_SYNCHRONOUS, 0, data, 0)
        if self.sample_rate <= 0:
            raise OSError(f"espeak_Initialize gave {self.sample_rate}")
        self._chunks: list[bytes] = []
        kind = ctypes.CFUNCTYPE(
            ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
        )
        self._callback = kind(self._collect)  # kept alive: C holds no reference
        self._library.espeak_SetSynthCallback(self._callback)
        self._library.espeak_TextToPhonemes.restype = ctypes.c_char_p

    def _collect(self, samples: Any, count: int, _events: Any) -> int:
        if samples and count > 0:
            self._chunks.append(ctypes.string_at(samples, count * 2))
        return 0

    def speak(self, request: SpeechRequest) -> Speech:
        if self._library.espeak_SetVoiceByName(request.voice.encode()) != 0:
            remedy = "use a language code, with +f1..f5 or +m1..m8 for another speaker"
            raise DataError(f"voice: {request.voice!r} is unknown to espeak-ng; {remedy}")
        self._library.espeak_SetParameter(_RATE, request.words_per_minute, 0)
        self._library.espeak_SetParameter(_PITCH, request.pitch, 0)
        # The library seeds itself by the clock; the same request must give the same samples.
        self._library.espeak_ng_SetRandSeed(ctypes.c_long(0))
        self._chunks.clear()
        text = request.text.encode()
        self._library.espeak_Synth(text, len(text) + 1, 0, _CHARACTERS, 0, _UTF8, None, None)
        self._library.espeak_Synchronize()
        return Speech(b"".join(self._chunks), self.sample_rate, self._phonemes(text))

    def _phonemes(self, text: bytes) -> str:
        buffer = ctypes.create_string_buffer(text)
        rest = ctypes.c_void_p(ctypes.addressof(buffer))
        clauses = []
        while rest.value:  # the library moves it to the next clause, and to NULL at the end
            clause = self._library.espeak_TextToPhonemes(ctypes.byref(rest), _UTF8, _IPA)
            clauses.append((clause or b"").decode())
        return " ".join(part for part in clauses if part)


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer requests until the pipe closes. Runs in the child."""
    library = _Library()
    for line in requests:
        try:
            speech = library.speak(SpeechRequest(**json.loads(line)))
        except DataError as error:
            header: dict[str, Any] = {"error": str(error)}
            pcm = b""
        else:
            pcm = speech.pcm
            header = {
                "bytes": len(pcm),
                "sample_rate": speech.sample_rate,
                "phonemes": speech.phonemes,
            }
        answers.write(json.dumps(header).encode() + b"\n" + pcm)
        answers.flush()


if __name__ == "__main__":
    serve(sys.stdin.buffer, sys.stdout.buffer)
