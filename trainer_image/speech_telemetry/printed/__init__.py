"""What training scripts print, read: numbers, names, formats, counters, and the reader that joins them."""

from speech_telemetry.printed.reader import LineReader

__all__ = ["LineReader"]
