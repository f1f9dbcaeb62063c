"""Wrappers around transformers' models; besides recipes the only place that imports transformers."""
