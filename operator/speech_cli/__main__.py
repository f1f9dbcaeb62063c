"""`python -m speech_cli`: the same command line; `client` starts local runs by it."""

from speech_cli.main import main

if __name__ == "__main__":
    main()
