-- file: users.sql, store: people, service: users
-- auth: people
CREATE TABLE profiles (id uuid PRIMARY KEY REFERENCES auth.users ON DELETE CASCADE, name text);
CREATE FUNCTION hello() RETURNS int LANGUAGE sql RETURN 1;
GRANT SELECT ON profiles TO anon;
-- file: orders.sql, store: main, service: orders
CREATE TABLE orders (id int PRIMARY KEY, user_id uuid, profile uuid REFERENCES profiles);
CREATE TABLE profiles (id int);
CREATE FUNCTION hello() RETURNS int LANGUAGE sql RETURN 2;
CREATE FUNCTION hello(a int) RETURNS int LANGUAGE sql RETURN 2;
CREATE VIEW both_of AS SELECT o.id, p.name FROM orders o JOIN profiles p ON p.id = o.user_id;
CREATE FUNCTION crossing() RETURNS bigint LANGUAGE sql AS $$ SELECT count(*) FROM orders o, profiles p $$;
CREATE FUNCTION elsewhere() RETURNS bigint LANGUAGE sql AS $$ SELECT count(*) FROM profiles $$;
CREATE POLICY p ON orders USING (EXISTS (SELECT 1 FROM profiles));
