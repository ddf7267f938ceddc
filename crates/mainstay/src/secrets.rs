//! Keys of a project: the configured one, or the development key in `.mainstay/`, and the tokens signed with it.

use crate::output::{complain, say};
use base64::Engine as _;
use mainstay_auth::{Claims, DEVELOPMENT_KEY_FILE, Key, Signer, development_key};
use mainstay_config::Project;
use std::fmt::Display;
use std::io::Write;
use std::path::Path;

/// The key that verifies tokens, and whether it is the development key.
pub fn key(project: &Project) -> Result<(Key, bool), String> {
    if let Some(secret) = &project.auth.secret {
        let key = Key::from_config(secret.expose()).map_err(|e| format!("{}: [auth] secret: {e}", project.auth.at))?;
        return Ok((key, false));
    }
    if project.auth.jwks.is_some() {
        return Err(format!(
            "{}: [auth] jwks is not served yet; give the key as `secret`",
            project.places.find(&["auth", "jwks"])
        ));
    }
    own_key(&project.state_directory()).map(|key| (key, true))
}

/// Whether the development key may be used: everything embedded, nobody else can connect.
pub fn development_key_refusal(project: &Project) -> Option<String> {
    let help = "set [auth] secret = { env = \"JWT_SECRET\" }";
    let listen = project.gateway.listen;
    if !listen.ip().is_loopback() {
        let at = project.places.find(&["gateway", "listen"]);
        return Some(format!(
            "{at}: the development key is for this machine alone, and the gateway listens on {listen}; {help}"
        ));
    }
    let (name, _) = project.stores.iter().find(|(_, store)| !store.is_embedded())?;
    let at = project.places.find(&["store", name, "url"]);
    Some(format!(
        "{at}: the development key is for embedded stores alone, and store \"{name}\" is a server; {help}"
    ))
}

/// `mainstay token`
pub fn print_token(dir: &Path, role: String, sub: Option<String>, ttl: &str) -> Result<(), Box<dyn Display>> {
    let fail = |text: String| Box::new(text) as Box<dyn Display>;
    let ttl_s = mainstay_config::units::parse_duration(ttl)
        .ok_or_else(|| fail(format!("--ttl {ttl}: not a time; write for example 15m, 1h or 30d")))?
        .as_secs();
    if ttl_s == 0 {
        return Err(fail(format!("--ttl {ttl}: a token must be good for at least a second")));
    }
    if role.trim().is_empty() {
        return Err(fail("--role: name a role, for example authenticated".to_owned()));
    }
    crate::project::expect_one(dir).map_err(fail)?;
    let (secret, unknown) = described(dir, &role);
    if secret {
        return Err(fail(format!(
            "{}: [auth] names the key that tokens are verified with; sign with that one: `mainstay serve` does not accept the \
             development key here",
            dir.display()
        )));
    }
    if unknown {
        complain!("note: nothing in this project is granted to a role \"{role}\"");
    }
    if sub
        .as_ref()
        .is_some_and(|s| mainstay_model::Value::parse(s, &mainstay_model::Type::Uuid).is_err())
    {
        complain!("note: --sub is not a UUID: auth.uid() is NULL for it, which finds nobody");
    }
    let key = own_key(&dir.join(".mainstay")).map_err(fail)?;
    let signer = Signer::new(&key).ok_or_else(|| fail("the development key cannot sign".to_owned()))?;
    let claims = Claims {
        role,
        subject: sub,
        ttl_s,
        ..Claims::default()
    };
    let (token, _) = signer.sign(&claims).map_err(|e| fail(e.to_string()))?;
    say!("{token}");
    Ok(())
}

/// Whether a project names a key of its own, and whether it knows nothing of `role`. A project with problems is taken as it is: a
/// token can be had before everything else is right.
fn described(dir: &Path, role: &str) -> (bool, bool) {
    let Ok(loaded) = crate::project::load(dir, &[]) else {
        return (false, false);
    };
    let auth = &loaded.project.auth;
    let schema = &loaded.schema;
    let granted = schema.relations.iter().flat_map(|r| r.grants.iter().map(|g| &g.role));
    let callers = schema.functions.iter().flat_map(|f| f.grants.iter());
    let known =
        ["anon", "authenticated", "service_role"].contains(&role) || granted.chain(callers).any(|r| **r == *role);
    (auth.secret.is_some() || auth.jwks.is_some(), !known)
}

/// A secret of the project's own in its state directory, made at first use with mode 0600: `prefix` and 32 random bytes in base64.
pub fn generated(state: &Path, file: &str, prefix: &str) -> Result<String, String> {
    let path = state.join(file);
    match std::fs::read_to_string(&path) {
        Ok(text) => return not_empty(&path, text.trim()).map(str::to_owned),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
        Err(e) => return Err(unusable(&path, "cannot be read", &e)),
    }
    make_state(state)?;
    let text = format!("{prefix}{}", random().map_err(|e| format!("{}: {e}", path.display()))?);
    write_private(&path, &text).map_err(|e| unusable(&path, "cannot be written", &e))?;
    Ok(text)
}

/// 32 random bytes in base64.
pub fn random() -> Result<String, String> {
    let mut random = [0u8; 32];
    getrandom::fill(&mut random).map_err(|e| format!("there is no randomness: {e}"))?;
    Ok(base64::engine::general_purpose::STANDARD.encode(random))
}

/// Refuses a file without a secret in it: with an empty one nobody is let in, or anybody.
pub fn not_empty<'a>(path: &Path, secret: &'a str) -> Result<&'a str, String> {
    if secret.is_empty() {
        return Err(format!(
            "{}: the file is empty; remove it, and the next start makes a new one",
            path.display()
        ));
    }
    Ok(secret)
}

/// Makes the directory of local state.
pub fn make_state(state: &Path) -> Result<(), String> {
    std::fs::create_dir_all(state).map_err(|e| unusable(state, "cannot be made", &e))
}

/// What is said of a file or folder that the process cannot use.
pub fn unusable(path: &Path, what: &str, error: &std::io::Error) -> String {
    use std::io::ErrorKind::{NotADirectory, PermissionDenied, ReadOnlyFilesystem, StorageFull};
    let help = match error.kind() {
        PermissionDenied | ReadOnlyFilesystem => "; give the user that runs Mainstay the right to read and write there",
        StorageFull => "; free some disk space",
        NotADirectory => "; a file stands where a folder should be",
        _ => "",
    };
    format!("{}: {what}: {error}{help}", path.display())
}

fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    if written.is_err() {
        // Half a secret is none.
        let _ = std::fs::remove_file(path);
    }
    written
}

/// The development key of a project's state, made at first use.
fn own_key(state: &Path) -> Result<Key, String> {
    let path = state.join(DEVELOPMENT_KEY_FILE);
    match std::fs::read_to_string(&path) {
        Ok(text) => not_empty(&path, text.trim()).map(drop)?,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => make_state(state)?,
        Err(e) => return Err(unusable(&path, "cannot be read", &e)),
    }
    development_key(state).map_err(|e| match e.kind() {
        // Its content is off, and the error names the file.
        std::io::ErrorKind::Other => format!("{e}; or remove the file, and the next start makes a new key"),
        _ => unusable(&path, "cannot be read or made", &e),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Error, ErrorKind};

    #[test]
    fn what_cannot_be_used_is_named_with_a_remedy() {
        for (kind, end) in [
            (
                ErrorKind::PermissionDenied,
                "; give the user that runs Mainstay the right to read and write there",
            ),
            (
                ErrorKind::ReadOnlyFilesystem,
                "; give the user that runs Mainstay the right to read and write there",
            ),
            (ErrorKind::StorageFull, "; free some disk space"),
            (ErrorKind::InvalidInput, ""),
        ] {
            let error = Error::from(kind);
            assert_eq!(
                unusable(Path::new("a/.mainstay"), "cannot be made", &error),
                format!("a/.mainstay: cannot be made: {error}{end}")
            );
        }
    }
}
