//! Query strings and what they mean: a table of lines.

use super::{fixture, recorder, show};
use crate::memo::Memo;
use crate::read::{Prepared, prepare};
use crate::{Rest, RestConfig, Route};
use http::{HeaderMap, Method};
use mainstay_model::Error;

fn prepared(path: &str, config: &RestConfig) -> Result<Prepared, Error> {
    let schema = fixture::schema();
    let uri: http::Uri = format!(
        "/rest/v1/{}",
        path.replace(' ', "%20")
            .replace('{', "%7B")
            .replace('}', "%7D")
            .replace('"', "%22")
            .replace('>', "%3E")
    )
    .parse()
    .unwrap();
    let route = Route::read(uri.path())?;
    let memo = Memo::new(1 << 16);
    prepare(
        &schema,
        config,
        &memo,
        &route,
        uri.query().unwrap_or(""),
        &Method::GET,
        &HeaderMap::new(),
        "anon",
        None,
    )
    .map(|(prepared, _)| prepared)
}

fn meaning(path: &str) -> String {
    match prepared(
        path,
        &RestConfig {
            aggregates: true,
            ..RestConfig::default()
        },
    ) {
        Ok(prepared) => show::query(&fixture::schema(), &prepared.query),
        Err(error) => format!("{}: {}", error.code, error.message),
    }
}

#[test]
fn query_strings_mean() {
    const PROJECTS: &str = "id,name,client_id,data,tags,state,started,raw,code,open";
    for (path, want) in [
        // Selections.
        ("clients", "clients[id,name,rating]"),
        ("clients?select=*", "clients[id,name,rating]"),
        ("clients?select=", "clients[id,name,rating]"),
        ("clients?select=name,id", "clients[name,id]"),
        (
            "clients?select=n:name,id::text,r:rating::int",
            "clients[n:name,id:id::text,r:rating::integer]",
        ),
        ("clients?select=id::state", "clients[id:id::state]"),
        ("clients?select=id::_int4", "clients[id:id::integer[]]"),
        (
            "projects?select=data->a->>b,x:data->0",
            "projects[b:data JsonGet 'a' JsonGetText 'b',x:data JsonGet 0]",
        ),
        ("clients?select=name->>x", "clients[x:ToJsonb(name) JsonGetText 'x']"),
        ("projects?select=id,shout", "projects[id,shout:shout(row)]"),
        ("clients?select=count", "clients[count:Count()::bigint]"),
        (
            "clients?select=rating.sum(),n:id.count(),count()",
            "clients[sum:Sum(rating)::numeric,n:Count(id)::bigint,count:Count()::bigint]",
        ),
        (
            "clients?select=name,rating.avg()::int",
            "clients[name,avg:Avg(rating)::numeric::integer]",
        ),
        // Filters.
        (
            "clients?id=eq.5",
            "clients[id,name,rating] where id Eq $0::integer with 5",
        ),
        (
            "clients?id=not.eq.5&name=like.A*",
            "clients[id,name,rating] where (not(id Eq $0::integer) and name Like $1::text) with 5 'A%'",
        ),
        (
            "clients?id=in.(1,2)",
            "clients[id,name,rating] where id Eq any($0::integer[]) with {1,2}",
        ),
        (
            "clients?id=in.()",
            "clients[id,name,rating] where id Eq any($0::integer[]) with {}",
        ),
        (
            "clients?name=like(any).{A*,*b}",
            "clients[id,name,rating] where name Like any($0::text[]) with {'A%','%b'}",
        ),
        (
            "clients?id=gt(all).{1,2}",
            "clients[id,name,rating] where id Gt all($0::integer[]) with {1,2}",
        ),
        ("clients?name=is.null", "clients[id,name,rating] where name is Null"),
        (
            "clients?name=not.is.null",
            "clients[id,name,rating] where name is not Null",
        ),
        (
            "clients?name=is.not_null",
            "clients[id,name,rating] where name is not Null",
        ),
        ("projects?open=is.true", "projects[?] where open is True"),
        (
            "clients?rating=eq.1.5",
            "clients[id,name,rating] where rating Eq $0::numeric(10,2) with 1.50n",
        ),
        (
            "clients?rating=gt.1.555",
            "clients[id,name,rating] where rating Gt $0::numeric with 1.555n",
        ),
        (
            "clients?name=imatch.^a&id=isdistinct.3",
            "clients[id,name,rating] where (name IMatch $0::text and id IsDistinctFrom $1::integer) with '^a' 3",
        ),
        (
            "projects?tags=cs.{a,b}",
            "projects[?] where tags Contains $0::text[] with {'a','b'}",
        ),
        (
            "projects?tags=ov.{a}",
            "projects[?] where tags Overlaps $0::text[] with {'a'}",
        ),
        (
            "projects?data=cs.{\"a\":1}",
            "projects[?] where data Contains $0::jsonb with '{\"a\": 1}'",
        ),
        (
            "projects?data->>a=eq.x",
            "projects[?] where data JsonGetText 'a' Eq $0::text with 'x'",
        ),
        (
            "projects?data->a->0=gt.1",
            "projects[?] where data JsonGet 'a' JsonGet 0 Gt $0::jsonb with '1'",
        ),
        (
            "projects?state=eq.done",
            "projects[?] where state Eq $0::state with 'done'",
        ),
        (
            "projects?code=eq.toolong",
            "projects[?] where code Eq $0::character varying with 'toolong'",
        ),
        (
            "projects?name=fts(english).cat",
            "projects[?] where TextSearch(name, $0::text, 'english') with 'cat'",
        ),
        (
            "places?range=sl.[1,2)",
            "places[x,y,range] where range StrictlyLeft $0::int4range with '[1,2)'",
        ),
        (
            "clients?or=(id.eq.1,and(id.gt.5,not.or(name.eq.\"a,b\",name.is.null)))",
            "clients[id,name,rating] where (id Eq $0::integer or (id Gt $1::integer and not((name Eq $2::text or name is Null)))) with 1 5 'a,b'",
        ),
        (
            "clients?not.and=(id.eq.1,id.eq.2)",
            "clients[id,name,rating] where not((id Eq $0::integer and id Eq $1::integer)) with 1 2",
        ),
        (
            "projects?shout=eq.X",
            "projects[?] where shout(row) Eq $0::text with 'X'",
        ),
        // Orders and pages.
        (
            "clients?order=name.desc,id",
            "clients[id,name,rating] order name desc first,id",
        ),
        (
            "clients?order=name.desc.nullslast,id.nullsfirst",
            "clients[id,name,rating] order name desc,id first",
        ),
        (
            "projects?select=id&order=data->>a",
            "projects[id] order data JsonGetText 'a'",
        ),
        (
            "clients?limit=5&offset=10",
            "clients[id,name,rating] limit $0 offset $1 with 5 10",
        ),
        ("clients?offset=-1", "clients[id,name,rating]"),
        ("clients?limit=0", "clients[id,name,rating] limit $0 with 0"),
        // Embedded rows.
        (
            "projects?select=id,clients(name)",
            "projects[id,clients<client_id=id one>clients[name]]",
        ),
        (
            "projects?select=clients(name),id",
            "projects[id,clients<client_id=id one>clients[name]]",
        ),
        (
            "clients?select=id,projects(id)",
            "clients[id,projects<id=client_id>projects[id]]",
        ),
        (
            "projects?select=c:client_id(name)",
            "projects[c<client_id=id one>clients[name]]",
        ),
        (
            "projects?select=c:projects_client_id_fkey(name)",
            "projects[c<client_id=id one>clients[name]]",
        ),
        (
            "projects?select=clients!inner(name)",
            "projects[clients<client_id=id one inner>clients[name]]",
        ),
        (
            "projects?select=id,...clients(client:name)",
            "projects[id,clients<client_id=id one spread>clients[client:name]]",
        ),
        (
            "users?select=tasks(name)",
            "users[tasks<id=user_id&users_tasks&task_id=id>tasks[name]]",
        ),
        ("tasks?select=id,tasks(id)", "tasks[id,tasks<id=parent_id>tasks[id]]"),
        (
            "tasks?select=id,parent:parent_id(id)",
            "tasks[id,parent<parent_id=id one>tasks[id]]",
        ),
        (
            "orders?select=b:addresses!orders_billing_fkey(street),s:addresses!shipping_id(street)",
            "orders[b<billing_id=id one>addresses[street],s<shipping_id=id one>addresses[street]]",
        ),
        (
            "clients?select=name,projects(name,tasks(name,users(name)))",
            "clients[name,projects<id=client_id>projects[name,tasks<id=project_id>tasks[name,users<id=task_id&users_tasks&user_id=id>users[name]]]]",
        ),
        (
            "projects?select=id,siblings(name)",
            "projects[id,siblings<computed>siblings(row)[name]]",
        ),
        (
            "active_projects?select=id,clients(name)",
            "active_projects[id,clients<client_id=id one>clients[name]]",
        ),
        (
            "clients?select=id,projects()&projects=not.is.null",
            "clients[id,projects<id=client_id hidden>projects[]] where has(projects)",
        ),
        (
            "clients?select=id,p:projects(id)&p=is.null",
            "clients[id,p<id=client_id>projects[id]] where not(has(p))",
        ),
        (
            "clients?select=id,projects(id),projects!inner()&or=(projects.is.null,id.eq.1)",
            "clients[id,projects<id=client_id>projects[id],projects<id=client_id inner hidden>projects[]] where (not(has(projects)) or id Eq $0::integer) with 1",
        ),
        (
            "clients?select=id,projects(id)&projects.name=eq.x&projects.order=id.desc&projects.limit=2&projects.offset=1&id=eq.7",
            "clients[id,projects<id=client_id>projects[id] where name Eq $0::text order id desc first limit $1 offset $2] where id Eq $3::integer with 'x' 2 1 7",
        ),
        (
            "clients?select=id,projects(id,tasks(id))&projects.tasks.or=(id.eq.1,id.eq.2)",
            "clients[id,projects<id=client_id>projects[id,tasks<id=project_id>tasks[id] where (id Eq $0::integer or id Eq $1::integer)]] with 1 2",
        ),
        (
            "projects?select=id,clients(id)&order=clients(name).desc",
            "projects[id,clients<client_id=id one>clients[id]] order clients.name desc first",
        ),
        // One row.
        ("clients/5", "clients[id,name,rating] where id Eq $0::integer with 5"),
        (
            "clients/5?select=name&name=eq.x",
            "clients[name] where (id Eq $1::integer and name Eq $0::text) with 'x' 5",
        ),
        (
            "active_projects/5?select=id",
            "active_projects[id] where id Eq $0::integer with 5",
        ),
    ] {
        let want = want.replace("[?]", &format!("[{PROJECTS}]"));
        let got = meaning(path);
        // Parameters are numbered in the order of binding, which a table of one row does not fix.
        if path.starts_with("clients/5?") {
            assert!(got == want || got.contains("with 5 'x'"), "{path}\n{got}");
            continue;
        }
        assert_eq!(got, want, "{path}");
    }
}

#[test]
fn what_means_nothing_is_refused() {
    for (path, want) in [
        (
            "clients?limit=abc",
            "PGRST100: \"limit\" must be a whole number, not \"abc\"",
        ),
        (
            "clients?select=id,projects(id)&projects.offset=1.5",
            "PGRST100: \"projects.offset\" must be a whole number, not \"1.5\"",
        ),
        (
            "nothing",
            "PGRST205: Could not find the table 'public.nothing' in the schema cache",
        ),
        (
            "hidden",
            "PGRST205: Could not find the table 'public.hidden' in the schema cache",
        ),
        ("clients?select=nothing", "42703: column clients.nothing does not exist"),
        ("clients?nothing=eq.1", "42703: column clients.nothing does not exist"),
        ("clients?order=nothing", "42703: column clients.nothing does not exist"),
        ("clients?select=id::nothing", "42704: type \"nothing\" does not exist"),
        ("clients?id=eq.x", "22P02: invalid input syntax for type integer: \"x\""),
        (
            "clients?id=eq.99999999999",
            "22003: value \"99999999999\" is out of range for type integer",
        ),
        (
            "projects?state=eq.odd",
            "22P02: invalid input value for enum state: \"odd\"",
        ),
        (
            "clients?id=like.1*",
            "42883: operator does not exist: integer ~~ unknown",
        ),
        (
            "clients?id=cs.{1}",
            "42883: operator does not exist: integer @> unknown",
        ),
        ("projects?raw=eq.1", "42883: operator does not exist: json = unknown"),
        (
            "projects?order=raw",
            "42883: could not identify an ordering operator for type json",
        ),
        (
            "clients?id=is.true",
            "42804: argument of IS TRUE must be type boolean, not type integer",
        ),
        (
            "clients?id=is.false",
            "42804: argument of IS FALSE must be type boolean, not type integer",
        ),
        ("clients?select=name.sum()", "42883: function sum(text) does not exist"),
        (
            "projects?select=data->>a->b",
            "42883: operator does not exist: text -> unknown",
        ),
        (
            "clients?select=tasks(id)",
            "PGRST200: Could not find a relationship between 'clients' and 'tasks' in the schema cache",
        ),
        (
            "orders?select=addresses(id)",
            "PGRST201: Could not embed because more than one relationship was found for 'orders' and 'addresses'",
        ),
        (
            "clients?projects.id=eq.1",
            "PGRST108: 'projects' is not an embedded resource in this request",
        ),
        (
            "clients?order=projects(id)",
            "PGRST108: 'projects' is not an embedded resource in this request",
        ),
        (
            "clients?select=id,projects(id)&order=projects(id)",
            "PGRST118: A related order on 'projects' is not possible",
        ),
        (
            "clients?select=id,projects(id)&projects=eq.1",
            "PGRST120: Bad operator on the 'projects' embedded resource",
        ),
        (
            "clients?id=5",
            "PGRST100: \"failed to parse filter (5)\" (line 1, column 1)",
        ),
        ("clients?limit=-1", "PGRST103: Requested range not satisfiable"),
        (
            "clients?select=id,projects(id)&projects.limit=-1",
            "PGRST103: Requested range not satisfiable",
        ),
        ("clients/x", "22P02: invalid input syntax for type integer: \"x\""),
        (
            "places/1",
            "MS404: rows of 'places' have no path of their own: its primary key has several columns",
        ),
        ("clients/1/2", "PGRST125: Invalid path specified in request URL"),
    ] {
        assert_eq!(meaning(path), want, "{path}");
    }
    let off = prepared("clients?select=id.count()", &RestConfig::default());
    assert_eq!(off.err().map(|e| e.code.to_string()).as_deref(), Some("PGRST123"));
}

#[test]
fn refusals_name_what_was_meant() {
    let refused = |path| prepared(path, &RestConfig::default()).err().unwrap();
    assert_eq!(
        refused("client").hint.as_deref(),
        Some("Perhaps you meant the table 'public.clients'")
    );
    // What the role may not see is not given away.
    assert_eq!(refused("secret").hint, None);
    let none = refused("clients?select=project(id)");
    assert_eq!(
        none.hint.as_deref(),
        Some("Perhaps you meant 'projects' instead of 'project'.")
    );
    assert_eq!(
        none.details.as_deref(),
        Some(
            "Searched for a foreign key relationship between 'clients' and 'project' in the schema 'public', but no matches were found."
        )
    );
    let with_hint = refused("clients?select=projects!nope(id)");
    assert_eq!(
        with_hint.details.as_deref(),
        Some(
            "Searched for a foreign key relationship between 'clients' and 'projects' using the hint 'nope' in the schema 'public', but no matches were found."
        )
    );
    let several = refused("orders?select=addresses(id)");
    assert_eq!(
        several.hint.as_deref(),
        Some(
            "Try changing 'addresses' to one of the following: 'addresses!orders_billing_fkey', 'addresses!orders_shipping_fkey'. Find the desired relationship in the 'details' key."
        )
    );
    let details: serde_json::Value = serde_json::from_str(several.details.as_deref().unwrap()).unwrap();
    assert_eq!(
        details[0],
        serde_json::json!({
            "cardinality": "many-to-one",
            "embedding": "orders with addresses",
            "relationship": "orders_billing_fkey using orders(billing_id) and addresses(id)",
        })
    );
}

#[test]
fn values_do_not_make_shapes_differ() {
    let schema = fixture::schema();
    let memo = Memo::new(1 << 20);
    let config = RestConfig {
        page_limit: Some(100),
        ..RestConfig::default()
    };
    let shape = |query: &str| {
        let route = Route::Relation("clients".into());
        prepare(
            &schema,
            &config,
            &memo,
            &route,
            query,
            &Method::GET,
            &HeaderMap::new(),
            "anon",
            None,
        )
        .unwrap()
        .0
        .query
        .shape
    };
    for (a, b) in [
        ("id=eq.1", "id=eq.2"),
        ("id=in.(1,2)", "id=in.(3,4,5,6)"),
        ("limit=5&offset=10", "limit=6&offset=20"),
        ("limit=5", ""),
        ("rating=gt.5", "rating=gt.7.25"),
        ("name=like.a*", "name=like.*b*"),
    ] {
        assert!(std::sync::Arc::ptr_eq(&shape(a), &shape(b)), "{a} and {b}");
    }
    assert!(!std::sync::Arc::ptr_eq(&shape("id=eq.1"), &shape("id=gt.1")));
}

#[test]
fn pages_of_the_anonymous_may_be_shorter() {
    let pages = |page_limit, anon_page_limit| {
        let config = RestConfig {
            page_limit,
            anon_page_limit,
            ..RestConfig::default()
        };
        ["anon", "authenticated"].map(|role| config.page_limit(role))
    };
    for (all, anon, want) in [
        (None, None, [None, None]),
        (None, Some(10), [Some(10), None]),
        (Some(5), Some(10), [Some(5), Some(5)]),
        (Some(50), Some(10), [Some(10), Some(50)]),
    ] {
        assert_eq!(pages(all, anon), want, "{all:?} {anon:?}");
    }
}

#[test]
fn what_was_understood_for_one_is_not_taken_for_the_other() {
    let data = recorder::Recorder::new();
    let config = RestConfig {
        anon_page_limit: Some(10),
        ..RestConfig::default()
    };
    let rest = Rest::new(data.clone(), config);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for role in ["anon", "authenticated", "anon"] {
        let mut request = http::Request::get("/rest/v1/clients?select=id")
            .body(Default::default())
            .unwrap();
        request
            .extensions_mut()
            .insert(std::sync::Arc::new(mainstay_model::Identity::role(role)));
        assert_eq!(runtime.block_on(rest.handle(request)).status(), 200);
    }
    let limited: Vec<bool> = data.read().iter().map(|query| query.shape.limit.is_some()).collect();
    assert_eq!(limited, [true, false, true]);
}

#[test]
fn pages_are_limited_on_every_level() {
    let config = RestConfig {
        page_limit: Some(100),
        ..RestConfig::default()
    };
    let schema = fixture::schema();
    for (path, want) in [
        (
            "clients?select=id,projects(id)",
            "clients[id,projects<id=client_id>projects[id] limit $0] limit $1 with 100 100",
        ),
        ("clients?select=id&limit=5", "clients[id] limit $0 with 5"),
        ("clients?select=id&limit=500", "clients[id] limit $0 with 100"),
        ("clients/1?select=id", "clients[id] where id Eq $0::integer with 1"),
    ] {
        assert_eq!(
            show::query(&schema, &prepared(path, &config).unwrap().query),
            want,
            "{path}"
        );
    }
}
