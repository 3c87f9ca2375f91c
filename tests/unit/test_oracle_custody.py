"""The oracle judged: what a custody chain can say wrong, and what can be wrong with the chain itself."""

import json
from typing import Any

import pytest
from fake_world import DATA, PATH, assert_named, dumps, sound_world


@pytest.fixture
def sound(tmp_path):
    return sound_world(tmp_path)


def change(index: int, **more: Any) -> Any:
    def apply(lines: list[str]) -> list[str]:
        lines[index] = dumps(json.loads(lines[index]) | more)
        return lines

    return apply


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda lines: lines[1:], "does not have that seq"),
        (lambda lines: [*lines[:2], *lines[3:]], "does not have that seq"),
        (lambda lines: [*lines[:-1], "{"], "is not JSON"),
        (lambda lines: [*lines[:-1], lines[-1].replace(",", ", ", 1)], "canonical"),
        (change(1, path="elsewhere"), "does not name the line before"),
        (change(0, prev="1" * 64), "does not name the line before"),
        (change(4, time="2026-01-01 00:00:00"), "has the time"),
        (change(4, clock={}), "how good its clock was"),
        (change(4, dock=""), "lacks its dock"),
    ],
)
def test_a_broken_chain_is_named(sound, spoil, words):
    sound.lines = spoil(sound.custody())
    assert_named(sound, words)


def test_a_wipe_that_nothing_was_proven_for_is_named(sound):
    sound.records = [record for record in sound.records if record["event"] != "recording_confirmed"]
    assert_named(sound, "not confirmed")


def test_a_wipe_recorded_before_the_proof_is_named(sound):
    sound.records.insert(0, sound.records.pop())
    assert_named(sound, "recording_wiped", "not confirmed")


def test_a_wipe_that_was_not_begun_is_named(sound):
    sound.records = [record for record in sound.records if record["event"] != "wipe_started"]
    assert_named(sound, "wipe not begun")


def test_a_wipe_that_never_happened_is_named(sound):
    (sound.folder / PATH.decode()).write_bytes(DATA)
    assert_named(sound, "said to be wiped 1 times, and is gone 0 times")


def test_a_wipe_that_the_chain_does_not_know_is_named(sound):
    sound.records = sound.records[:3]
    assert_named(sound, "the chain does not say why")


def test_the_same_content_again_after_a_wipe_is_sound(sound):
    sound.plant(DATA)
    sound.story(uid="r2")
    sound.counts = {"recordings": 2, "in_store": 2, "wiped": 2}
    assert sound.violations() == []


@pytest.mark.parametrize("event", ["recording_copied", "recording_confirmed"])
def test_a_chimera_in_the_chain_is_named(sound, event):
    sound.tell(event, b"half old, half new", "r2")
    assert_named(sound, event, "never planted")


def test_a_copy_from_two_dockings_may_be_a_chimera_until_it_is_confirmed(sound):
    sound.tell("recording_copied", b"half old, half new", "r2", read_in_one_docking=False)
    assert sound.violations() == []
    sound.tell("recording_confirmed", b"half old, half new", "r2")
    assert_named(sound, "recording_confirmed", "never planted")


def test_a_record_of_what_is_no_recording_is_named(sound):
    sound.tell("recording_found", uid="r2", path=b"notes.txt")
    assert_named(sound, "where no recording was planted")


def test_a_key_outside_the_contract_is_named(sound):
    sound.records[2]["key"] = "calgary/recordings/other/name"
    assert_named(sound, "does not begin with")


# --- what lies in the store, signed ------------------------------------------------------------------


def test_a_wipe_whose_confirmation_nobody_signed_is_named(sound):
    sound.sign()
    sound.segment.with_suffix(".sha256.sig").unlink()
    assert_named(sound, "a wipe began", "not signed")


@pytest.mark.parametrize("what", ["record", "list", "signature", "gone", "moved", "other journal"])
def test_a_segment_that_was_touched_is_named(sound, what):
    sound.sign()
    listed = sound.segment
    records, signature = listed.with_suffix(".jsonl"), listed.with_suffix(".sha256.sig")
    if what == "record":
        records.write_text(records.read_text().replace("one.MP4", "two.MP4", 1))
        assert_named(sound, "the list and the records differ")
    elif what == "list":
        listed.write_text(listed.read_text().replace("a", "b", 1))
        assert_named(sound, ".sha256.sig: ", "ignature")
    elif what == "signature":
        signature.write_text(signature.read_text().replace("U1NIU0lH", "U1NIU0lI", 1))
        assert_named(sound, ".sha256.sig: ")
    elif what == "gone":
        records.unlink()
        assert_named(sound, "but not what it signs")
    elif what == "moved":
        listed.parent.rename(listed.parent.with_name("0123456789abcdef"))
        assert_named(sound, "another chain than its folder says")
    else:
        sound.records[2]["version"] = "another"
        assert_named(sound, "is another one in the dock's journal")
