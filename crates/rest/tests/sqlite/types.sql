CREATE TABLE hosts (
  id integer PRIMARY KEY,
  address inet,
  network cidr,
  mac macaddr,
  mac8 macaddr8,
  flags bit(3),
  mask bit varying(4),
  price money,
  object oid,
  at timetz,
  seen inet[]
);

CREATE TABLE padded (id integer PRIMARY KEY, c char(4), t text, i2 smallint, ok boolean, key uuid, raw bytea);
CREATE VIEW padded_view AS SELECT id, c, octet_length(c) AS octets, length(c) AS characters, c::text || '|' AS text FROM padded;
CREATE FUNCTION padded_of(p integer) RETURNS SETOF padded LANGUAGE SQL STABLE AS $$ SELECT * FROM padded WHERE id = p $$;
CREATE FUNCTION cut() RETURNS text LANGUAGE SQL STABLE AS $$ SELECT 'abc'::char(2)::text $$;
CREATE FUNCTION code(p integer) RETURNS char(4) LANGUAGE SQL STABLE AS $$ SELECT c FROM padded WHERE id = p $$;

CREATE TYPE mood AS ENUM ('calm', 'cross');
CREATE TABLE arrays (id integer PRIMARY KEY, ia integer[], ta text[], m mood);

CREATE TABLE things (id integer PRIMARY KEY, name text, price numeric(8,2), made date, tags text[]);
CREATE FUNCTION thing(p integer) RETURNS things LANGUAGE SQL STABLE AS $$ SELECT * FROM things WHERE id = p $$;
CREATE FUNCTION pair(p integer, OUT a integer, OUT b text) LANGUAGE SQL STABLE STRICT AS $$ SELECT id, name FROM things WHERE id = p $$;
CREATE FUNCTION shout(t things) RETURNS text LANGUAGE SQL IMMUTABLE AS $$ SELECT upper(t.name) || coalesce(t.price::text, '-') $$;

CREATE TABLE moments (id integer PRIMARY KEY, tz timestamptz, d date);
