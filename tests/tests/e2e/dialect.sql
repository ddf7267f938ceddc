-- What a database may have that a project's own schema has not, and the dialect makes something of.
CREATE DOMAIN color AS integer;
CREATE FUNCTION shown(color) RETURNS json LANGUAGE sql IMMUTABLE
    AS $$ SELECT to_json('#' || lpad(to_hex($1), 6, '0')) $$;
CREATE FUNCTION of_text(text) RETURNS color LANGUAGE sql IMMUTABLE
    AS $$ SELECT ('x' || lpad(ltrim($1, '#'), 8, '0'))::bit(32)::int::color $$;
CREATE FUNCTION of_json(json) RETURNS color LANGUAGE sql IMMUTABLE AS $$ SELECT of_text($1 #>> '{}') $$;
CREATE CAST (color AS json) WITH FUNCTION shown(color) AS IMPLICIT;
CREATE CAST (json AS color) WITH FUNCTION of_json(json) AS IMPLICIT;
CREATE CAST (text AS color) WITH FUNCTION of_text(text) AS IMPLICIT;
CREATE TABLE paints (id integer PRIMARY KEY, name text, tint color);
INSERT INTO paints VALUES (1, 'white', x'ffffff'::int), (2, 'navy', 128);
CREATE VIEW dark_paints AS SELECT id, name, tint FROM paints;

CREATE TABLE sales (shop integer, year integer, total numeric, PRIMARY KEY (shop, year)) PARTITION BY RANGE (year);
CREATE TABLE sales_2020 PARTITION OF sales FOR VALUES FROM (2020) TO (2030);
INSERT INTO sales VALUES (1, 2021, 5);

CREATE TABLE shelves (id integer PRIMARY KEY, room text);
CREATE TABLE books (id integer PRIMARY KEY, shelf integer REFERENCES shelves, price integer, path text);
INSERT INTO shelves VALUES (1, 'hall'), (2, 'attic');
INSERT INTO books SELECT n, n % 2 + 1, n * 10, 'a.b' FROM generate_series(1, 4) n;
CREATE FUNCTION best(shelves) RETURNS SETOF books ROWS 1 LANGUAGE sql STABLE
    AS $$ SELECT * FROM books WHERE shelf = $1.id ORDER BY price DESC $$;
CREATE FUNCTION first_book() RETURNS record LANGUAGE sql STABLE AS $$ SELECT id, price FROM books ORDER BY id LIMIT 1 $$;
CREATE FUNCTION all_books() RETURNS SETOF record LANGUAGE sql STABLE AS $$ SELECT id, price FROM books ORDER BY id LIMIT 2 $$;
CREATE FUNCTION touch() RETURNS void LANGUAGE sql VOLATILE AS $$ SELECT $$;

CREATE TABLE many AS SELECT generate_series(1, 300) AS n;
ANALYZE many;

CREATE TABLE notes (id integer PRIMARY KEY, text text, place integer UNIQUE DEFERRABLE INITIALLY DEFERRED);
INSERT INTO notes VALUES (1, 'one', 1);
CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    PERFORM set_config('response.headers', '[{"x-note": "told"}]', true);
    PERFORM set_config('response.status', '207', true);
    RETURN new;
END $$;
CREATE TRIGGER tell BEFORE UPDATE ON notes FOR EACH ROW EXECUTE FUNCTION tell();
CREATE FUNCTION twice() RETURNS void LANGUAGE sql VOLATILE AS $$ INSERT INTO notes VALUES (7, 'a', 9), (8, 'b', 9) $$;
