CREATE TABLE t (id serial PRIMARY KEY, name text, n numeric(10,2), ok boolean, tags text[], j jsonb, at timestamptz, double int GENERATED ALWAYS AS (id * 2) STORED);
INSERT INTO t (id, name, n) VALUES (1, 'it''s', -1.50), (2, E'a\nb', +2), (3, NULL, .5);
INSERT INTO t (id, name, n) VALUES (4, $$dollar$$, 1_000), (5.6, 'a' || 'b', DEFAULT);
INSERT INTO t (tags, j, at, ok) VALUES (ARRAY['a','b c','NULL',NULL,'"'], '{"a": 1}'::jsonb, timestamptz '2020-01-01', true);
INSERT INTO t (tags) VALUES (ARRAY[]::text[]), (CAST('{x}' AS text[]));
INSERT INTO t DEFAULT VALUES;
INSERT INTO t SELECT 9, 'nine';
INSERT INTO t (id) VALUES (10) ON CONFLICT DO NOTHING;
COPY t (id, name, tags) FROM stdin;
11	tab\there	{a,"b"}
12	\N	\N
\.

COPY t FROM stdin;
13	full	1.5	t	{}	{}	2020-01-01 00:00:00+00
\.
SELECT pg_catalog.setval('t_id_seq', 13, true);
SELECT setval(pg_get_serial_sequence('t', 'id'), 20, false);
INSERT INTO t (id) VALUES (now());
INSERT INTO t (id, nmae) VALUES (1, 2);
INSERT INTO t (id, name) VALUES (1);
INSERT INTO t (double) VALUES (1);
INSERT INTO tt (id) VALUES (1);
INSERT INTO t (id) SELECT generate_series(1, 10) FROM t;
INSERT INTO t (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET name = 'x';
UPDATE t SET name = 'x';
COPY t (id, name) FROM stdin;
1	2	3
\.
COPY t (id) FROM stdin WITH (FORMAT csv);
1
\.
COPY t (id) FROM '/tmp/x';
