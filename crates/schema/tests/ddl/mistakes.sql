CREATE TABLE t (id int PRIMARY KEY, user_id uuid REFERENCES auth.users, x int REFERENCES tt, y text REFERENCES t, z int REFERENCES t (nope));
CREATE TABLE t (id int);
CREATE TABLE broken (id int,, name text;
CREATE TABLE after_it (id int);
CREATE TABLE child (id int) INHERITS (t);
CREATE TABLE nowhere.x (id int);
CREATE TABLE two (a int, a text, PRIMARY KEY (a), PRIMARY KEY (a));
CREATE TABLE ex (r int4range, EXCLUDE USING gist (r WITH &&));
CREATE TEMP TABLE tmp (id int);
CREATE TABLE u (a int REFERENCES after_it (id), b int DEFAULT id, c int CHECK (cc > 0), d int DEFAULT 'x' || 1);
ALTER TABLE t ADD CONSTRAINT c CHECK (nope > 1), DROP CONSTRAINT none;
ALTER TABLE t ALTER COLUMN nope SET NOT NULL;
CREATE INDEX ON t (nope);
CREATE INDEX ON t USING gin (to_tsvector('english', x::text));
CREATE UNIQUE INDEX ON t (strange(x));
CREATE POLICY p ON t FOR INSERT USING (true);
CREATE POLICY p ON t USING (nope = 1);
CREATE TABLE coll (a text COLLATE "de_DE", b text COLLATE "C");
\i other.sql
\echo hello
DO $$ BEGIN NULL; END $$;
CREATE RULE r AS ON INSERT TO t DO NOTHING;
CREATE TABLE x AS SELECT 1 AS one;
SELECT 1;
COMMENT ON TABLE nope IS 'x';
CREATE SEQUENCE s START 5; CREATE SEQUENCE s;
ALTER TABLE t ADD COLUMN n int DEFAULT nextval('ss');
FOO BAR;
