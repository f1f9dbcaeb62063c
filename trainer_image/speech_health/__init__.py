"""Pure detectors: samples in, findings out. Used by the supervisor and by `speechtrain replay`; no I/O, no clock of its own."""
