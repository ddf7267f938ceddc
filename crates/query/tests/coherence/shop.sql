-- A shop with every way of looking at it: policies, views of all kinds, functions, computed columns and relationships.

CREATE TYPE level AS ENUM ('low', 'mid', 'high');
CREATE TABLE categories (id integer PRIMARY KEY, name text NOT NULL, parent integer REFERENCES categories (id));
CREATE TABLE products (
  id integer PRIMARY KEY, category integer REFERENCES categories (id), name text NOT NULL, price numeric(10,2),
  stock integer, rating double precision, active boolean, level level, added timestamptz NOT NULL DEFAULT '2026-01-01T00:00:00Z',
  details jsonb, gross numeric(12,2) GENERATED ALWAYS AS (price * 2) STORED);
CREATE TABLE tags (id integer PRIMARY KEY, label text NOT NULL);
CREATE TABLE product_tags (
  product integer REFERENCES products (id) ON DELETE CASCADE, tag integer REFERENCES tags (id) ON DELETE CASCADE,
  PRIMARY KEY (product, tag));
CREATE TABLE members (id uuid PRIMARY KEY, team integer, admin boolean NOT NULL DEFAULT false);
CREATE TABLE notes (id integer PRIMARY KEY, owner uuid, team integer, body text NOT NULL, rank integer, public boolean NOT NULL);
ALTER TABLE notes ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON notes TO authenticated USING (owner = auth.uid());
CREATE POLICY team ON notes TO authenticated
  USING (EXISTS (SELECT 1 FROM members m WHERE m.id = auth.uid() AND m.team = notes.team AND NOT m.admin));
CREATE POLICY everyone ON notes USING (public);
CREATE VIEW cheap AS SELECT id, name, price, category FROM products WHERE price < 40 AND active;
CREATE VIEW per_category AS
  SELECT category, count(*) AS products, sum(stock) AS stock, max(price) AS dearest FROM products GROUP BY category;
CREATE VIEW shelf AS
  SELECT p.id, p.name, c.name AS category, c.id AS category_id FROM products p JOIN categories c ON c.id = p.category;
CREATE VIEW untagged AS
  SELECT p.id, p.name FROM products p LEFT JOIN product_tags t ON t.product = p.id WHERE t.tag IS NULL;
CREATE VIEW dearest AS SELECT id, name, price FROM products ORDER BY price DESC NULLS LAST, id LIMIT 20;
CREATE VIEW named AS SELECT DISTINCT name, category FROM products WHERE stock > 2;
CREATE VIEW either AS SELECT id, name FROM products WHERE active UNION SELECT id, name FROM categories;
CREATE VIEW sides AS
  SELECT p.id AS product, c.id AS category FROM products p FULL JOIN categories c ON c.id = p.category AND p.stock > 10;
CREATE VIEW backwards AS
  SELECT c.id, p.name FROM products p RIGHT JOIN categories c ON c.id = p.category AND p.active
   WHERE p.stock IS NULL OR p.stock > 3;
CREATE VIEW busy AS SELECT category, count(*) AS products FROM products GROUP BY category HAVING count(*) > 9;
CREATE VIEW dear AS WITH d AS (SELECT * FROM products WHERE price > 50)
  SELECT d.id, c.name FROM d JOIN categories c ON c.id = d.category;
CREATE VIEW overview AS
  SELECT c.id, (SELECT max(p.price) FROM products p WHERE p.category = c.id) AS most,
         EXISTS (SELECT 1 FROM products p WHERE p.category = c.id AND p.level = 'high') AS high FROM categories c;
CREATE VIEW cheapest AS SELECT category, min(price) AS price FROM cheap GROUP BY category;
CREATE FUNCTION in_category(c integer) RETURNS SETOF products LANGUAGE SQL STABLE
BEGIN ATOMIC SELECT * FROM products WHERE category = c; END;
CREATE FUNCTION tagged(l text) RETURNS TABLE (id integer, name text) LANGUAGE SQL STABLE SECURITY DEFINER
BEGIN ATOMIC
  SELECT p.id, p.name FROM products p JOIN product_tags pt ON pt.product = p.id JOIN tags t ON t.id = pt.tag
   WHERE t.label = l ORDER BY p.id;
END;
CREATE FUNCTION label_count(products) RETURNS bigint LANGUAGE SQL STABLE
BEGIN ATOMIC SELECT count(*) FROM product_tags WHERE product = $1.id AND $1.stock > 3; END;
CREATE FUNCTION siblings(products) RETURNS SETOF products LANGUAGE SQL STABLE
BEGIN ATOMIC SELECT * FROM products s WHERE s.category = $1.category AND s.id <> $1.id; END;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO anon, authenticated;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO anon, authenticated;
