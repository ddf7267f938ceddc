-- One of everything that introspection tells apart.
CREATE ROLE anon;
CREATE ROLE readers;
CREATE ROLE authenticated;
GRANT readers TO authenticated;
CREATE ROLE outsider LOGIN;
CREATE ROLE trusted BYPASSRLS;

CREATE SCHEMA private;
CREATE SCHEMA "Odd Schema";
CREATE SCHEMA elsewhere;

CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE TYPE elsewhere."Size" AS ENUM ('s', 'm');
CREATE DOMAIN positive AS integer DEFAULT 1 CHECK (VALUE > 0);
CREATE DOMAIN very_positive AS positive NOT NULL;
CREATE DOMAIN "text/html" AS text;
CREATE TYPE pair AS (a integer, b text);
CREATE TYPE floats AS RANGE (subtype = float8);

CREATE TABLE countries (
  id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name text NOT NULL UNIQUE
);
COMMENT ON TABLE countries IS 'Where people live.';
COMMENT ON COLUMN countries.name IS 'In English.';

CREATE TABLE people (
  id bigserial PRIMARY KEY,
  gone text,
  name varchar(40) NOT NULL,
  born date,
  feeling mood DEFAULT 'ok',
  size elsewhere."Size",
  rank positive,
  level very_positive,
  tags text[] DEFAULT '{}',
  home pair,
  span int4range,
  spans floats,
  address inet,
  price numeric(10,2),
  code character(3),
  search tsvector GENERATED ALWAYS AS (to_tsvector('simple', coalesce(name, ''))) STORED,
  country_id integer REFERENCES countries ON DELETE SET NULL ON UPDATE CASCADE,
  boss_id bigint CONSTRAINT boss REFERENCES people DEFERRABLE INITIALLY DEFERRED,
  UNIQUE (name, born)
);
ALTER TABLE people DROP COLUMN gone;
CREATE INDEX people_born ON people (born DESC, name) WHERE born IS NOT NULL;
CREATE UNIQUE INDEX people_address ON people (address);
CREATE INDEX people_lower ON people (lower(name));

CREATE TABLE passports (
  person_id bigint PRIMARY KEY REFERENCES people,
  number text NOT NULL
);

-- A compound key.
CREATE TABLE visits (
  country_id integer REFERENCES countries,
  person_id bigint REFERENCES people,
  nth integer,
  PRIMARY KEY (country_id, person_id, nth)
);
CREATE TABLE stamps (
  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  country_id integer,
  person_id bigint,
  nth integer,
  FOREIGN KEY (country_id, person_id, nth) REFERENCES visits
);

-- A table of another schema, seen through views only.
CREATE TABLE private.secrets (id integer PRIMARY KEY, person_id bigint REFERENCES public.people, word text);
CREATE TABLE private.unused (id integer);
CREATE VIEW secret_ids AS SELECT id AS secret, person_id AS person FROM private.secrets;
CREATE VIEW adults WITH (security_invoker = on) AS SELECT id, name, country_id FROM people WHERE born < '2000-01-01';
CREATE VIEW adults_of AS SELECT a.id AS adult, upper(a.name) AS name, a.country_id AS first, a.country_id AS second FROM adults a;
CREATE VIEW mixed AS
  WITH c AS (SELECT id, name FROM countries)
  SELECT p.id, s.name AS country FROM people p JOIN (SELECT * FROM c) s ON s.id = p.country_id ORDER BY p.born;
CREATE VIEW "we ird(" AS SELECT id AS "i}d", name AS "n:targetList ({" FROM countries;
CREATE VIEW both_kinds AS SELECT id FROM people UNION ALL SELECT id FROM countries;
CREATE MATERIALIZED VIEW counted AS SELECT country_id, count(*) AS n FROM people GROUP BY country_id;
CREATE VIEW through_trigger AS SELECT country_id, count(*) AS n FROM people GROUP BY country_id;
CREATE FUNCTION on_write() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER write INSTEAD OF INSERT ON through_trigger FOR EACH ROW EXECUTE FUNCTION on_write();

CREATE TABLE events (at timestamptz NOT NULL, country_id integer REFERENCES countries, PRIMARY KEY (at)) PARTITION BY RANGE (at);
CREATE TABLE events_2024 PARTITION OF events FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
CREATE TABLE events_2025 PARTITION OF events FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');

CREATE FOREIGN DATA WRAPPER nowhere;
CREATE SERVER far FOREIGN DATA WRAPPER nowhere;
CREATE FOREIGN TABLE remote (id integer, word text) SERVER far;

CREATE TABLE "Odd Schema"."Odd ""Table" ("Odd.Column" integer PRIMARY KEY, feeling mood);

-- Functions of every form.
CREATE FUNCTION nothing() RETURNS void LANGUAGE sql AS '';
CREATE FUNCTION add(a integer, b integer DEFAULT 10) RETURNS integer LANGUAGE sql IMMUTABLE STRICT AS 'SELECT a + b';
CREATE FUNCTION add(a text, b text DEFAULT 'x, y') RETURNS text LANGUAGE sql STABLE AS 'SELECT a || b';
CREATE FUNCTION whole(json) RETURNS json LANGUAGE sql AS 'SELECT $1';
CREATE FUNCTION raw(bytea) RETURNS bytea LANGUAGE sql AS 'SELECT $1';
CREATE FUNCTION unnamed(integer, integer) RETURNS integer LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION many(VARIADIC words text[]) RETURNS SETOF text LANGUAGE sql AS 'SELECT unnest(words)';
CREATE FUNCTION one_out(IN a integer, OUT b integer) LANGUAGE sql AS 'SELECT a';
CREATE FUNCTION outs(IN a integer, OUT b integer, INOUT c text DEFAULT 'c') LANGUAGE sql AS 'SELECT a, c';
CREATE FUNCTION tabled(n integer) RETURNS TABLE (i integer, word text) LANGUAGE sql AS 'SELECT 1, ''a''';
CREATE FUNCTION pairs() RETURNS SETOF pair LANGUAGE sql AS 'SELECT 1, ''a''';
CREATE FUNCTION of_people() RETURNS SETOF people LANGUAGE sql STABLE SECURITY DEFINER AS 'SELECT * FROM people';
CREATE FUNCTION of_secret() RETURNS private.secrets LANGUAGE sql AS 'SELECT * FROM private.secrets';
CREATE FUNCTION loose() RETURNS SETOF record LANGUAGE sql AS 'SELECT 1, 2';
CREATE FUNCTION moods(m mood, p positive, s elsewhere."Size"[], c character) RETURNS mood[] LANGUAGE sql AS 'SELECT ARRAY[m]';
CREATE FUNCTION page() RETURNS "text/html" LANGUAGE sql SET statement_timeout = '1s' AS 'SELECT ''<p>''';
CREATE FUNCTION full_name(people) RETURNS text LANGUAGE sql STABLE AS 'SELECT $1.name';
CREATE FUNCTION homeland(people) RETURNS SETOF countries ROWS 1 LANGUAGE sql STABLE AS 'SELECT * FROM countries WHERE id = $1.country_id';
CREATE FUNCTION citizens(c countries) RETURNS SETOF people LANGUAGE sql STABLE AS 'SELECT * FROM people WHERE country_id = c.id';
CREATE FUNCTION elsewhere.shout(people) RETURNS text LANGUAGE sql STABLE AS 'SELECT upper($1.name)';
CREATE FUNCTION elsewhere.not_of_a_row(a integer) RETURNS integer LANGUAGE sql AS 'SELECT a';
CREATE FUNCTION guess(a anyelement) RETURNS anyelement LANGUAGE sql AS 'SELECT a';
CREATE FUNCTION private_part() RETURNS integer LANGUAGE sql AS 'SELECT 1';
CREATE PROCEDURE proceed(a integer) LANGUAGE sql AS '';
CREATE AGGREGATE total (integer) (sfunc = int4pl, stype = integer);
CREATE FUNCTION to_page(text, people) RETURNS text LANGUAGE sql AS 'SELECT $1';
CREATE FUNCTION finish_page(text) RETURNS "text/html" LANGUAGE sql AS 'SELECT $1::"text/html"';
CREATE AGGREGATE page_of (people) (sfunc = to_page, stype = text, finalfunc = finish_page, initcond = '');
CREATE FUNCTION positive_json(positive) RETURNS json LANGUAGE sql IMMUTABLE AS 'SELECT to_json($1::text)';
SET client_min_messages = error;
CREATE CAST (positive AS json) WITH FUNCTION positive_json(positive) AS IMPLICIT;

-- Who may what.
ALTER TABLE people ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON people FOR SELECT TO anon, authenticated USING (name = current_user);
CREATE POLICY never ON people AS RESTRICTIVE FOR DELETE USING (false);
GRANT SELECT ON countries TO PUBLIC;
GRANT SELECT (id, name), UPDATE (name) ON people TO anon;
GRANT SELECT, INSERT ON people TO readers;
GRANT SELECT ON secret_ids TO anon;
GRANT INSERT ON visits TO anon;
REVOKE EXECUTE ON FUNCTION private_part() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION private_part() TO readers;
GRANT SELECT ON "Odd Schema"."Odd ""Table" TO anon;
