"""Settings out of the environment: typed, with every problem told at once, and as the chart writes them."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from speech_contract import env
from speech_operator.settings import Settings, SettingsError, read_settings, variable

CHART = Path(__file__).resolve().parents[2] / "charts" / "speechtrain" / "templates"


def test_an_empty_environment_gives_the_defaults() -> None:
    assert read_settings({}) == Settings()


def test_values_are_typed() -> None:
    given = {
        variable("watch_namespaces"): "a, b,",
        variable("leader_election"): "True",
        variable("write_rate"): "2.5",
        variable("in_flight"): "4",
        variable("log_level"): "debug",
        variable("pod_name"): "one",
        "SOMETHING_ELSE": "x",
    }
    settings = read_settings(given)
    assert settings.watch_namespaces == ("a", "b")
    assert (settings.leader_election, settings.write_rate, settings.in_flight) == (True, 2.5, 4)
    assert (settings.log_level, settings.pod_name) == ("DEBUG", "one")


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("write_rate", "fast", "is not a number; write one"),
        ("write_rate", "nan", "is not finite"),
        ("write_rate", "0", "is below 1; write at least 1"),
        ("in_flight", "1.5", "is not a whole number"),
        ("leader_election", "maybe", "write true or false"),
        ("log_level", "LOUD", "write DEBUG, INFO, WARNING or ERROR"),
    ],
)
def test_a_bad_value_names_variable_value_and_remedy(field: str, value: str, words: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read_settings({variable(field): value})
    assert str(caught.value).startswith(f"{variable(field)}: {value!r} ")
    assert words in str(caught.value)


def test_a_mistyped_name_is_told_with_its_neighbour() -> None:
    with pytest.raises(SettingsError, match="did you mean SPEECHTRAIN_OPERATOR_WRITE_RATE"):
        read_settings({env.OPERATOR_PREFIX + "WRITE_RAET": "3"})


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        read_settings({variable("write_rate"): "x", variable("in_flight"): "y"})
    assert len(str(caught.value).splitlines()) == 2


def test_the_chart_writes_no_other_variable() -> None:
    text = (CHART / "deployment.yaml").read_text(encoding="utf-8")
    written = set(re.findall(rf"name: ({env.OPERATOR_PREFIX}[A-Z_]+|POD_[A-Z]+)", text))
    known = {variable(field.name) for field in dataclasses.fields(Settings)}
    assert written
    assert written <= known
