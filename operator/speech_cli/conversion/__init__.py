"""PyTorchJob of kubeflow.org/v1 → SpeechTrainingJob. Pure: a document in, a document and notes out.

`job` joins the parts; `template` turns a pod template, `sources` its volumes and environment, `launching` its
command, `policies` the run policy; `notes` remembers what became of every field, so that none goes in silence.
Semantics of both sides: docs/cluster-cli.md.
"""
