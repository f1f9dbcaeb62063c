"""A neural codec: waveform → codes → waveform, by residual vector quantisation and, later, discriminators."""
