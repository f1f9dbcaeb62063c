# A real Kubernetes cluster on this machine, the same that the tests use. Included by the Makefile
# of the repository; docs/test-bed.md tells what it is.

.PHONY: cluster cluster-down cluster-binaries

cluster: $(VENV)/.dev ## Bring up a Kubernetes cluster with our images for hand work; print what to export
	@$(BIN)/python tests/cluster up --product

cluster-down: $(VENV)/.dev ## Take it down; nothing of it is left
	@$(BIN)/python tests/cluster down

cluster-binaries: $(VENV)/.dev ## Build the programs that the cluster tests run, or find them built
	@$(BIN)/python tests/cluster binaries
