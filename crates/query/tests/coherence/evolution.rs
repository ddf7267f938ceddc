//! Rows that are older than their table: what a change of the schema added must be in their images as it is in their answers.

use crate::turn;
use crate::world::{Ask, World, caller};
use http::Method;

const BEFORE: &str = "CREATE TABLE t (id integer PRIMARY KEY, n integer); GRANT SELECT ON t TO anon;";
const AFTER: &str = "CREATE TABLE t (
  id integer PRIMARY KEY, early integer DEFAULT 5, n integer, late text DEFAULT 'x', price numeric(10,2) DEFAULT 1.50);
  GRANT SELECT ON t TO anon;";

#[test]
fn what_was_added_to_a_row_counts() {
    let _turn = turn();
    let world = World::new(BEFORE);
    assert!(world.write(
        Method::POST,
        "t",
        "[{\"id\":1,\"n\":1},{\"id\":2,\"n\":2},{\"id\":3,\"n\":3}]"
    ));
    let world = world.reopened(AFTER);
    let writes = [
        (Method::DELETE, "t?id=eq.1", ""),
        (Method::PATCH, "t?id=eq.2", "{\"n\":9}"),
        (Method::PATCH, "t?id=eq.2", "{\"early\":6}"),
        (Method::PATCH, "t?id=eq.3", "{\"late\":null}"),
    ];
    for (method, path, body) in writes {
        for query in [
            "early=eq.5",
            "late=eq.x",
            "price=eq.1.5",
            "early=lt.7&late=like.x*",
            "price=gte.1",
        ] {
            let path = format!("t?select=id,n&order=id&{query}");
            let ask = Ask {
                path,
                identity: caller("anon", "{}"),
                prefer: "",
            };
            let (answer, _) = world.ask(&world.cached, &ask);
            assert_eq!(answer, world.ask(&world.fresh, &ask).0, "{query}");
            assert_ne!(&answer.body[..], b"[]", "{query}");
        }
        assert!(world.write(method, path, body));
        for query in [
            "early=eq.5",
            "late=eq.x",
            "price=eq.1.5",
            "early=lt.7&late=like.x*",
            "price=gte.1",
        ] {
            let path = format!("t?select=id,n&order=id&{query}");
            let ask = Ask {
                path,
                identity: caller("anon", "{}"),
                prefer: "",
            };
            assert_eq!(
                world.ask(&world.cached, &ask).0,
                world.ask(&world.fresh, &ask).0,
                "{query} after {body}"
            );
        }
    }
}
