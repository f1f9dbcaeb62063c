"""Audio files, spectrograms and the distances that evaluation reports."""
