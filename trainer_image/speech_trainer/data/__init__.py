"""Manifests, synthesized speech, preparation, validation and the resumable training stream."""
