CREATE TABLE Users (
  id bigserial PRIMARY KEY,
  "E-Mail" text NOT NULL UNIQUE,
  name varchar(40) DEFAULT 'nobody' CHECK (length(name) > 0),
  age int CONSTRAINT grown_up CHECK (age >= 18),
  balance numeric(10,2) NOT NULL DEFAULT 0.00,
  tags text[] DEFAULT '{}',
  born date, at timestamptz DEFAULT now(), naive timestamp(3),
  flag char, code character(3), blob bytea, j jsonb, net inet, r int4range,
  total numeric GENERATED ALWAYS AS (balance * 2) STORED
);
COMMENT ON TABLE users IS 'People.';
COMMENT ON COLUMN users."E-Mail" IS 'Where they are reached.';
CREATE TABLE IF NOT EXISTS users (x int);

CREATE TABLE orders (
  id int GENERATED ALWAYS AS IDENTITY (START WITH 100 INCREMENT BY 5),
  user_id bigint NOT NULL REFERENCES users ON DELETE CASCADE ON UPDATE SET NULL DEFERRABLE INITIALLY DEFERRED,
  parent int REFERENCES orders (id),
  a int, b int,
  CHECK (a > b), CHECK (a > 0), CHECK (a < 100), CHECK (1 > 0),
  PRIMARY KEY (id), UNIQUE (a, b), UNIQUE NULLS NOT DISTINCT (b)
);
CREATE TABLE members (
  user_id bigint REFERENCES users (id), order_id int, PRIMARY KEY (user_id, order_id),
  FOREIGN KEY (order_id) REFERENCES orders
);
CREATE INDEX ON orders (user_id, lower(b::text), a DESC);
CREATE INDEX ON orders (user_id, lower(b::text), a DESC);
CREATE UNIQUE INDEX named ON orders USING btree (parent ASC NULLS FIRST) WHERE a IS NOT NULL;
CREATE TABLE copy (LIKE orders INCLUDING ALL EXCLUDING COMMENTS, extra text);
CREATE TABLE plain (LIKE users);
CREATE TABLE part (id int NOT NULL, at date) PARTITION BY RANGE (at);
CREATE TABLE part_1 PARTITION OF part FOR VALUES FROM ('2020-01-01') TO ('2021-01-01');
CREATE TABLE part_2 (id int NOT NULL, at date);
ALTER TABLE ONLY part ATTACH PARTITION part_2 DEFAULT;
INSERT INTO part_1 VALUES (1, '2020-05-05');
CREATE TABLE key_first (PRIMARY KEY (k1, k2), k1 int CHECK (k1 > 0), k2 text UNIQUE);
CREATE UNLOGGED TABLE fast (id int);
CREATE TABLE "Mixed" ("Id" uuid PRIMARY KEY DEFAULT gen_random_uuid(), other uuid REFERENCES "Mixed");
