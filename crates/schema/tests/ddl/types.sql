CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
ALTER TYPE mood ADD VALUE 'fine' BEFORE 'happy';
ALTER TYPE mood ADD VALUE IF NOT EXISTS 'great';
ALTER TYPE mood RENAME VALUE 'sad' TO 'blue';
CREATE DOMAIN email AS text NOT NULL DEFAULT 'a@b' CHECK (VALUE ~ '@') CONSTRAINT short CHECK (length(VALUE) < 100);
CREATE DOMAIN percent AS integer CHECK (value BETWEEN 0 AND 100);
CREATE TYPE address AS (street text, "Zip" varchar(10), moods mood[]);
CREATE TYPE span AS RANGE (subtype = float8);
CREATE SCHEMA s;
CREATE TYPE s.mood AS ENUM ('x');
CREATE EXTENSION postgis WITH SCHEMA extensions;
CREATE TABLE people (
  m mood DEFAULT 'ok'::mood, n public.mood[], o s.mood, mail email, share percent NOT NULL, home address, s span,
  place extensions.geometry(POINT, 4326), v vector(3), i interval DEFAULT '1 day'::interval, f float(10), g double precision,
  t time with time zone, b bit varying(5), d decimal(5), x pg_catalog.int4, y "char"
);
CREATE TABLE wrong (a intger, b citext, c numeric(5,-2), d varchar(0), e moood);
SET search_path = s, public;
CREATE TABLE inner_one (m mood);
-- A domain over a domain is what both are; elsewhere than in columns nobody looks.
CREATE DOMAIN whole AS int NOT NULL DEFAULT 7 CHECK (VALUE >= 0);
CREATE DOMAIN small AS whole CHECK (VALUE < 100);
CREATE DOMAIN plain AS text;
CREATE TABLE nested (id int PRIMARY KEY, n small, d small DEFAULT '5'::small, p plain);
CREATE TABLE lists (n small[], p plain[]);
CREATE TYPE pair AS (a small, b plain);
CREATE VIEW shrunk AS SELECT id::small AS n, small '3' AS three, 'x'::plain AS p FROM nested;
CREATE FUNCTION shrink(n small, p plain) RETURNS whole LANGUAGE sql AS 'SELECT CAST(n + 1 AS small)';
