//! What is measured. One function makes one case; [`all`] lists them.

use std::path::Path;

use super::mainstay::{self, Extras, TOKEN, row_json, rows_json};
use super::process::free_address;
use super::{By, Case, Load, Peer, Place, Server, Start, postgres};
use crate::command::find;

/// Every case, in the order of the report.
pub fn all(_root: &Path) -> Vec<Case> {
    let mut all = vec![
        noise(),
        cache_hit(),
        sqlite_get(),
        sqlite_list(),
        sqlite_insert(),
        pass_through(),
    ];
    all.extend(postgres::cases());
    all
}

/// The same server twice: how far the ratio is from 1 is how much any other ratio of this run can be believed.
fn noise() -> Case {
    let peer = |name, aim| Peer {
        name,
        aim,
        start: Box::new(|place| start_nginx(place, "return 200 'as before';")),
        load: Load::get("/"),
        check: |answer| answer.expect(200, "as before"),
    };
    Case {
        name: "noise",
        about: "nginx `return 200` against itself. No access log.".to_string(),
        connections: 64,
        by: By::Cpu,
        peers: vec![peer("nginx", None), peer("nginx again", Some(1.03))],
    }
}

const NO_CACHE: &str = "[cache]\nmemory = \"0B\"\n";

/// Our binary with everything off, and with a token, a limit and the access log on.
fn ours(load: &Load, toml: &'static str, aim: f64, check: fn(&super::Answer) -> Result<(), String>) -> Vec<Peer> {
    let peer = |name, extras, aim, load| Peer {
        name,
        aim,
        start: Box::new(move |place: &Place<'_>| mainstay::start(place, extras, toml)) as Start,
        load,
        check,
    };
    let mut signed = load.clone();
    signed
        .headers
        .push(("Authorization".to_string(), format!("Bearer {TOKEN}")));
    vec![
        peer("mainstay", Extras::Off, Some(aim), load.clone()),
        peer("mainstay, token + limit + access log", Extras::On, None, signed),
    ]
}

fn cache_hit() -> Case {
    let load = Load::get("/rest/v1/item?id=gte.100&order=id&limit=4");
    let check: fn(&super::Answer) -> Result<(), String> = |answer| answer.expect(200, &rows_json(100, 4));
    let mut peers = vec![Peer {
        name: "hyper answering from a map",
        aim: None,
        start: Box::new(|place| mainstay::start_map(place, &rows_json(100, 4))),
        load: load.clone(),
        check,
    }];
    peers.extend(ours(&load, "", 1.25, check));
    // What is never the same byte for byte has to be parsed.
    let script = r#"local n = 0
function request()
  n = n + 1
  return wrk.format("GET", nil, { ["traceparent"] = string.format("00-0af7651916cd43dd8448eb211c80319c-%016x-01", n) })
end
"#;
    peers.push(Peer {
        name: "mainstay, a trace of its own each time",
        aim: None,
        start: Box::new(|place: &Place<'_>| mainstay::start(place, Extras::Off, "")),
        load: Load {
            script: Some(script.to_string()),
            ..load.clone()
        },
        check,
    });
    Case {
        name: "cache-hit",
        about: "The same GET of four rows again and again, answered from the coherent cache; and the same with another `traceparent` each time."
            .to_string(),
        connections: 64,
        by: By::Cpu,
        peers,
    }
}

/// Against hyper with rusqlite on the same thread; the cache is off.
fn against_sqlite(
    name: &'static str,
    about: &str,
    bare: Load,
    own: Load,
    aim: f64,
    check: fn(&super::Answer) -> Result<(), String>,
) -> Case {
    let mut peers = vec![Peer {
        name: "hyper + rusqlite inline",
        aim: None,
        start: Box::new(mainstay::start_sqlite),
        load: bare,
        check,
    }];
    peers.extend(ours(&own, NO_CACHE, aim, check));
    Case {
        name,
        about: about.to_string(),
        connections: 64,
        by: By::Cpu,
        peers,
    }
}

/// A GET whose id is another each time.
fn random_id(prefix: &str) -> Load {
    let script = format!("function request() return wrk.format(\"GET\", \"{prefix}\" .. math.random(1, 10000)) end\n");
    Load {
        script: Some(script),
        ..Load::get(&format!("{prefix}7"))
    }
}

fn sqlite_get() -> Case {
    against_sqlite(
        "sqlite-get",
        "A row by its key, another each time; no cache.",
        random_id("/item/"),
        random_id("/rest/v1/item/"),
        1.4,
        |answer| answer.expect(200, &row_json(7)),
    )
}

fn sqlite_list() -> Case {
    against_sqlite(
        "sqlite-list",
        "Twenty rows in the order of their key; no cache.",
        Load::get("/list"),
        Load::get("/rest/v1/item?id=gte.100&order=id&limit=20"),
        1.2,
        |answer| answer.expect(200, &rows_json(100, 20)),
    )
}

fn sqlite_insert() -> Case {
    let load = |path: &str| Load {
        method: "POST",
        headers: vec![("Content-Type".to_string(), "application/json".to_string())],
        body: Some(
            "{\"name\":\"New\",\"note\":\"One more row of an ordinary size.\",\"price\":12.50,\"stock\":3}".to_string(),
        ),
        ..Load::get(path)
    };
    against_sqlite(
        "sqlite-insert",
        "One row inserted, durable (synchronous=FULL) before it is acknowledged; 64 clients.",
        load("/item"),
        load("/rest/v1/item"),
        2.0,
        |answer| {
            if answer.status < 300 {
                Ok(())
            } else {
                Err(format!("{}: {}", answer.status, answer.body))
            }
        },
    )
}

/// 604 bytes, as the other figures of reverse proxies have it.
fn upstream_body() -> String {
    "x".repeat(604)
}

fn pass_through() -> Case {
    let upstream = |place: &Place<'_>| -> Result<Server, String> {
        let folder = place.folder.join("upstream");
        std::fs::create_dir_all(&folder).map_err(|e| e.to_string())?;
        start_nginx(
            &Place {
                folder: &folder,
                ..*place
            },
            &format!("return 200 '{}';", upstream_body()),
        )
    };
    let check: fn(&super::Answer) -> Result<(), String> = |answer| answer.expect(200, &upstream_body());
    let nginx = move |place: &Place<'_>| {
        let upstream = upstream(place)?;
        let address = upstream.address;
        let server = start_nginx_with(
            place,
            "proxy_pass http://up; proxy_http_version 1.1; proxy_set_header Connection '';",
            &format!("upstream up {{ server {address}; keepalive 64; }}"),
        )?;
        Ok(server.beside(vec![upstream]))
    };
    let own = move |place: &Place<'_>| {
        let upstream = upstream(place)?;
        let toml = format!(
            "[upstream.up]\nservers = [\"{}\"]\n\n[[route]]\nmatch = \"/up\"\nto = \"up\"\nauth = \"none\"\n",
            upstream.address
        );
        let server = mainstay::start(place, Extras::Off, &toml)?;
        Ok(server.beside(vec![upstream]))
    };
    Case {
        name: "pass-through",
        about: "A GET of 604 bytes from an nginx behind it, connections kept on both sides.".to_string(),
        connections: 64,
        by: By::Cpu,
        peers: vec![
            Peer {
                name: "nginx proxy_pass",
                aim: None,
                start: Box::new(nginx),
                load: Load::get("/up"),
                check,
            },
            Peer {
                name: "mainstay",
                aim: Some(1.25),
                start: Box::new(own),
                load: Load::get("/up"),
                check,
            },
        ],
    }
}

/// nginx with one worker and one location, `/`, which holds `directives`.
pub fn start_nginx(place: &Place<'_>, directives: &str) -> Result<Server, String> {
    start_nginx_with(place, directives, "")
}

/// The same with further blocks of `http`.
fn start_nginx_with(place: &Place<'_>, directives: &str, http: &str) -> Result<Server, String> {
    let program = find(&["nginx"]).ok_or("nginx is missing: `cargo xtask engines` installs it")?;
    let address = free_address()?;
    let folder = place.folder.display();
    let configuration = format!(
        "daemon off; master_process off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;\n\
         events {{ worker_connections 4096; }}\n\
         http {{ access_log off; keepalive_requests 1000000000; client_body_temp_path {folder}; proxy_temp_path {folder};\n\
         fastcgi_temp_path {folder}; uwsgi_temp_path {folder}; scgi_temp_path {folder}; {http}\n\
         server {{ listen {address}; location / {{ {directives} }} }} }}\n"
    );
    let file = place.folder.join("nginx.conf");
    std::fs::write(&file, configuration).map_err(|error| format!("{}: {error}", file.display()))?;
    let file = file.display().to_string();
    Server::start(place, address, &program, &["-p", &folder.to_string(), "-c", &file])
}
