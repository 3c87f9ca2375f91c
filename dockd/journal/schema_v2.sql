-- The SHA-256 of each part that an S3 store is sent, computed while the recording was copied; gone with its spool file.
CREATE TABLE part_digests (
    recording       INTEGER PRIMARY KEY REFERENCES recording (id),
    part_size_bytes INTEGER NOT NULL CHECK (part_size_bytes > 0),
    sha256s         BLOB NOT NULL CHECK (length(sha256s) % 32 = 0)
);

-- Uploads that were begun and are never gone on with: forgotten by their recording first, taken out of the store afterwards.
CREATE TABLE upload_trash (
    store_key TEXT NOT NULL,
    upload_id TEXT NOT NULL,
    PRIMARY KEY (store_key, upload_id)
) WITHOUT ROWID;

-- Stretches of chains as they are signed and stored; what is signed follows from the records.
CREATE TABLE segment (
    chain         INTEGER NOT NULL REFERENCES chain (id),
    first         INTEGER NOT NULL,
    last          INTEGER NOT NULL CHECK (last >= first),
    before_sha256 TEXT NOT NULL,                    -- the head before its first record
    head_sha256   TEXT NOT NULL,                    -- of its last record
    public_key    TEXT NOT NULL,                    -- whose signature it is: `ssh-ed25519 AAAA…`
    signature     TEXT NOT NULL,                    -- armoured, of its digest list
    signed_utc    TEXT NOT NULL,
    stored_utc    TEXT,                             -- read back from the store and found equal; NULL: not yet
    stamped_utc   TEXT,                             -- what a time stamping authority said; NULL: nobody was asked yet
    PRIMARY KEY (chain, first)
) WITHOUT ROWID;

-- The record that says that it is confirmed: where the gate looks for a signed segment in the store.
ALTER TABLE recording ADD COLUMN confirmed_chain INTEGER REFERENCES chain (id);
ALTER TABLE recording ADD COLUMN confirmed_seq INTEGER;

-- Heads of this dock's name in the store that are on none of this journal's chains, once a new chain has named them.
CREATE TABLE foreign_head (
    chain  TEXT NOT NULL,
    seq    INTEGER NOT NULL,
    sha256 TEXT NOT NULL,
    PRIMARY KEY (chain, seq, sha256)
) WITHOUT ROWID;

-- How the camera's clock stood, as the record `camera_clock` of the docking tells; JSON, NULL if nothing was measured.
ALTER TABLE docking ADD COLUMN camera_clock TEXT;

-- When it was found first, by the dock's clock; of those found before this version, when that docking began.
ALTER TABLE recording ADD COLUMN found_utc TEXT;
UPDATE recording SET found_utc = (
    SELECT min(started_utc) FROM docking JOIN seen ON seen.docking = docking.id WHERE seen.recording = recording.id
);
CREATE INDEX recording_found_at ON recording (found_utc);
