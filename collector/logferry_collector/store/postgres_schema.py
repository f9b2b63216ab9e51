"""The tables of PostgreSQL, as steps that are never changed once released (what they mean: migrations.py).

They are made in the first schema of the search path, so that a URL with `?options=-csearch_path%3Dlab` keeps to
its own.
"""

from __future__ import annotations

STEPS: tuple[tuple[str, ...], ...] = (
    (
        # A path may be longer than a B-tree has room for.
        """CREATE TABLE file (
            id BIGINT PRIMARY KEY, path TEXT COLLATE "C" NOT NULL, version BIGINT NOT NULL,
            device BIGINT NOT NULL, inode BIGINT NOT NULL, size BIGINT NOT NULL,
            mtime_ns BIGINT NOT NULL, ctime_ns BIGINT NOT NULL,
            "offset" BIGINT NOT NULL, marker BYTEA NOT NULL, lines BIGINT NOT NULL,
            EXCLUDE USING hash (path WITH =))""",
        "CREATE INDEX file_inode ON file (inode, device)",
        """CREATE TABLE candidate (
            id BIGINT PRIMARY KEY, file BIGINT NOT NULL, ordinal BIGINT NOT NULL,
            experiment_id TEXT COLLATE "C" NOT NULL, run_id TEXT COLLATE "C" NOT NULL, part SMALLINT NOT NULL,
            revision BIGINT NOT NULL, mtime_ns BIGINT NOT NULL, document TEXT NOT NULL,
            UNIQUE (file, ordinal))""",
        "CREATE INDEX candidate_run ON candidate (experiment_id, run_id)",
        # A row is searched more often than shown: its maps stay in it, uncompressed.
        """CREATE TABLE result (
            experiment_id TEXT COLLATE "C" NOT NULL, run_id TEXT COLLATE "C" NOT NULL, candidate BIGINT NOT NULL,
            status TEXT COLLATE "C", host TEXT COLLATE "C", mtime_ns BIGINT NOT NULL,
            fields JSONB NOT NULL, config JSONB NOT NULL, metrics JSONB NOT NULL, merged TEXT,
            PRIMARY KEY (experiment_id, run_id)) WITH (toast_tuple_target = 8160)""",
        "CREATE INDEX result_status ON result (status, host)",
        "CREATE INDEX result_run ON result (run_id)",
        """CREATE TABLE reject (
            file BIGINT NOT NULL, line BIGINT NOT NULL, fault TEXT NOT NULL, reason TEXT NOT NULL,
            PRIMARY KEY (file, line))""",
        """CREATE TABLE key (
            section TEXT COLLATE "C" NOT NULL, name TEXT COLLATE "C" NOT NULL, path TEXT NOT NULL,
            PRIMARY KEY (section, name))""",
        # A text that is no time must not end a query: null.
        """CREATE FUNCTION logferry_time(text) RETURNS timestamptz LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
            SET timezone = 'UTC' AS $$ BEGIN RETURN $1::timestamptz;
            EXCEPTION WHEN data_exception THEN RETURN NULL; END $$""",
        """CREATE VIEW results AS SELECT r.experiment_id, r.run_id, r.fields ->> 'timestamp' AS timestamp, r.status,
            r.fields ->> 'model' AS model, r.fields ->> 'dataset' AS dataset, r.config, r.metrics,
            r.fields ->> 'notes' AS notes, r.fields ->> 'group' AS "group", r.fields -> 'tags' AS tags, r.host,
            r.fields ->> 'started' AS started,
            CASE jsonb_typeof(r.fields -> 'duration_s') WHEN 'number'
                THEN (r.fields -> 'duration_s')::double precision END AS duration_s,
            c.revision, c.document, f.path AS file
            FROM result r JOIN candidate c ON c.id = r.candidate JOIN file f ON f.id = c.file""",
        """CREATE VIEW metrics AS SELECT experiment_id, run_id, item.key AS key,
            CASE WHEN jsonb_typeof(item.value) = 'number' OR item.value IN ('"Infinity"', '"-Infinity"')
                THEN (item.value #>> '{}')::double precision END AS value,
            item.value #>> '{}' AS text
            FROM result, jsonb_each(result.metrics) AS item""",
        """CREATE VIEW config AS SELECT experiment_id, run_id, item.key AS key,
            CASE jsonb_typeof(item.value) WHEN 'number' THEN (item.value #>> '{}')::double precision END AS value,
            item.value #>> '{}' AS text
            FROM result, jsonb_each(result.config) AS item""",
    ),
)
