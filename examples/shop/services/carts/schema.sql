-- Carts: a guest's is known by an identifier that nobody can guess; a user's by its owner.

CREATE TABLE carts (
  id         uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  user_id    uuid UNIQUE DEFAULT auth.uid(),                -- NULL: a guest's; a user has one
  created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE cart_items (
  cart_id    uuid NOT NULL REFERENCES carts (id) ON DELETE CASCADE,
  product_id uuid NOT NULL REFERENCES products (id),
  quantity   integer NOT NULL CHECK (quantity BETWEEN 1 AND 999),
  PRIMARY KEY (cart_id, product_id)
);

ALTER TABLE carts ENABLE ROW LEVEL SECURITY;
ALTER TABLE cart_items ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_cart ON carts TO authenticated USING (user_id = auth.uid());
CREATE POLICY own_items ON cart_items TO authenticated
  USING (cart_id IN (SELECT id FROM carts WHERE user_id = auth.uid()));
GRANT SELECT, INSERT (user_id) ON carts TO authenticated;
GRANT SELECT, INSERT, UPDATE (quantity), DELETE ON cart_items TO authenticated;

-- A guest reaches a cart only by naming it.
CREATE FUNCTION new_cart() RETURNS SETOF carts LANGUAGE SQL SECURITY DEFINER SET search_path = public
BEGIN ATOMIC
  INSERT INTO carts (user_id) VALUES (auth.uid()) ON CONFLICT (user_id) DO UPDATE SET user_id = excluded.user_id RETURNING *;
END;

CREATE FUNCTION add_to_cart(cart uuid, product uuid, quantity integer DEFAULT 1)
  RETURNS SETOF cart_items LANGUAGE SQL SECURITY DEFINER SET search_path = public
BEGIN ATOMIC
  INSERT INTO cart_items (cart_id, product_id, quantity)
  SELECT c.id, add_to_cart.product, add_to_cart.quantity FROM carts c
   WHERE c.id = cart AND (c.user_id IS NULL OR c.user_id = auth.uid())
  ON CONFLICT (cart_id, product_id) DO UPDATE SET quantity = cart_items.quantity + excluded.quantity
  RETURNING *;
END;

CREATE FUNCTION cart_contents(cart uuid)
  RETURNS TABLE (product_id uuid, name text, price numeric(10,2), quantity integer, amount numeric)
  LANGUAGE SQL STABLE SECURITY DEFINER SET search_path = public
BEGIN ATOMIC
  SELECT p.id, p.name, p.price, i.quantity, p.price * i.quantity
    FROM cart_items i JOIN carts c ON c.id = i.cart_id JOIN products p ON p.id = i.product_id
   WHERE c.id = cart AND (c.user_id IS NULL OR c.user_id = auth.uid())
   ORDER BY p.name;
END;

-- At login: the guest's cart joins the user's, and is gone.
CREATE FUNCTION merge_cart(guest uuid) RETURNS SETOF carts LANGUAGE SQL SECURITY DEFINER SET search_path = public
BEGIN ATOMIC
  INSERT INTO carts (user_id) VALUES (auth.uid()) ON CONFLICT (user_id) DO NOTHING;
  INSERT INTO cart_items (cart_id, product_id, quantity)
  SELECT own.id, i.product_id, i.quantity
    FROM cart_items i JOIN carts g ON g.id = i.cart_id, carts own
   WHERE g.id = guest AND g.user_id IS NULL AND own.user_id = auth.uid()
  ON CONFLICT (cart_id, product_id) DO UPDATE SET quantity = cart_items.quantity + excluded.quantity;
  DELETE FROM carts WHERE id = guest AND user_id IS NULL;
  SELECT * FROM carts WHERE user_id = auth.uid();
END;

GRANT EXECUTE ON FUNCTION new_cart, add_to_cart, cart_contents TO anon, authenticated;
GRANT EXECUTE ON FUNCTION merge_cart TO authenticated;
