"""`report.html`: one run on one page that needs no network. Standard library only; ships with the supervisor.

`curves` joins the rows of a run, `folder` reads a run directory, `charts` and `page` make the page of it. Written by
the supervisor through `python -m speech_telemetry.report`, and by `speechtrain report`, of foreign logs too.
"""
