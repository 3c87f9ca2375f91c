"""VERIFY.md: how to check a passport with common tools alone."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from dockd.custody.passport import Manifest

_GUIDE: Final = """\
# Checking this folder

You need a Unix shell with `sha256sum`, `b3sum` and `ssh-keygen` (OpenSSH 8.2 or later). Nothing here needs the
software that made the folder. Run the commands in this folder. Any other output than described means that the check
failed.

## 0. The list of keys
Signatures say *which* key signed. *Whose* key that is, only the police force can say. Ask it for its list of
signing keys, through a channel that you trust, and put that beside the folder, not into it:

    ALLOWED=../allowed_signers
    DOCK={dock}

A line of that file looks like `{dock} namespaces="dockd-custody" ssh-ed25519 AAAA…`. A list that comes along with
this folder proves nothing. If the list gives a key a term that has ended since, add `-Overify-time=` with a time
from when the signature was made to the `ssh-keygen` commands: this folder was made at {verify_time}, and lists of
digests are signed soon after the `time` of their last entry.

## 1. Nothing in the folder was changed

    sha256sum --quiet -c FILES.sha256 && echo "all files are as they were"
    ssh-keygen -Y verify -f "$ALLOWED" -I "$DOCK" -n dockd-custody -s FILES.sha256.sig < FILES.sha256

The first prints one line; the second says `Good "dockd-custody" signature for {dock} with ED25519 key SHA256:…`.
Whatever `find . -type f` shows beside the files of that list, the list itself and its signature, does not belong here.

## 2. The recordings are the recorded ones
{recordings}

    sha256sum -c SHA256SUMS
    b3sum -c B3SUMS

Each prints one line with `OK` for each file. A file's name is its BLAKE3 digest.

## 3. The dock signed the lists of digests
`segments/{{log}}/{{first}}-{{last}}.sha256` has one line for each entry of the dock's log, `SHA-256  number`, about
whatever it was; its first line repeats the last entry before. Each is signed:

    for list in segments/*/*.sha256; do
      ssh-keygen -Y verify -f "$ALLOWED" -I "$DOCK" -n dockd-custody -s "$list.sig" < "$list" || echo "FAILED: $list"
    done

## 4. The lists follow one another

    for log in segments/*/; do
      last=
      for list in "$log"*.sha256; do
        first=$(head -n 1 "$list")
        if [ -n "$last" ] && [ "$first" != "$last" ]; then echo "gap before $list"; fi
        last=$(tail -n 1 "$list")
      done
    done

prints nothing, or names gaps. A gap is in order only beside lists that are here for the sake of a `dock_started`,
`key_registered` or `key_rotated` entry: these may lie long before the rest, or behind it. Between the first and the
last entry about these recordings there must be none.

## 5. Each shown entry is one that was signed
An entry's digest is the SHA-256 of its line in `records.jsonl`, without the end of the line. It must stand in a
list, at the number that the entry itself names as `seq`:

    while IFS= read -r line; do
      seq=$(printf '%s' "$line" | sed -E 's/.*"seq":([0-9]+).*/\\1/')
      sha=$(printf '%s' "$line" | sha256sum | cut -c 1-64)
      grep -rqxF "$sha  $seq" segments || echo "FAILED: entry $seq is in no list"
    done < records.jsonl

prints nothing. `prev` in an entry is the digest of the entry before it, which stands in the list one line above.

## 6. What the entries say
`records.jsonl` has one JSON object a line. `recording_copied` has the size and both digests of what was read from
the camera, `recording_confirmed` those of what was read back from the evidence store: they must be equal, and be
those in `SHA256SUMS` and `B3SUMS`. `recording_wiped` must come after `recording_confirmed`. `clock` says whether
the dock's clock was synchronised, and how far it could be off. `index.html` says the same in words; where the two
differ, the entries count.

## What this does not show
Nothing about the time before the camera was docked. Not that the dock's key was used by the dock alone: whoever
controls its system can sign in its name. The times are those of the dock's clock. That a file was deleted on a
camera does not mean that it cannot be recovered there."""

_APART: Final = """\
They are not in this folder. Put the files that you were given into a folder `recordings` here, named as in the lists;
what you lack is reported as missing."""


def guide(manifest: Manifest, contents: int) -> bytes:
    """The instructions for one passport, as UTF-8."""
    made = datetime.fromisoformat(manifest.made).astimezone(UTC)
    if not contents:
        recordings = (
            "None of them was seen to be in the evidence store yet: both lists are empty, nothing is to be checked."
        )
    elif manifest.with_recordings:
        recordings = "They lie in `recordings`."
    else:
        recordings = _APART
    text = _GUIDE.format(dock=manifest.dock, verify_time=made.strftime("%Y%m%d%H%M%SZ"), recordings=recordings)
    return text.encode()
