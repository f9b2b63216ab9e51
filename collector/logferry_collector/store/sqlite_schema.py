"""The tables of SQLite, as steps that are never changed once released (what they mean: migrations.py)."""

from __future__ import annotations

STEPS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE file (
            id INTEGER PRIMARY KEY, path TEXT NOT NULL UNIQUE, version INTEGER NOT NULL,
            device INTEGER NOT NULL, inode INTEGER NOT NULL, size INTEGER NOT NULL,
            mtime_ns INTEGER NOT NULL, ctime_ns INTEGER NOT NULL,
            "offset" INTEGER NOT NULL, marker BLOB NOT NULL, lines INTEGER NOT NULL)""",
        "CREATE INDEX file_inode ON file (inode, device)",
        """CREATE TABLE candidate (
            id INTEGER PRIMARY KEY, file INTEGER NOT NULL REFERENCES file (id), ordinal INTEGER NOT NULL,
            experiment_id TEXT NOT NULL, run_id TEXT NOT NULL, part INTEGER NOT NULL,
            revision INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, document TEXT NOT NULL,
            UNIQUE (file, ordinal))""",
        "CREATE INDEX candidate_run ON candidate (experiment_id, run_id)",
        """CREATE TABLE result (
            experiment_id TEXT NOT NULL, run_id TEXT NOT NULL, candidate INTEGER NOT NULL REFERENCES candidate (id),
            status TEXT, host TEXT, mtime_ns INTEGER NOT NULL, config TEXT NOT NULL, metrics TEXT NOT NULL,
            PRIMARY KEY (experiment_id, run_id))""",
        "CREATE INDEX result_status ON result (status, host)",
        "CREATE INDEX result_run ON result (run_id)",
        """CREATE TABLE reject (
            file INTEGER NOT NULL REFERENCES file (id), line INTEGER NOT NULL,
            fault TEXT NOT NULL, reason TEXT NOT NULL, PRIMARY KEY (file, line)) WITHOUT ROWID""",
        """CREATE TABLE key (
            section TEXT NOT NULL, name TEXT NOT NULL, path TEXT NOT NULL,
            PRIMARY KEY (section, name)) WITHOUT ROWID""",
        """CREATE VIEW results AS SELECT r.experiment_id, r.run_id,
            json_extract(c.document, '$.timestamp') AS timestamp, r.status,
            json_extract(c.document, '$.model') AS model, json_extract(c.document, '$.dataset') AS dataset,
            r.config, r.metrics, json_extract(c.document, '$.notes') AS notes,
            json_extract(c.document, '$."group"') AS "group", json_extract(c.document, '$.tags') AS tags, r.host,
            json_extract(c.document, '$.started') AS started, json_extract(c.document, '$.duration_s') AS duration_s,
            c.revision, c.document, f.path AS file
            FROM result r JOIN candidate c ON c.id = r.candidate JOIN file f ON f.id = c.file""",
        """CREATE VIEW metrics AS SELECT experiment_id, run_id, item.key AS name, item.value AS value
            FROM result, json_each(result.metrics) AS item""",
        """CREATE VIEW config AS SELECT experiment_id, run_id, item.key AS name, item.value AS value
            FROM result, json_each(result.config) AS item""",
    ),
    (
        "ALTER TABLE result ADD COLUMN fields TEXT NOT NULL DEFAULT '{}'",
        "ALTER TABLE result ADD COLUMN merged TEXT",
        """UPDATE result SET fields = (SELECT json_replace(document, '$.config', NULL, '$.metrics', NULL)
            FROM candidate c WHERE c.id = result.candidate)""",
        """UPDATE result SET merged = json_object('metrics', json(metrics)) WHERE EXISTS (SELECT 1 FROM candidate c
            WHERE c.experiment_id = result.experiment_id AND c.run_id = result.run_id AND c.part)""",
        "DROP VIEW results",
        "DROP VIEW metrics",
        "DROP VIEW config",
        """CREATE VIEW results AS SELECT r.experiment_id, r.run_id,
            json_extract(r.fields, '$.timestamp') AS timestamp, r.status,
            json_extract(r.fields, '$.model') AS model, json_extract(r.fields, '$.dataset') AS dataset,
            r.config, r.metrics, json_extract(r.fields, '$.notes') AS notes,
            json_extract(r.fields, '$."group"') AS "group", json_extract(r.fields, '$.tags') AS tags, r.host,
            json_extract(r.fields, '$.started') AS started, json_extract(r.fields, '$.duration_s') AS duration_s,
            c.revision, c.document, f.path AS file
            FROM result r JOIN candidate c ON c.id = r.candidate JOIN file f ON f.id = c.file""",
        """CREATE VIEW metrics AS SELECT experiment_id, run_id, item.key AS key,
            CASE WHEN item.type IN ('integer', 'real') THEN item.value
                WHEN item.value = 'Infinity' THEN 9e999 WHEN item.value = '-Infinity' THEN -9e999 END AS value,
            CAST(item.value AS TEXT) AS text
            FROM result, json_each(result.metrics) AS item""",
        """CREATE VIEW config AS SELECT experiment_id, run_id, item.key AS key,
            CASE WHEN item.type IN ('integer', 'real') THEN item.value END AS value,
            CASE item.type WHEN 'true' THEN 'true' WHEN 'false' THEN 'false' ELSE CAST(item.value AS TEXT) END AS text
            FROM result, json_each(result.config) AS item""",
    ),
)
