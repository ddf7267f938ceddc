-- Products: the catalogue, its search and the stock.

CREATE TABLE products (
  id          uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  sku         text NOT NULL UNIQUE,
  name        text NOT NULL CHECK (length(name) > 0),
  category    text NOT NULL,
  description text NOT NULL DEFAULT '',
  price       numeric(10,2) NOT NULL CHECK (price >= 0),
  stock       integer NOT NULL CHECK (stock >= 0)          -- the guard of every check-out
);
CREATE INDEX products_category ON products (category, name);
COMMENT ON TABLE products IS 'What the shop sells.';
COMMENT ON COLUMN products.stock IS 'Pieces that can be sold now.';
GRANT SELECT ON products TO anon, authenticated;

CREATE VIEW categories AS
  SELECT category, count(*) AS products, min(price) AS cheapest FROM products GROUP BY category;
GRANT SELECT ON categories TO anon, authenticated;

-- Every word must appear in the name or the description.
CREATE FUNCTION search_products(query text) RETURNS SETOF products LANGUAGE SQL STABLE
BEGIN ATOMIC
  SELECT * FROM products p
   WHERE NOT EXISTS (
     SELECT 1 FROM unnest(string_to_array(trim(query), ' ')) AS w (word)
      WHERE position(lower(w.word) IN lower(p.name || ' ' || p.description)) = 0)
   ORDER BY p.name, p.id;
END;
GRANT EXECUTE ON FUNCTION search_products(text) TO anon, authenticated;
