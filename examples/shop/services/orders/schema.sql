-- Orders: a cart becomes an order in one transaction; payment follows by event.

CREATE TABLE orders (
  id        uuid PRIMARY KEY,                               -- the cart's: a cart is bought once
  user_id   uuid NOT NULL,
  total     numeric(12,2) NOT NULL CHECK (total >= 0),
  card      text NOT NULL,
  status    text NOT NULL DEFAULT 'placed' CHECK (status IN ('placed', 'paid', 'failed')),
  placed_at timestamptz NOT NULL DEFAULT now(),
  paid_at   timestamptz
);
CREATE INDEX orders_user ON orders (user_id, placed_at);

CREATE TABLE order_items (
  order_id   uuid NOT NULL REFERENCES orders (id) ON DELETE CASCADE,
  product_id uuid NOT NULL REFERENCES products (id),
  quantity   integer NOT NULL CHECK (quantity > 0),
  price      numeric(10,2) NOT NULL,
  PRIMARY KEY (order_id, product_id)
);

ALTER TABLE orders ENABLE ROW LEVEL SECURITY;
ALTER TABLE order_items ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_orders ON orders FOR SELECT TO authenticated USING (user_id = auth.uid());
CREATE POLICY own_order_items ON order_items FOR SELECT TO authenticated
  USING (EXISTS (SELECT 1 FROM orders o WHERE o.id = order_id AND o.user_id = auth.uid()));
GRANT SELECT ON orders, order_items TO authenticated;

CREATE FUNCTION checkout(cart uuid, card text DEFAULT 'tok_visa')
  RETURNS SETOF orders LANGUAGE SQL SECURITY DEFINER SET search_path = public
BEGIN ATOMIC
  UPDATE products p SET stock = stock - l.n
    FROM (SELECT i.product_id, sum(i.quantity) AS n FROM cart_items i JOIN carts c ON c.id = i.cart_id
           WHERE c.id = cart AND c.user_id = auth.uid() GROUP BY i.product_id) l
   WHERE p.id = l.product_id;
  INSERT INTO orders (id, user_id, total, card)
  SELECT c.id, c.user_id, sum(p.price * i.quantity), checkout.card
    FROM carts c JOIN cart_items i ON i.cart_id = c.id JOIN products p ON p.id = i.product_id
   WHERE c.id = cart AND c.user_id = auth.uid() GROUP BY c.id, c.user_id;
  INSERT INTO order_items (order_id, product_id, quantity, price)
  SELECT c.id, i.product_id, i.quantity, p.price
    FROM carts c JOIN cart_items i ON i.cart_id = c.id JOIN products p ON p.id = i.product_id
   WHERE c.id = cart AND c.user_id = auth.uid();
  DELETE FROM carts WHERE id = cart AND user_id = auth.uid() AND EXISTS (SELECT 1 FROM orders o WHERE o.id = cart);
  SELECT emit('order.placed', jsonb_build_object('id', o.id, 'user_id', o.user_id, 'total', o.total, 'card', o.card), o.id::text)
    FROM orders o WHERE o.id = cart AND o.user_id = auth.uid() AND o.status = 'placed';
  SELECT * FROM orders o WHERE o.id = cart AND o.user_id = auth.uid();
END;
GRANT EXECUTE ON FUNCTION checkout TO authenticated;

-- What payments reports. A failed payment gives the stock back; a second report of the same order changes nothing.
CREATE FUNCTION settle_payment(order_id uuid, paid boolean)
  RETURNS SETOF orders LANGUAGE SQL SECURITY DEFINER SET search_path = public
BEGIN ATOMIC
  UPDATE products p SET stock = stock + i.quantity
    FROM order_items i JOIN orders o ON o.id = i.order_id
   WHERE i.order_id = settle_payment.order_id AND p.id = i.product_id AND o.status = 'placed' AND NOT settle_payment.paid;
  UPDATE orders SET status = CASE WHEN settle_payment.paid THEN 'paid' ELSE 'failed' END,
                    paid_at = CASE WHEN settle_payment.paid THEN now() END
   WHERE id = settle_payment.order_id AND status = 'placed';
  SELECT * FROM orders WHERE id = settle_payment.order_id;
END;
GRANT EXECUTE ON FUNCTION settle_payment TO payments;      -- a role of its own: payments can do this and nothing else
