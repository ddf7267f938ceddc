//! Forms of answers that a database makes itself: handlers of media types, and GeoJSON.

use mainstay_tests::{AdoptedDatabase, Answer, skip};
use serde_json::json;

const HANDLERS: &str = r#"
    CREATE TABLE lines (id integer PRIMARY KEY, name text, d text);
    INSERT INTO lines VALUES (1, 'one', 'x'), (2, 'two', 'y');
    CREATE TABLE numbers (val integer);
    INSERT INTO numbers VALUES (1), (2);
    CREATE DOMAIN "application/vnd.wire" AS bytea;
    CREATE DOMAIN "text/csv" AS text;
    CREATE DOMAIN "text/tab-separated-values" AS text;
    CREATE DOMAIN "application/vnd.pairs+json" AS jsonb;
    CREATE DOMAIN "image/png" AS bytea;
    CREATE DOMAIN "text/html" AS text;
    CREATE DOMAIN "*/*" AS bytea;
    CREATE FUNCTION wire_next(state bytea, next lines) RETURNS "application/vnd.wire" LANGUAGE sql IMMUTABLE
      AS $$ SELECT (state || int4send(next.id))::"application/vnd.wire" $$;
    CREATE AGGREGATE wire(lines) (initcond = '', stype = "application/vnd.wire", sfunc = wire_next);
    CREATE FUNCTION csv_next(state text, next lines) RETURNS "text/csv" LANGUAGE sql IMMUTABLE
      AS $$ SELECT (state || next.id || ';' || next.name || E'\n')::"text/csv" $$;
    CREATE FUNCTION csv_end(data "text/csv") RETURNS "text/csv" LANGUAGE plpgsql AS $$ BEGIN
      PERFORM set_config('response.headers', '[{"Content-Disposition": "attachment; filename=\"lines.csv\""}]', true);
      RETURN 'id;name' || E'\n' || data; END $$;
    CREATE AGGREGATE csv_of_lines(lines) (initcond = '', stype = "text/csv", sfunc = csv_next, finalfunc = csv_end);
    CREATE FUNCTION tabs_next(state text, next anyelement) RETURNS "text/tab-separated-values" LANGUAGE sql IMMUTABLE
      AS $$ SELECT (state || (SELECT string_agg(value, E'\t' ORDER BY n) FROM json_each_text(row_to_json(next)) WITH ORDINALITY AS e(key, value, n))
             || E'\n')::"text/tab-separated-values" $$;
    CREATE AGGREGATE tabs(anyelement) (initcond = '', stype = "text/tab-separated-values", sfunc = tabs_next);
    CREATE FUNCTION pairs_next(state jsonb, next anyelement) RETURNS "application/vnd.pairs+json" LANGUAGE sql IMMUTABLE
      AS $$ SELECT (state || jsonb_build_array(to_jsonb(next)))::"application/vnd.pairs+json" $$;
    CREATE AGGREGATE pairs(anyelement) (initcond = '[]', stype = "application/vnd.pairs+json", sfunc = pairs_next);
    CREATE FUNCTION any_next(state "*/*", next numbers) RETURNS "*/*" LANGUAGE sql IMMUTABLE
      AS $$ SELECT (state || convert_to(next.val::text || ' ', 'UTF8'))::"*/*" $$;
    CREATE FUNCTION any_end(data "*/*") RETURNS "*/*" LANGUAGE plpgsql AS $$
      DECLARE accept text := current_setting('request.headers', true)::json ->> 'accept'; BEGIN
      IF accept = 'magic/number' THEN
        PERFORM set_config('response.headers', '[{"Content-Type": "magic/number"}]', true);
      ELSIF accept = 'text/never' THEN
        RAISE SQLSTATE 'PT415' USING message = 'not that';
      END IF;
      RETURN data; END $$;
    CREATE AGGREGATE any_of_numbers(numbers) (initcond = '', stype = "*/*", sfunc = any_next, finalfunc = any_end);
    CREATE FUNCTION some_lines() RETURNS SETOF lines LANGUAGE sql STABLE AS 'SELECT * FROM lines ORDER BY id';
    CREATE FUNCTION picture() RETURNS "image/png" LANGUAGE sql STABLE AS $$ SELECT '\x89504e47'::bytea::"image/png" $$;
    CREATE FUNCTION page() RETURNS "text/html" LANGUAGE sql STABLE AS $$ SELECT '<p>hi</p>'::"text/html" $$;
    CREATE FUNCTION anything() RETURNS "*/*" LANGUAGE sql STABLE AS $$ SELECT 'any'::bytea::"*/*" $$;
    GRANT SELECT, INSERT, UPDATE, DELETE ON lines, numbers TO ANON;"#;

fn asked(it: &AdoptedDatabase, path: &str, accept: &str) -> Answer {
    it.anon
        .send("GET", &format!("/rest/v1/{path}"), &[("accept", accept)], None)
}

#[test]
fn handlers_make_answers() {
    let it = AdoptedDatabase::start(HANDLERS, "");
    let wire = b"\0\0\0\x01\0\0\0\x02";
    for (path, accept, content_type, body) in [
        (
            "lines?order=id",
            "application/vnd.wire",
            "application/vnd.wire",
            &wire[..],
        ),
        (
            "lines?id=eq.2",
            "application/vnd.wire",
            "application/vnd.wire",
            &wire[4..],
        ),
        ("lines?id=eq.9", "application/vnd.wire", "application/vnd.wire", b""),
        ("rpc/some_lines", "application/vnd.wire", "application/vnd.wire", wire),
        (
            "lines?order=id&limit=1",
            "text/csv",
            "text/csv; charset=utf-8",
            b"id;name\n1;one\n",
        ),
        (
            "lines?select=id,name&id=eq.1",
            "text/csv",
            "text/csv; charset=utf-8",
            b"id,name\n1,one",
        ),
        (
            "lines?select=name,d&order=id",
            "text/tab-separated-values",
            "text/tab-separated-values",
            b"one\tx\ntwo\ty\n",
        ),
        (
            "lines?select=d,id&id=eq.1",
            "application/vnd.pairs+json",
            "application/vnd.pairs+json",
            br#"[{"d": "x", "id": 1}]"#,
        ),
        ("numbers?order=val", "*/*", "application/octet-stream", b"1 2 "),
        ("numbers?order=val.desc", "magic/number", "magic/number", b"2 1 "),
        (
            "numbers?val=eq.1",
            "application/vnd.pgrst.object+json",
            "application/vnd.pgrst.object+json; charset=utf-8",
            br#"{"val":1}"#,
        ),
        (
            "rpc/picture",
            "text/html, image/png;q=0.9, */*;q=0.8",
            "image/png",
            b"\x89PNG",
        ),
        ("rpc/page", "text/html", "text/html", b"<p>hi</p>"),
        ("rpc/anything", "app/bingo", "application/octet-stream", b"any"),
    ] {
        let answer = asked(&it, path, accept).expect(200);
        assert_eq!(answer.body, body, "{path} as {accept}: {}", answer.text());
        assert_eq!(answer.header("content-type"), Some(content_type), "{path} as {accept}");
    }
    let named = asked(&it, "lines", "text/csv");
    assert_eq!(
        named.header("content-disposition"),
        Some("attachment; filename=\"lines.csv\"")
    );
    assert_eq!(
        named.header("content-range"),
        Some("0-1/*"),
        "rows are counted, not documents"
    );
    assert_eq!(asked(&it, "numbers", "text/never").status, 415);
    for (path, accept) in [
        ("lines?select=id", "application/vnd.wire"),
        ("numbers?select=val", "image/png"),
        ("lines", "text/html"),
        ("rpc/page", "image/png"),
    ] {
        let refused = asked(&it, path, accept).expect(406);
        assert_eq!(refused.json()["code"], json!("PGRST107"), "{path} as {accept}");
    }
    let written = it.anon.send(
        "POST",
        "/rest/v1/lines",
        &[("accept", "application/vnd.wire"), ("prefer", "return=representation")],
        Some(br#"[{"id": 3, "name": "three"}, {"id": 4, "name": "four"}]"#),
    );
    let written = written.expect(201);
    assert_eq!(written.body, b"\0\0\0\x03\0\0\0\x04");
    assert_eq!(written.header("content-type"), Some("application/vnd.wire"));
    let counted = it.anon.send(
        "GET",
        "/rest/v1/lines?order=id&limit=3",
        &[("accept", "application/vnd.wire"), ("prefer", "count=exact")],
        None,
    );
    assert_eq!(counted.expect(206).header("content-range"), Some("0-2/4"));
}

const SHOPS: &str = "
    CREATE SCHEMA gis;
    CREATE EXTENSION postgis SCHEMA gis;
    SET search_path = public, gis;
    CREATE TABLE shops (id integer PRIMARY KEY, address text, place geometry(Point, 4326));
    INSERT INTO shops VALUES (1, '1369 Cambridge St', 'SRID=4326;POINT(-71.10044 42.373695)'),
                             (2, '757 Massachusetts Ave', 'SRID=4326;POINT(-71.10543 42.366432)');
    CREATE TABLE beacons (id integer PRIMARY KEY, shop_id integer REFERENCES shops, place geometry(Point, 4326));
    INSERT INTO beacons VALUES (1, 1, 'SRID=4326;POINT(-71.1 42.3)');
    CREATE TABLE plain (id integer);
    CREATE FUNCTION shop(wanted integer) RETURNS SETOF shops LANGUAGE sql STABLE AS 'SELECT * FROM shops WHERE id = wanted';
    CREATE FUNCTION near(s shops, other text) RETURNS boolean LANGUAGE sql STABLE
      AS 'SELECT gis.st_dwithin(s.place, other::gis.geometry, 0.01)';
    GRANT USAGE ON SCHEMA gis TO ANON;
    GRANT SELECT, INSERT, UPDATE, DELETE ON shops, beacons, plain TO ANON;";

#[test]
fn rows_with_a_place_are_geojson() {
    let bare = AdoptedDatabase::start("CREATE TABLE plain (id integer); GRANT SELECT ON plain TO ANON;", "");
    assert_eq!(asked(&bare, "plain", "application/geo+json").status, 406);
    if bare
        .execute("SELECT count(*) FROM pg_available_extensions WHERE name = 'postgis'")
        .trim()
        == "0"
    {
        skip("rows_with_a_place_are_geojson", "PostGIS is not installed");
        return;
    }
    let it = AdoptedDatabase::start(SHOPS, "search_path = [\"gis\"]\n");
    let feature = |id: i64, address: &str, x: f64, y: f64| json!({"type": "Feature", "geometry": {"type": "Point", "coordinates": [x, y]}, "properties": {"id": id, "address": address}});
    let collection = |features: &[serde_json::Value]| json!({"type": "FeatureCollection", "features": features});
    let (first, second) = (
        feature(1, "1369 Cambridge St", -71.10044, 42.373695),
        feature(2, "757 Massachusetts Ave", -71.10543, 42.366432),
    );
    for (path, want) in [
        ("shops?order=id", collection(&[first.clone(), second.clone()])),
        ("shops?id=gt.3", collection(&[])),
        ("rpc/shop?wanted=2", collection(std::slice::from_ref(&second))),
        (
            "shops?select=id,place&id=eq.1",
            collection(&[json!({"type": "Feature", "geometry": first["geometry"], "properties": {"id": 1}})]),
        ),
    ] {
        let answer = asked(&it, path, "application/geo+json").expect(200);
        assert_eq!(answer.json(), want, "{path}");
        assert_eq!(
            answer.header("content-type"),
            Some("application/geo+json; charset=utf-8")
        );
    }
    let embedded = asked(&it, "shops?select=*,beacons(id,place)&id=eq.1", "application/geo+json").expect(200);
    let beacons = &embedded.json()["features"][0]["properties"]["beacons"];
    assert_eq!(beacons[0]["place"]["coordinates"], json!([-71.1, 42.3]), "{beacons}");
    let missing = asked(&it, "plain", "application/geo+json");
    assert_eq!(
        (missing.status, missing.text().contains("PGRST107")),
        (200, false),
        "no rows, nothing missing"
    );
    it.execute("INSERT INTO plain VALUES (1)");
    let missing = asked(&it, "plain", "application/geo+json").expect(400);
    assert_eq!(missing.json()["message"], json!("geometry column is missing"));
    // Written and given back.
    let represented = [("accept", "application/geo+json"), ("prefer", "return=representation")];
    let third = r#"{"id": 3, "address": "a", "place": "SRID=4326;POINT(1.5 2.5)"}"#;
    let made = it
        .anon
        .send("POST", "/rest/v1/shops", &represented, Some(third.as_bytes()))
        .expect(201);
    assert_eq!(made.json(), collection(&[feature(3, "a", 1.5, 2.5)]));
    let moved = r#"{"place": {"type": "Point", "crs": {"type": "name", "properties": {"name": "EPSG:4326"}}, "coordinates": [3.5, 4.5]}}"#;
    let moved = it
        .anon
        .send("PATCH", "/rest/v1/shops?id=eq.3", &represented, Some(moved.as_bytes()))
        .expect(200);
    assert_eq!(moved.json(), collection(&[feature(3, "a", 3.5, 4.5)]));
    let gone = it
        .anon
        .send("DELETE", "/rest/v1/shops?id=eq.3", &represented, None)
        .expect(200);
    assert_eq!(gone.json(), collection(&[feature(3, "a", 3.5, 4.5)]));
    // Plain JSON shows the geometry, and what the database can compare can be filtered by.
    let rows = it.anon.get("/rest/v1/shops?id=eq.1").expect(200).json();
    assert_eq!(rows[0]["place"]["coordinates"], json!([-71.10044, 42.373695]));
    assert_eq!(rows[0]["place"]["type"], json!("Point"));
    let same = it
        .anon
        .get("/rest/v1/shops?select=id&place=eq.SRID%3D4326;POINT(-71.10044%2042.373695)")
        .expect(200);
    assert_eq!(same.json(), json!([{"id": 1}]));
    let none = it.anon.get("/rest/v1/shops?select=id&place=is.null").expect(200);
    assert_eq!(none.json(), json!([]));
}
