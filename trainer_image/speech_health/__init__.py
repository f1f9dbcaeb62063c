"""Pure detectors: samples in, findings out; no I/O and no clock of their own.

Used by the supervisor, and by whoever replays a log.
"""
