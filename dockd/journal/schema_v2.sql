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
