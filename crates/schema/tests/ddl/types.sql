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
