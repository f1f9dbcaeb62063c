"""One module a command. Each holds one click command named `command`, loaded by `speech_cli.main` when typed."""
