-- The journal, version 1. Times ending in _utc are RFC 3339; seen_s counts the monotonic seconds that the
-- daemon saw pass over all its runs; boottime_s is CLOCK_BOOTTIME of the kernel boot named beside it.

CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;

-- The one log: custody, event stream and audit trail. A dock that was restored from a backup begins a new
-- chain in the same journal.
CREATE TABLE chain (
    id           INTEGER PRIMARY KEY,
    name         TEXT NOT NULL,
    acknowledged INTEGER NOT NULL          -- 0: wiping waits for `dockd custody acknowledge`
);
CREATE TABLE record (
    chain     INTEGER NOT NULL REFERENCES chain (id),
    seq       INTEGER NOT NULL,
    line      TEXT NOT NULL,
    PRIMARY KEY (chain, seq)
) WITHOUT ROWID;

CREATE TABLE camera (
    id      INTEGER PRIMARY KEY,
    vendor  TEXT NOT NULL,
    product TEXT NOT NULL,
    serial  BLOB NOT NULL,
    UNIQUE (vendor, product, serial)
);

CREATE TABLE docking (
    id                INTEGER PRIMARY KEY,
    name              TEXT NOT NULL UNIQUE,
    camera            INTEGER NOT NULL REFERENCES camera (id),
    bay               TEXT NOT NULL,
    state             TEXT NOT NULL,
    started_utc       TEXT NOT NULL,
    ended_utc         TEXT,
    ended_why         TEXT,
    write_block       TEXT NOT NULL,
    manifest_parts    INTEGER NOT NULL DEFAULT 0,
    manifest_upload   TEXT,                         -- the upload id of its manifests, known before the first is sent
    left_alone        TEXT NOT NULL DEFAULT '{}'    -- JSON: why -> how many entries
);
CREATE INDEX docking_open ON docking (state) WHERE state <> 'closed';
CREATE INDEX docking_of_camera ON docking (camera, id);

CREATE TABLE recording (
    id             INTEGER PRIMARY KEY,
    uid            TEXT NOT NULL UNIQUE,            -- what people and other docks call it
    camera         INTEGER NOT NULL REFERENCES camera (id),
    path           BLOB NOT NULL,
    generation     INTEGER NOT NULL,
    state          TEXT NOT NULL,
    docking        INTEGER REFERENCES docking (id), -- the last one in which it was seen
    on_device      INTEGER NOT NULL,                -- seen since its camera was docked, and that camera is docked
    size_bytes     INTEGER NOT NULL,
    mtime_ns       INTEGER NOT NULL,
    device         INTEGER NOT NULL,
    inode          INTEGER NOT NULL,
    ctime_ns       INTEGER NOT NULL,
    blocks_wipe    TEXT,                            -- why it is never wiped, NULL if nothing speaks against it
    problem        TEXT,                            -- what keeps it from going on, NULL if nothing does
    problem_detail TEXT,
    begun_docking  INTEGER,                         -- docking in which the first byte in the spool was read
    blake3         TEXT,
    sha256         TEXT,
    read_whole     INTEGER NOT NULL DEFAULT 0,      -- the digests are of one read within one docking
    reread_docking INTEGER,                         -- docking in which the device's bytes were last read whole and found equal
    spool_name     TEXT,
    upload_id      TEXT,
    store_key      TEXT,
    store_version  TEXT,
    store_fault    TEXT,                            -- `missing` or `altered`, as an audit found it
    confirmed_utc  TEXT,
    confirmed_seen_s REAL,
    readback_boot_id TEXT,
    readback_boottime_s REAL,
    wiped_utc      TEXT,
    wipe_refusal   TEXT,                            -- why the gate last refused it
    -- The one count it belongs to; dockd.lifecycle.bucket says the same, and a test holds them together.
    bucket TEXT NOT NULL GENERATED ALWAYS AS (
        CASE
            WHEN state IN ('confirmed', 'wipe_intent', 'wiped')
                THEN CASE WHEN store_fault IS NULL THEN 'in_store' ELSE 'unaccounted' END
            WHEN state = 'vanished' THEN 'unaccounted'
            WHEN on_device THEN 'on_docked_camera'
            WHEN state IN ('spooled', 'uploaded') THEN 'sole_copy'
            ELSE 'awaiting_return'
        END
    ) VIRTUAL,
    UNIQUE (camera, path, generation)
);
CREATE INDEX recording_open ON recording (state, camera) WHERE state IN ('found', 'spooled', 'uploaded', 'wipe_intent');
CREATE INDEX recording_on_device ON recording (camera, path) WHERE on_device;
CREATE INDEX recording_unaccounted ON recording (bucket) WHERE state = 'vanished' OR store_fault IS NOT NULL;
CREATE INDEX recording_content ON recording (blake3, camera);
CREATE INDEX recording_spooled ON recording (spool_name) WHERE spool_name IS NOT NULL;
CREATE INDEX recording_key ON recording (store_key);

-- How far a copy is durable in the spool, and the BLAKE3 of everything up to there.
CREATE TABLE ledger (
    recording INTEGER NOT NULL REFERENCES recording (id),
    end_bytes INTEGER NOT NULL,
    blake3    BLOB NOT NULL,
    PRIMARY KEY (recording, end_bytes)
) WITHOUT ROWID;

-- Spool files that no row needs any more: forgotten first, removed afterwards.
CREATE TABLE spool_trash (
    name TEXT PRIMARY KEY
) WITHOUT ROWID;

-- What was seen in which docking, for its manifest.
CREATE TABLE seen (
    docking   INTEGER NOT NULL REFERENCES docking (id),
    recording INTEGER NOT NULL REFERENCES recording (id),
    part      INTEGER,                              -- the part of the manifest that names it, NULL: not yet
    PRIMARY KEY (docking, recording)
) WITHOUT ROWID;
CREATE INDEX seen_recording ON seen (recording);

-- Legal holds as last read from the store.
CREATE TABLE hold (
    name   TEXT PRIMARY KEY,
    camera BLOB NOT NULL,
    scope  TEXT NOT NULL,
    recording TEXT,
    path   BLOB,
    blake3 TEXT,
    json   TEXT NOT NULL
) WITHOUT ROWID;

-- Retained MQTT topics that have to be taken back when what they tell is over: a dock cannot read its own.
CREATE TABLE mqtt_kept (
    topic TEXT PRIMARY KEY
) WITHOUT ROWID;

-- Counters, kept by the triggers below and never counted. Docking 0 is the whole journal.
CREATE TABLE counter (
    docking INTEGER NOT NULL,
    name    TEXT NOT NULL,
    count   INTEGER NOT NULL,
    bytes   INTEGER NOT NULL,
    PRIMARY KEY (docking, name)
) WITHOUT ROWID;

CREATE TRIGGER recording_counted AFTER INSERT ON recording BEGIN
    INSERT INTO counter VALUES (0, 'recordings', 1, NEW.size_bytes)
        ON CONFLICT DO UPDATE SET count = count + 1, bytes = bytes + excluded.bytes;
    INSERT INTO counter VALUES (0, NEW.bucket, 1, NEW.size_bytes)
        ON CONFLICT DO UPDATE SET count = count + 1, bytes = bytes + excluded.bytes;
    INSERT INTO counter SELECT NEW.docking, 'state:' || NEW.state, 1, NEW.size_bytes WHERE NEW.docking IS NOT NULL
        ON CONFLICT DO UPDATE SET count = count + 1, bytes = bytes + excluded.bytes;
END;
CREATE TRIGGER recording_recounted AFTER UPDATE OF state, on_device, store_fault, docking, size_bytes ON recording BEGIN
    UPDATE counter SET bytes = bytes + NEW.size_bytes - OLD.size_bytes WHERE docking = 0 AND name = 'recordings';
    UPDATE counter SET count = count - 1, bytes = bytes - OLD.size_bytes WHERE docking = 0 AND name = OLD.bucket;
    INSERT INTO counter VALUES (0, NEW.bucket, 1, NEW.size_bytes)
        ON CONFLICT DO UPDATE SET count = count + 1, bytes = bytes + excluded.bytes;
    UPDATE counter SET count = count - 1, bytes = bytes - OLD.size_bytes
        WHERE docking = OLD.docking AND name = 'state:' || OLD.state;
    INSERT INTO counter SELECT NEW.docking, 'state:' || NEW.state, 1, NEW.size_bytes WHERE NEW.docking IS NOT NULL
        ON CONFLICT DO UPDATE SET count = count + 1, bytes = bytes + excluded.bytes;
    -- Wiped are those of in_store that are also gone from the camera.
    INSERT INTO counter SELECT 0, 'wiped', 1, NEW.size_bytes WHERE NEW.state = 'wiped' AND NEW.bucket = 'in_store'
        ON CONFLICT DO UPDATE SET count = count + 1, bytes = bytes + excluded.bytes;
    UPDATE counter SET count = count - 1, bytes = bytes - OLD.size_bytes
        WHERE docking = 0 AND name = 'wiped' AND OLD.state = 'wiped' AND OLD.bucket = 'in_store';
END;
-- A row is never deleted: what was once seen stays accounted for.
CREATE TRIGGER recording_kept BEFORE DELETE ON recording BEGIN
    SELECT RAISE(ABORT, 'a recording is never forgotten');
END;
-- INSERT OR REPLACE would pass the triggers against deleting.
CREATE TRIGGER recording_once BEFORE INSERT ON recording WHEN EXISTS (
    SELECT 1 FROM recording WHERE id = NEW.id OR uid = NEW.uid
        OR (camera = NEW.camera AND path = NEW.path AND generation = NEW.generation)
) BEGIN
    SELECT RAISE(ABORT, 'a recording is never forgotten');
END;
CREATE TRIGGER record_once BEFORE INSERT ON record WHEN EXISTS (
    SELECT 1 FROM record WHERE chain = NEW.chain AND seq = NEW.seq
) BEGIN
    SELECT RAISE(ABORT, 'a record is never changed');
END;
CREATE TRIGGER record_kept BEFORE DELETE ON record BEGIN
    SELECT RAISE(ABORT, 'a record is never deleted');
END;
CREATE TRIGGER record_unchanged BEFORE UPDATE ON record BEGIN
    SELECT RAISE(ABORT, 'a record is never changed');
END;
