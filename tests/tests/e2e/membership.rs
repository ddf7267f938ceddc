//! Policies that read the table they guard, through a definer function, as memberships do: what a statement writes does not vouch for
//! itself, and what it found does.

use mainstay_tests::{Client, Project};
use serde_json::{Value as Json, json};

const MEMBER: &str = "00000000-0000-4000-8000-00000000000a";
const OWNER: &str = "00000000-0000-4000-8000-00000000000b";
const STRANGER: &str = "00000000-0000-4000-8000-00000000000c";

const SCHEMA: &str = "
    CREATE TABLE members (
      id bigint PRIMARY KEY, org bigint NOT NULL, who uuid NOT NULL, role text NOT NULL DEFAULT 'member', UNIQUE (org, who));
    CREATE FUNCTION is_member(o bigint) RETURNS boolean LANGUAGE sql STABLE SECURITY DEFINER AS
      $$ SELECT EXISTS (SELECT 1 FROM members m WHERE m.org = o AND m.who = auth.uid()) $$;
    CREATE FUNCTION is_owner(o bigint) RETURNS boolean LANGUAGE sql STABLE SECURITY DEFINER AS
      $$ SELECT EXISTS (SELECT 1 FROM members m WHERE m.org = o AND m.who = auth.uid() AND m.role = 'owner') $$;
    CREATE FUNCTION is_new(o bigint) RETURNS boolean LANGUAGE sql STABLE SECURITY DEFINER AS
      $$ SELECT NOT EXISTS (SELECT 1 FROM members m WHERE m.org = o) $$;
    ALTER TABLE members ENABLE ROW LEVEL SECURITY;
    CREATE POLICY r ON members FOR SELECT TO authenticated USING (who = auth.uid() OR is_member(org));
    CREATE POLICY u ON members FOR UPDATE TO authenticated USING (who = auth.uid()) WITH CHECK (is_owner(org));
    CREATE POLICY i ON members FOR INSERT TO authenticated
      WITH CHECK (is_owner(org) OR (who = auth.uid() AND role = 'owner' AND is_new(org)));
    GRANT SELECT, INSERT, UPDATE ON members TO authenticated;
    GRANT SELECT ON members TO service_role;
    CREATE FUNCTION join_org(id bigint, org bigint, role text) RETURNS void LANGUAGE SQL
      BEGIN ATOMIC INSERT INTO members VALUES (join_org.id, join_org.org, auth.uid(), join_org.role); END;
    CREATE FUNCTION promote() RETURNS void LANGUAGE SQL
      BEGIN ATOMIC UPDATE members SET role = 'owner' WHERE who = auth.uid(); END;
    GRANT EXECUTE ON FUNCTION is_member, is_owner, is_new, join_org, promote TO authenticated;
";

#[test]
fn what_is_written_does_not_vouch_for_itself() {
    let seeds = format!("INSERT INTO members VALUES (1, 1, '{MEMBER}', 'member'), (2, 2, '{OWNER}', 'owner');");
    let project = Project::new(&format!("{SCHEMA}{seeds}"), "");
    let process = project.serve();
    let as_user = |id: &str| process.client().with_token(&project.token("authenticated", Some(id)));
    let (member, owner, stranger) = (as_user(MEMBER), as_user(OWNER), as_user(STRANGER));
    let service = process.client().with_token(&project.token("service_role", None));
    let all = || {
        let rows = service
            .get("/rest/v1/members?select=id,org,role&order=id")
            .expect(200)
            .json();
        let rows = rows.as_array().expect("a list").iter();
        rows.map(|r| format!("{} {} {}", r["id"], r["org"], r["role"].as_str().expect("a role")))
            .collect::<Vec<_>>()
    };
    let row = |id: i64, org: i64, who: &str, role: &str| json!({"id": id, "org": org, "who": who, "role": role});
    let add = |client: &Client, prefer: &str, body: &Json| {
        client.post_with(
            "/rest/v1/members",
            &[("prefer", &format!("return=minimal,{prefer}"))],
            body,
        )
    };
    let refused = |answer: mainstay_tests::Answer| {
        assert_eq!(answer.expect(403).json()["code"], "42501");
        assert_eq!(all(), ["1 1 member", "2 2 owner"]);
    };

    // Nobody makes himself an owner: by an update, an insertion, an upsert, a function, or several rows at once.
    refused(member.patch("/rest/v1/members?id=eq.1", &json!({"role": "owner"})));
    refused(member.post("/rest/v1/rpc/promote", &json!({})));
    for client in [&member, &stranger] {
        let who = if std::ptr::eq(client, &member) {
            MEMBER
        } else {
            STRANGER
        };
        refused(add(client, "", &row(9, 2, who, "owner")));
        refused(add(client, "resolution=merge-duplicates", &row(9, 2, who, "owner")));
        refused(add(client, "resolution=ignore-duplicates", &row(9, 2, who, "owner")));
        refused(client.post("/rest/v1/rpc/join_org", &json!({"id": 9, "org": 2, "role": "owner"})));
    }
    // Which keys there are is told to nobody who may not write the row.
    refused(add(&stranger, "", &row(2, 2, STRANGER, "owner")));
    refused(add(&stranger, "", &row(9, 2, OWNER, "owner")));
    refused(member.patch("/rest/v1/members?id=eq.1", &json!({"id": 2})));
    // Of what is there nothing is told, and the first row does not let the second in.
    refused(add(
        &stranger,
        "resolution=ignore-duplicates",
        &row(2, 2, STRANGER, "owner"),
    ));
    refused(add(
        &stranger,
        "",
        &json!([row(9, 3, STRANGER, "owner"), row(10, 3, MEMBER, "member")]),
    ));
    refused(add(
        &stranger,
        "",
        &json!([row(9, 2, STRANGER, "owner"), row(2, 2, STRANGER, "owner")]),
    ));

    // What was there before the statement counts, also what the same transaction did.
    add(
        &owner,
        "",
        &json!([row(3, 2, MEMBER, "member"), row(4, 2, STRANGER, "member")]),
    )
    .expect(201);
    add(&stranger, "", &row(5, 3, STRANGER, "owner")).expect(201);
    assert_eq!(
        add(&member, "", &row(6, 3, MEMBER, "owner")).expect(403).json()["code"],
        "42501"
    );
    let operations = json!([
        {"method": "POST", "path": "/members", "body": row(6, 4, STRANGER, "owner")},
        {"method": "POST", "path": "/members", "body": row(7, 4, MEMBER, "member")},
    ]);
    stranger.post("/rest/v1/", &operations).expect(200);
    member
        .post("/rest/v1/rpc/join_org", &json!({"id": 8, "org": 5, "role": "owner"}))
        .expect(204);
    // Who resigns was an owner until then.
    owner
        .patch("/rest/v1/members?id=eq.2", &json!({"role": "member"}))
        .expect(204);
    refused_now(&owner);
    assert_eq!(
        all(),
        [
            "1 1 member",
            "2 2 member",
            "3 2 member",
            "4 2 member",
            "5 3 owner",
            "6 4 owner",
            "7 4 member",
            "8 5 owner"
        ]
    );
}

fn refused_now(owner: &Client) {
    let answer = owner.patch("/rest/v1/members?id=eq.2", &json!({"role": "owner"}));
    assert_eq!(answer.expect(403).json()["code"], "42501");
}
