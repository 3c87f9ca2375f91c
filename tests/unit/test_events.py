"""The models of what is recorded: all that the contract names, strict, frozen, and silent on what is unknown."""

from __future__ import annotations

import json
from typing import Any

import pytest
import rfc8785
from event_samples import HEAD, sample, sample_values
from pydantic import ValidationError

from dockd.events import DockStarted, Event, Head, OfCamera, OfRecording, RecordingFound, all_events

CONTRACT = [
    *("dock_started", "configuration_changed", "camera_docked", "camera_clock", "recording_found", "recording_copied"),
    *("recording_uploaded", "recording_confirmed", "recording_anomaly", "recording_vanished", "wipe_started"),
    *("recording_wiped", "wipe_refused", "hold_added", "hold_removed", "camera_removed", "clock_stepped"),
    *("integrity_failure", "audit"),
]
FIELDS_OF_THE_CONTRACT = {
    "dock_started": {"version", "package_sha256", "configuration_sha256"},
    "camera_docked": {"camera", "docking", "write_block"},
    "camera_clock": {"camera", "offset_ms"},
    "recording_copied": {"size", "blake3", "sha256"},
    "recording_confirmed": {"key", "version"},
    "recording_wiped": {"method"},
    "wipe_refused": {"reason"},
}
ENVELOPE = {"seq", "prev", "time", "clock", "dock", "event"}
EVENTS = all_events()
BY_NAME = {kind.event: kind for kind in EVENTS}
each_event = pytest.mark.parametrize("kind", EVENTS, ids=lambda kind: kind.event)


@pytest.mark.parametrize("name", CONTRACT)
def test_every_event_of_the_contract_exists(name: str) -> None:
    fields = BY_NAME[name].model_fields
    assert FIELDS_OF_THE_CONTRACT.get(name, set()) <= set(fields)


def test_no_two_events_have_one_name() -> None:
    names = [kind.event for kind in EVENTS]
    assert names == sorted(set(names))


def test_the_contracts_words_for_write_block_and_method_are_the_only_ones() -> None:
    docked = sample_values(BY_NAME["camera_docked"], optional=False)
    for word in ("block", "mount", "none"):
        BY_NAME["camera_docked"].model_validate(docked | {"write_block": word})
    wiped = sample_values(BY_NAME["recording_wiped"], optional=False)
    for word in ("unlink", "unlink+discard"):
        BY_NAME["recording_wiped"].model_validate(wiped | {"method": word})
    for kind, values in (
        ("camera_docked", docked | {"write_block": "?"}),
        ("recording_wiped", wiped | {"method": "rm"}),
    ):
        with pytest.raises(ValidationError):
            BY_NAME[kind].model_validate(values)


@each_event
def test_an_event_leaves_the_envelopes_names_alone(kind: type[Event]) -> None:
    assert not ENVELOPE & set(kind.model_fields)


@each_event
def test_an_event_says_what_it_means(kind: type[Event]) -> None:
    assert kind.__doc__
    assert kind.__doc__.splitlines()[0].rstrip().endswith((".", "`."))


@each_event
def test_a_payload_carries_what_is_known_and_nothing_else(kind: type[Event]) -> None:
    full, bare = sample(kind).payload(), sample(kind, optional=False).payload()
    assert set(full) == set(kind.model_fields)
    assert None not in bare.values()
    required = {name for name, info in kind.model_fields.items() if info.is_required()}
    assert required <= set(bare) <= set(full)
    json.dumps(full, allow_nan=False)
    assert json.loads(rfc8785.dumps(full)) == full


@each_event
def test_a_word_that_an_event_does_not_know_is_refused(kind: type[Event]) -> None:
    with pytest.raises(ValidationError):
        kind.model_validate(sample_values(kind, optional=True) | {"another": "x"})


@each_event
def test_an_event_never_changes(kind: type[Event]) -> None:
    event = sample(kind)
    for name in kind.model_fields:
        with pytest.raises(ValidationError):
            setattr(event, name, getattr(event, name))


def other_types(value: Any) -> list[Any]:
    """Values of other types that a lax model would take."""
    if isinstance(value, bool):
        return [1, "true"]
    if isinstance(value, int):
        return [str(value), float(value), True]
    if isinstance(value, str):
        return [value.encode(), 5]
    return []


@each_event
def test_no_value_is_bent_into_its_type(kind: type[Event]) -> None:
    values = sample_values(kind, optional=True)
    for name, value in values.items():
        for other in other_types(value):
            with pytest.raises(ValidationError):
                kind.model_validate(values | {name: other})
    for name, info in kind.model_fields.items():
        if info.is_required():
            with pytest.raises(ValidationError):
                kind.model_validate({key: value for key, value in values.items() if key != name})


def test_a_first_record_names_its_predecessor_or_says_unknown() -> None:
    values = sample_values(DockStarted, optional=False)
    assert "predecessor" not in DockStarted(**values).payload()
    assert DockStarted(**values, predecessor="unknown").payload()["predecessor"] == "unknown"
    assert DockStarted(**values, predecessor=HEAD).payload()["predecessor"] == {
        "chain": HEAD.chain,
        "seq": HEAD.seq,
        "sha256": HEAD.sha256,
    }
    for wrong in ("none", {"chain": "x"}, 5):
        with pytest.raises(ValidationError):
            DockStarted.model_validate({**values, "predecessor": wrong})


def test_a_name_that_is_not_utf_8_has_its_twin() -> None:
    for base in (OfCamera, OfRecording):
        assert {"camera", "camera_hex"} <= set(base.model_fields)
    assert {"path", "path_hex"} <= set(OfRecording.model_fields)
    values = sample_values(RecordingFound, optional=False)
    assert "path_hex" not in RecordingFound(**values).payload()
    assert RecordingFound(**values, path_hex="ff").payload()["path_hex"] == "ff"


def test_a_head_is_strict_too() -> None:
    with pytest.raises(ValidationError):
        Head.model_validate({"chain": "x", "seq": "7", "sha256": "y"})
    with pytest.raises(ValidationError):
        HEAD.seq = 8  # type: ignore[misc]
