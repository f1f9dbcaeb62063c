"""Checks on the real model and real batches before the first step. `engine.loop` calls `preflight.run`."""
