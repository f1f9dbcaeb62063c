"""The `speechtrain` command: what a person types, and what they read back.

`main` dispatches to one module a command in `commands`; `rendering` turns job documents into words and never
touches a process or a file; `local` and `run_directory` are the two edges.
"""
