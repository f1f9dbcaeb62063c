"""Children of a job as plain documents: the same for Kubernetes and for one machine. Pure."""
