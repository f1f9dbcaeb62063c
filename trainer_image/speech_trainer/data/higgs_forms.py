"""One sample of the Higgs community's two forms, as a recording with its words and, maybe, its reference. Pure.

    metadata.json   {"samples": [{"id", "audio_file", "transcript_file", "duration", "speaker_id", "language",
                     "ref_audio_file", "ref_transcript" | "ref_speakers", …}]}; its trainers' own form
    ms-swift        {"messages": [{"role", "content"}, …], "audios": ["a.wav", …]}, a line each; `<audio>` in a
                    message stands for the next of `audios`

Read by `data.higgs`. What has no place in a manifest is counted by its field in `dropped`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

AUDIO: Final = "<audio>"
THINK: Final = "<think>"  # where converters of a reasoning model's data left it
UNKNOWN: Final = ("unknown", "unknown_speaker", "default", "none")  # what stands for "nobody said"
_TAKEN: Final = {
    "id", "audio_file", "transcript_file", "transcript", "duration", "speaker_id", "speaker_name", "language",
    "ref_audio_file", "ref_transcript", "ref_speakers",
}  # fmt: skip

Dropped = Counter[str]


class BadField(Exception):
    """A field that nothing can be made of. `str(error)` names field, value, rule and remedy."""

    def __init__(self, field: str, value: object, rule: str, remedy: str) -> None:
        self.field, self.value, self.rule, self.remedy = field, value, rule, remedy
        super().__init__(f"{field}: {value!r} {rule}; {remedy}")


@dataclass(frozen=True)
class Take:
    """A recording and its words. `field`: where it is named. `seconds` 0: not said. "" = not said."""

    audio: Path
    field: str
    text: str
    seconds: float = 0.0
    speaker: str = ""
    language: str = ""
    name: str = ""


Pair = tuple[Take, Take | None]  # what is to be spoken, and like whom


def pair_of_sample(sample: Any, home: Path, dropped: Dropped) -> Pair:
    """A sample of metadata.json, which lies in the folder `home`. Raises: BadField."""
    if not isinstance(sample, Mapping):
        raise BadField("sample", sample, "is no JSON object", 'write {"audio_file": "a.wav", …}')
    dropped.update(name for name, value in sample.items() if name not in _TAKEN and value)
    named = sample.get("speaker_id")
    if named not in (None, "") and sample.get("speaker_name"):
        dropped["speaker_name"] += 1
    target = Take(
        audio=home / _string(sample, "audio_file"),
        field="audio_file",
        text=_transcript(sample, home),
        seconds=_seconds(sample),
        speaker=_speaker(named or sample.get("speaker_name"), dropped),
        language=str(sample.get("language") or ""),
        name=str(sample.get("id") or ""),
    )
    return target, _reference(sample, target, home, dropped)


def _reference(
    sample: Mapping[str, Any], target: Take, home: Path, dropped: Dropped
) -> Take | None:
    """Its own, or that of its speaker among those of several speakers."""
    several = sample.get("ref_speakers")
    if several:
        if not isinstance(several, list) or not all(isinstance(one, Mapping) for one in several):
            rule = "is no list of objects"
            raise BadField("ref_speakers", several, rule, "name one reference in ref_audio_file")
        own = [one for one in several if str(one.get("speaker_id")) == target.speaker]
        dropped["ref_speakers of others"] += len(several) - len(own[:1])
        return _reference_of(own[0], "ref_speakers.", target, home) if own else None
    return _reference_of(sample, "", target, home)


def _reference_of(found: Mapping[str, Any], place: str, target: Take, home: Path) -> Take | None:
    if not found.get("ref_audio_file"):
        return None
    return Take(
        audio=home / _string(found, "ref_audio_file", place),
        field=f"{place}ref_audio_file",
        text=str(found.get("ref_transcript") or "").strip(),
        speaker=target.speaker,
        language=target.language,
    )


def _transcript(sample: Mapping[str, Any], home: Path) -> str:
    """Of the file that the sample names, or in the sample itself."""
    if not sample.get("transcript_file"):
        text, field = str(sample.get("transcript") or ""), "transcript"
        value: object = sample.get("transcript")
    else:
        field, value = "transcript_file", sample["transcript_file"]
        try:
            text = (home / _string(sample, field)).read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            rule = f"can't be read ({error})"
            raise BadField(
                field, value, rule, "paths are relative to metadata.json, texts are UTF-8"
            ) from error
    if not text.strip():
        raise BadField(
            field, value, "says nothing", "write what is spoken, or leave the sample out"
        )
    return text.strip()


def _seconds(sample: Mapping[str, Any]) -> float:
    value = sample.get("duration") or 0.0
    if (
        not isinstance(value, int | float)
        or isinstance(value, bool)
        or not math.isfinite(value)
        or value < 0
    ):
        rule = "is no number of seconds"
        raise BadField("duration", value, rule, "write seconds, or leave it out: the file has them")
    return float(value)


def _speaker(value: object, dropped: Dropped) -> str:
    """Two people whom nobody named are not one speaker."""
    name = str(value) if value not in (None, "") else ""
    if name.lower() in UNKNOWN:
        dropped[f"speaker {name!r}"] += 1
        return ""
    return name


def _string(record: Mapping[str, Any], field: str, place: str = "") -> str:
    value = record.get(field)
    if not isinstance(value, str) or not value:
        rule = "is missing" if value in (None, "") else "is no string"
        raise BadField(f"{place}{field}", value, rule, "name a file, relative to this one")
    return value


# -- ms-swift ---------------------------------------------------------------------------------------------------------


def pair_of_messages(record: Any, home: Path, dropped: Dropped) -> Pair:
    """A line of ms-swift's JSONL, which lies in the folder `home`. Raises: BadField."""
    if not isinstance(record, Mapping):
        remedy = 'write {"messages": […], "audios": […]}'
        raise BadField("line", record, "is no JSON object", remedy)
    known = {"messages", "audios", "speaker", "speaker_id", "language"}
    dropped.update(name for name, value in record.items() if name not in known and value)
    messages, audios = _messages(record), _audios(record)
    spoken = list(_spoken(messages, audios, dropped))
    if not 1 <= len(spoken) <= 2:
        rule = f"speak {len(spoken)} recordings"
        remedy = "one is a target, two are a reference and its target; cut longer dialogues"
        raise BadField("messages", None, rule, remedy)
    dropped["audios that nobody speaks"] += len(audios) - len(spoken)
    speaker = _speaker(record.get("speaker_id") or record.get("speaker"), dropped)
    language = str(record.get("language") or "")
    takes = [
        Take(home / audio, f"audios[{place}]", text, speaker=speaker, language=language)
        for text, audio, place in spoken
    ]
    if not takes[-1].text:
        raise BadField("messages", None, "say no word of the recording", "write what is spoken")
    return takes[-1], takes[0] if len(takes) == 2 else None


def _spoken(
    messages: Sequence[tuple[str, str]], audios: Sequence[str], dropped: Dropped
) -> Iterator[tuple[str, str, int]]:
    """Words, recording and its number, in order: those beside `<audio>`, else those of the turn that belongs to it.

    An assistant's recording says its own words or those it was asked for; one in a question is written down by the
    answer; a single recording that no message places is what the assistant says.
    """
    marks = sum(content.count(AUDIO) for _, content in messages)
    if marks == 0 and len(audios) == 1:
        messages = [(role, content + AUDIO * (role == "assistant")) for role, content in messages]
        marks = sum(content.count(AUDIO) for _, content in messages)
    if marks != len(audios):
        rule = f"are {len(audios)} for {marks} {AUDIO} in the messages"
        raise BadField("audios", list(audios), rule, "write one mark for each recording")
    asked, heard, number = "", False, 0
    for role, content in messages:
        words = _words(content, dropped)
        times = content.count(AUDIO)
        if times > 1:
            raise BadField("messages", content, "holds several recordings", "give each a message")
        if role == "assistant" and times:
            yield words or asked, audios[number], number
        elif role == "assistant" and heard:
            yield words, audios[number - 1], number - 1
        elif words and (role == "system" or times):
            dropped[f"words of the {role}"] += 1
        number += times
        asked, heard = (words, bool(times)) if role == "user" else ("", False)


def _words(content: str, dropped: Dropped) -> str:
    if THINK in content:
        dropped[THINK] += 1
    return content.replace(AUDIO, "").replace(THINK, "").strip()


def _messages(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    found = record.get("messages")
    remedy = 'write [{"role": "user", "content": "…"}, …]'
    if not isinstance(found, list) or not found:
        raise BadField("messages", found, "is no list of messages", remedy)
    for number, message in enumerate(found):
        fields = message if isinstance(message, Mapping) else {}
        if not all(isinstance(fields.get(key), str) for key in ("role", "content")):
            raise BadField(
                f"messages[{number}]", message, "has no role and content in words", remedy
            )
    return [(message["role"], message["content"]) for message in found]


def _audios(record: Mapping[str, Any]) -> list[str]:
    found = record.get("audios")
    if isinstance(found, str):
        found = [found]
    if not isinstance(found, list) or not found or not all(isinstance(a, str) and a for a in found):
        raise BadField("audios", found, "is no list of files", 'write ["a.wav"]')
    return found
