//! What is measured. One function makes one case; [`all`] lists them.

use std::path::Path;

use super::process::free_address;
use super::{Case, Load, Peer, Place, Server};
use crate::command::find;

/// Every case, in the order of the report.
pub fn all(_root: &Path) -> Vec<Case> {
    vec![noise()]
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
        peers: vec![peer("nginx", None), peer("nginx again", Some(1.03))],
    }
}

/// nginx with one worker and one location, `/`, which holds `directives`.
pub fn start_nginx(place: &Place<'_>, directives: &str) -> Result<Server, String> {
    let program = find(&["nginx"]).ok_or("nginx is missing: `cargo xtask engines` installs it")?;
    let address = free_address()?;
    let folder = place.folder.display();
    let configuration = format!(
        "daemon off; master_process off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;\n\
         events {{ worker_connections 4096; }}\n\
         http {{ access_log off; keepalive_requests 1000000000; client_body_temp_path {folder}; proxy_temp_path {folder};\n\
         fastcgi_temp_path {folder}; uwsgi_temp_path {folder}; scgi_temp_path {folder};\n\
         server {{ listen {address}; location / {{ {directives} }} }} }}\n"
    );
    let file = place.folder.join("nginx.conf");
    std::fs::write(&file, configuration).map_err(|error| format!("{}: {error}", file.display()))?;
    let file = file.display().to_string();
    Server::start(place, address, &program, &["-p", &folder.to_string(), "-c", &file])
}
