//! Every form of statement that the room writes for PostgreSQL, run by a PostgreSQL server of the test's own. Without a server
//! installed the test says so and passes, except where `CI=true`: there it fails.

mod definitions;
mod project;
mod reads;
mod related;
mod server;
mod writes;

use project::Project;
use server::Server;

#[test]
fn postgres() {
    let server = match Server::start() {
        Ok(server) => server,
        Err(reason) if std::env::var("CI").is_ok_and(|ci| ci == "true") => panic!("no PostgreSQL: {reason}"),
        Err(reason) => return eprintln!("skipped: the statements for PostgreSQL were not run: {reason}"),
    };
    definitions::library(&server);
    definitions::shop(&server);
    let project = Project::create(&server);
    reads::run(&project);
    related::run(&project);
    writes::run(&project);
}
