"""The `speechtrain` command: the same verbs on a local run and on a cluster."""
