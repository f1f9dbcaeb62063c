"""The contract: the API and every name that crosses a process boundary.

Everything here but `speech_contract.api` is standard library only and keeps to Python 3.10 syntax,
because the launcher carries it into foreign images as a zipapp. Nothing here does I/O.
"""
