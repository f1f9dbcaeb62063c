"""Reporter (in the ranks); launcher and supervisor (beside them); exporter, outcome, log events.

No torch, no pydantic: it starts at once, and ships as a zipapp too.
"""
