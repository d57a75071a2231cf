CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE taken (shard INTEGER PRIMARY KEY, id TEXT NOT NULL) STRICT;
-- live: the desk still needs it; the others are history.
CREATE TABLE incidents (
    number INTEGER PRIMARY KEY, live INTEGER NOT NULL, opened INTEGER NOT NULL, resolved INTEGER, body TEXT NOT NULL
) STRICT;
CREATE INDEX incidents_live ON incidents (live);
CREATE TABLE groups (receiver TEXT NOT NULL, key TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (receiver, key)) STRICT;
-- state: queued, or how it ended.
CREATE TABLE deliveries (
    id INTEGER PRIMARY KEY, state TEXT NOT NULL, at INTEGER NOT NULL, detail TEXT NOT NULL, body TEXT NOT NULL
) STRICT;
CREATE INDEX deliveries_state ON deliveries (state);
CREATE TABLE targets (name TEXT PRIMARY KEY, body TEXT NOT NULL) STRICT;
CREATE TABLE silences (id TEXT PRIMARY KEY, body TEXT NOT NULL) STRICT;
