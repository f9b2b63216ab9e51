"""What groups need of all results, apart from them, in PostgreSQL: a narrow table that triggers keep.

An index does not help there: PostgreSQL looks up each row all the same when an expression is asked for. A row of such a
table is a tenth of a result's, and nothing has to be taken out of a document. Its name is that of an index; its columns
are `candidate`, which `result` has once, then `k<n>` that makes groups, `m<n>` that is measured, and `w<n>` that is
filtered by.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from logferry_collector.store.fragment import Sql, joined, sql


def made(name: str, grouped: Sequence[Sql], measured: Sequence[Sql], filtered: Sequence[Sql]) -> Iterator[Sql]:
    """Yield the statements that make one; the pieces are of a row `r` and bind nothing."""
    columns = [Sql("r.candidate")]
    for letter, pieces in (("k", grouped), ("m", measured), ("w", filtered)):
        columns += [sql(f"? AS {letter}{place}", piece) for place, piece in enumerate(pieces)]
    select = sql("SELECT ? FROM", joined(", ", columns))
    yield sql(f'CREATE TABLE "{name}" AS ? result r', select)
    yield Sql(f'ALTER TABLE "{name}" ADD CONSTRAINT "of_{name}" PRIMARY KEY (candidate)')
    body = (
        f"BEGIN IF TG_OP = 'INSERT' THEN INSERT INTO \"{name}\" {select.text} changed r; "
        f'ELSE DELETE FROM "{name}" WHERE candidate IN (SELECT candidate FROM changed); END IF; RETURN NULL; END'
    ).replace("'", "''")
    # As whoever made it, who owns the table: other writers have no rights to it. Temporary tables come last, not first:
    # one of this name, with a trigger of another writer's, would have that run by the owner.
    yield Sql("SELECT set_config('search_path', current_setting('search_path') || ', pg_temp', true)")
    how = "LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT"
    yield Sql(f"CREATE FUNCTION \"{name}\"() RETURNS trigger {how} AS '{body}'")
    for event, kind in (("INSERT", "NEW"), ("DELETE", "OLD")):
        when = f"AFTER {event} ON result REFERENCING {kind} TABLE AS changed FOR EACH STATEMENT"
        yield Sql(f'CREATE TRIGGER "{name}_{event.lower()}" {when} EXECUTE FUNCTION "{name}"()')
    yield Sql(f'ANALYZE "{name}"')


def differing(name: str, body: str) -> Sql:
    """Return a query that counts the rows of one that are not as its function, of this body, makes them."""
    select = body.partition(f'INSERT INTO "{name}" ')[2].partition(" changed r;")[0] + " result r"
    there = f'TABLE "{name}"'
    both = f"({there} EXCEPT ALL {select}) UNION ALL ({select} EXCEPT ALL {there})"
    return Sql(f"SELECT count(*) FROM ({both}) AS differing")


def gone(name: str) -> Iterator[Sql]:
    """Yield the statements that remove one."""
    yield Sql(f'DROP FUNCTION IF EXISTS "{name}"() CASCADE')
    yield Sql(f'DROP TABLE IF EXISTS "{name}"')
