"""Segments of chains in the journal: which were signed, and which the store was seen to hold."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dockd.custody.chain import GENESIS, find_break
from dockd.custody.segments import LONGEST_RECORDS, DigestList
from dockd.custody.sshsig import PublicKey
from dockd.errors import JournalDamagedError
from dockd.journal.database import LINE_BYTES
from dockd.journal.signing_key import in_this_chain, signs_since
from dockd.journal.transaction import Transaction

if TYPE_CHECKING:
    from dockd.custody.keys import SigningKey

_COLUMNS = (
    "chain, (SELECT name FROM chain WHERE id = segment.chain), first, last, before_sha256, head_sha256, public_key, "
    "signature, signed_utc, stored_utc"
)


@dataclass(frozen=True, slots=True)
class SegmentRow:
    """One segment; `chain_name` is its chain's name, `stored_utc` None until the store was seen to hold it."""

    chain: int
    chain_name: str
    first: int
    last: int
    before_sha256: str
    head_sha256: str
    public_key: str
    signature: str
    signed_utc: str
    stored_utc: str | None


def segments_of(tx: Transaction, chain: int, *, from_seq: int = 1) -> list[SegmentRow]:
    """The segments of a chain in order, from the one that holds record `from_seq` on."""
    sql = f"SELECT {_COLUMNS} FROM segment WHERE chain = ? AND last >= ? ORDER BY first"  # noqa: S608 - constant
    return [SegmentRow(*row) for row in tx.all(sql, chain, from_seq)]


def newest_segment(tx: Transaction, chain: int) -> SegmentRow | None:
    """The last segment of a chain that was signed, or None."""
    sql = f"SELECT {_COLUMNS} FROM segment WHERE chain = ? ORDER BY first DESC LIMIT 1"  # noqa: S608 - constant
    row = tx.one(sql, chain)
    return None if row is None else SegmentRow(*row)


def unstored_segments(tx: Transaction, limit: int = 16) -> list[SegmentRow]:
    """Segments that were signed and not yet seen in the store, in order."""
    # What another dock has gone on with is not added to: it would look like a fork of that one's making.
    sql = f"""SELECT {_COLUMNS} FROM segment WHERE stored_utc IS NULL AND NOT EXISTS (
                  SELECT 1 FROM foreign_head JOIN chain ON chain.name = foreign_head.chain
                  WHERE chain.id = segment.chain)
              ORDER BY chain DESC, first LIMIT ?"""  # noqa: S608 - constant columns
    return [SegmentRow(*row) for row in tx.all(sql, limit)]


def stored_through(tx: Transaction, chain: int) -> int:
    """The last record of a chain up to which all segments were seen in the store; 0 if none was."""
    row = tx.one(
        """SELECT max(last) FROM segment WHERE chain = ?1 AND stored_utc IS NOT NULL AND last < coalesce(
               (SELECT min(first) FROM segment WHERE chain = ?1 AND stored_utc IS NULL), 9223372036854775807)""",
        chain,
    )
    return int(row[0] or 0) if row is not None else 0


def holds_record(tx: Transaction, chain: int | None, seq: int | None) -> SegmentRow | None:
    """The stored segment that a record is in, or None."""
    sql = f"""SELECT {_COLUMNS} FROM segment
              WHERE chain = ? AND first <= ? AND last >= ? AND stored_utc IS NOT NULL
              ORDER BY first DESC LIMIT 1"""  # noqa: S608 - constant columns
    row = tx.one(sql, chain, seq, seq)
    return None if row is None else SegmentRow(*row)


def lines_between(tx: Transaction, chain: int, first: int, last: int) -> list[str]:
    """The records' lines of a stretch of a chain, in order."""
    sql = f"SELECT {LINE_BYTES} FROM record WHERE chain = ? AND seq BETWEEN ? AND ? ORDER BY seq"  # noqa: S608 - constant
    return [line.decode("utf-8", "replace") for (line,) in tx.all(sql, chain, first, last)]


@dataclass(frozen=True, slots=True)
class Uncut:
    """The records that the next segment is made of, the first one's number, and the head before it."""

    chain: int
    first: int
    before_sha256: str
    lines: list[str]


def _unsigned_from(tx: Transaction, chain: int) -> tuple[int, str]:
    """The first record of a chain that no segment holds, and the head before it."""
    newest = newest_segment(tx, chain)
    return (1, GENESIS) if newest is None else (newest.last + 1, newest.head_sha256)


def next_uncut(tx: Transaction, longest: int = LONGEST_RECORDS) -> Uncut:
    """What is to be signed next of the present chain; no lines if nothing is.

    At most `longest` records, but for a key that was named behind them: its segment holds the record that names it.
    """
    first, before = _unsigned_from(tx, tx.chain)
    last = max(first + longest - 1, signs_since(tx))
    return Uncut(tx.chain, first, before, lines_between(tx, tx.chain, first, last))


def sign_rest(tx: Transaction, key: SigningKey, signed_utc: str, *, at_most: int = 1_000_000) -> None:
    """Sign what is not signed yet of the present chain, in `at_most` segments; for when something is about to change.

    Nothing is signed with a key that the chain does not name. Raises JournalDamagedError if it is broken there.
    """
    for _ in range(at_most if in_this_chain(tx, key.public) else 0):
        rest = next_uncut(tx)
        if not rest.lines:
            return
        broken = find_break(rest.lines, seq=rest.first, prev=rest.before_sha256)
        if broken is not None:
            raise JournalDamagedError(f"record {broken.seq} of the present chain breaks it: {broken.what}")
        digests = DigestList.of(rest.lines, rest.first - 1, rest.before_sha256)
        add_segment(tx, rest.chain, digests, key.public, key.sign(digests.text()), signed_utc)


def sign_tails(tx: Transaction, key: SigningKey, signed_utc: str) -> None:
    """Sign what earlier chains left unsigned, as far as they are whole and their key was this one."""
    for chain, _ in list(chains(tx)):
        if chain == tx.chain or not _named_last(tx, chain, key.public):
            continue
        first, before = _unsigned_from(tx, chain)
        while lines := lines_between(tx, chain, first, first + LONGEST_RECORDS - 1):
            broken = find_break(lines, seq=first, prev=before)
            whole = lines if broken is None else lines[: broken.seq - first]
            if whole:
                digests = DigestList.of(whole, first - 1, before)
                add_segment(tx, chain, digests, key.public, key.sign(digests.text()), signed_utc)
                first, before = digests.last + 1, digests.head
            if broken is not None:
                break


def _named_last(tx: Transaction, chain: int, key: PublicKey) -> bool:
    """Whether a chain has an unsigned tail, and the key that it named last is this one."""
    signed, last = (tx.one(f"SELECT max({what}) FROM {table} WHERE chain = ?", chain) for what, table in _ENDS)  # noqa: S608
    if signed is None or last is None or (signed[0] or 0) >= (last[0] or 0):
        return False
    sql = f"""SELECT {LINE_BYTES} FROM record WHERE chain = ? AND (line LIKE '%"event":"key_registered"%'
              OR line LIKE '%"event":"key_rotated"%') ORDER BY seq DESC LIMIT 1"""  # noqa: S608 - constant
    row = tx.one(sql, chain)
    return row is not None and key.line.encode() in row[0]


_ENDS = (("last", "segment"), ("seq", "record"))


def digest_list(tx: Transaction, segment: SegmentRow) -> DigestList:
    """What was signed of a segment, made anew from its records."""
    lines = lines_between(tx, segment.chain, segment.first, segment.last)
    return DigestList.of(lines, segment.first - 1, segment.before_sha256)


def add_segment(
    tx: Transaction, chain: int, digests: DigestList, key: PublicKey, signature: str, signed_utc: str
) -> None:
    """Take down a segment that was signed, before anything of it is sent."""
    tx.insert(
        "segment",
        chain=chain,
        first=digests.first,
        last=digests.last,
        before_sha256=digests.before_sha256,
        head_sha256=digests.head,
        public_key=key.line,
        signature=signature,
        signed_utc=signed_utc,
    )


def segment_stored(tx: Transaction, segment: SegmentRow, stored_utc: str) -> None:
    """The store was seen to hold a segment."""
    tx.run("UPDATE segment SET stored_utc = ? WHERE chain = ? AND first = ?", stored_utc, segment.chain, segment.first)


def segment_lost(tx: Transaction, chain: int, first: int) -> None:
    """The store does not hold a segment any more: it is brought there again."""
    tx.run("UPDATE segment SET stored_utc = NULL WHERE chain = ? AND first = ?", chain, first)


def unstamped_segment(tx: Transaction) -> SegmentRow | None:
    """The newest segment of the present chain that is in the store, if it has no time stamp yet."""
    row = tx.one(
        "SELECT first, stamped_utc FROM segment WHERE chain = ? AND stored_utc IS NOT NULL ORDER BY first DESC LIMIT 1",
        tx.chain,
    )
    if row is None or row[1] is not None:
        return None
    return segments_of(tx, tx.chain, from_seq=row[0])[0]


def segment_stamped(tx: Transaction, segment: SegmentRow, stamped_utc: str) -> None:
    """An authority has put its time on a segment's digest list, and the store holds that."""
    sql = "UPDATE segment SET stamped_utc = ? WHERE chain = ? AND first = ?"
    tx.run(sql, stamped_utc, segment.chain, segment.first)


def chains(tx: Transaction) -> Iterator[tuple[int, str]]:
    """Number and name of every chain, the oldest first."""
    return ((int(number), str(name)) for number, name in tx.all("SELECT id, name FROM chain ORDER BY id"))
