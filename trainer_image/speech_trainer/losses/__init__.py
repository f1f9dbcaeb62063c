"""Losses that recipes put together; pure functions of tensors."""
