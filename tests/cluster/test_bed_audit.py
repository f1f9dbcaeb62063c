"""Reading the audit log of a cluster."""

import json

from bed.cluster import requests_of

_LINES = [
    json.dumps({"verb": "list", "user": {"username": "system:serviceaccount:a:b"}}) + "\n",
    json.dumps({"verb": "get", "user": {}}) + "\n",  # refused before it was known who asked
    '{"verb": "watch", "user": {"user',  # still being written
]


def test_requests_are_selected_by_the_start_of_the_name() -> None:
    assert [event["verb"] for event in requests_of(_LINES, "system:serviceaccount:")] == ["list"]


def test_a_stranger_without_a_name_is_read_too() -> None:
    assert [event["verb"] for event in requests_of(_LINES, "")] == ["list", "get"]
