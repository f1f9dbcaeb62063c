"""Reporter (in the ranks), supervisor and launcher (beside them), exporter, outcome, log events. No torch, no pydantic."""
