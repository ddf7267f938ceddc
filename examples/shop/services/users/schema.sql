-- Users: who they are and what was written to them. Registration and login themselves are Mainstay's (/auth/v1).

CREATE TABLE profiles (
  user_id      uuid PRIMARY KEY REFERENCES auth.users (id) ON DELETE CASCADE,
  display_name text NOT NULL CHECK (length(display_name) BETWEEN 1 AND 80),
  created_at   timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE profiles IS 'How a user appears to others.';
ALTER TABLE profiles ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_profile ON profiles TO authenticated USING (user_id = auth.uid());
GRANT SELECT, UPDATE (display_name) ON profiles TO authenticated;

CREATE TABLE mails (
  id         uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  user_id    uuid NOT NULL REFERENCES auth.users (id) ON DELETE CASCADE,
  recipient  text NOT NULL,
  kind       text NOT NULL CHECK (kind IN ('verification', 'welcome')),
  subject    text NOT NULL,
  body       text NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  UNIQUE (user_id, kind)
);
COMMENT ON TABLE mails IS 'What was written to a user: the inbox of the demonstration page.';
ALTER TABLE mails ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_mails ON mails FOR SELECT TO authenticated USING (user_id = auth.uid());
GRANT SELECT ON mails TO authenticated;

-- The consumers of `user.registered`. Each takes the event as it was published (a CloudEvent) and runs in one transaction with the
-- note that it has seen the event, so that a second delivery changes nothing.

CREATE FUNCTION create_profile(event jsonb) RETURNS void LANGUAGE SQL SECURITY DEFINER SET search_path = public
BEGIN ATOMIC
  INSERT INTO profiles (user_id, display_name)
  VALUES ((event #>> '{data,id}')::uuid, split_part(event #>> '{data,email}', '@', 1))
  ON CONFLICT (user_id) DO NOTHING;
END;

CREATE FUNCTION write_verification_mail(event jsonb) RETURNS void LANGUAGE SQL SECURITY DEFINER SET search_path = public
BEGIN ATOMIC
  INSERT INTO mails (user_id, recipient, kind, subject, body)
  VALUES ((event #>> '{data,id}')::uuid, event #>> '{data,email}', 'verification', 'Is this your address?',
          'Please confirm that ' || (event #>> '{data,email}') || ' is yours.')
  ON CONFLICT (user_id, kind) DO NOTHING;
END;

CREATE FUNCTION write_welcome_mail(event jsonb) RETURNS void LANGUAGE SQL SECURITY DEFINER SET search_path = public
BEGIN ATOMIC
  INSERT INTO mails (user_id, recipient, kind, subject, body)
  VALUES ((event #>> '{data,id}')::uuid, event #>> '{data,email}', 'welcome', 'Welcome to the shop',
          'Good to have you, ' || split_part(event #>> '{data,email}', '@', 1) || '.')
  ON CONFLICT (user_id, kind) DO NOTHING;
END;

GRANT EXECUTE ON FUNCTION create_profile, write_verification_mail, write_welcome_mail TO service_role;
