//! `mainstay new`: a project that serves, small enough to be read in a minute.

use crate::output::say;
use crate::secrets::unusable;
use std::fmt::Display;
use std::path::Path;

const TOML: &str = r#"# How this project is served. Every key has a default: an empty file serves schema.sql on http://127.0.0.1:8080.

[gateway]
listen = "127.0.0.1:8080"

[store.main]
url = "sqlite:.mainstay/main.db"     # production: { env = "DATABASE_URL" }

[cache]
memory = "64MiB"
bound  = "1s"
"#;

const SCHEMA: &str = r#"-- What this project is: ordinary Postgres DDL.

CREATE TABLE notes (
  id         uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  user_id    uuid NOT NULL DEFAULT auth.uid(),
  text       text NOT NULL CHECK (length(text) BETWEEN 1 AND 10000),
  created_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE notes IS 'What a user wrote down.';

-- Nothing is exposed without a GRANT, and no row without a policy.
ALTER TABLE notes ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_notes ON notes TO authenticated USING (user_id = auth.uid());
GRANT SELECT, INSERT (text), UPDATE (text), DELETE ON notes TO authenticated;
"#;

/// Makes the project's files. Nothing that is there is overwritten.
pub fn run(dir: &Path) -> Result<(), Box<dyn Display>> {
    let shown = dir.display();
    let fail = |text: String| Box::new(text) as Box<dyn Display>;
    if dir.exists() && !dir.is_dir() {
        return Err(fail(format!(
            "{shown}: is a file; give a directory, which is made if it is not there"
        )));
    }
    for name in ["mainstay.toml", "schema.sql"] {
        if dir.join(name).exists() {
            return Err(fail(format!(
                "{shown}: there is a project already ({name}); serve it, or choose another directory"
            )));
        }
    }
    std::fs::create_dir_all(dir).map_err(|e| fail(unusable(dir, "cannot be made", &e)))?;
    for (name, text) in [
        ("mainstay.toml", TOML),
        ("schema.sql", SCHEMA),
        (".gitignore", ".mainstay/\n"),
    ] {
        let path = dir.join(name);
        if !path.exists() {
            std::fs::write(&path, text).map_err(|e| fail(unusable(&path, "cannot be written", &e)))?;
        }
    }
    let quoted = quoted(&shown.to_string());
    say!("{shown} is a project: schema.sql says what it is, mainstay.toml how it is served. Next:");
    say!("  mainstay serve {quoted}");
    say!("  mainstay token {quoted} --role authenticated --sub {EXAMPLE_USER}");
    Ok(())
}

/// A user's id for a first token.
const EXAMPLE_USER: &str = "6f1c1c3e-7f0a-4f5e-9a53-0a3a8c5b1f10";

/// A path as a shell takes it.
fn quoted(path: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "/._-+:@%".contains(c);
    if !path.is_empty() && path.chars().all(plain) {
        path.to_owned()
    } else {
        format!("'{}'", path.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_quoted_where_a_shell_would_break_them() {
        for (path, want) in [
            ("/tmp/notes", "/tmp/notes"),
            ("my shop", "'my shop'"),
            ("it's", r"'it'\''s'"),
            ("", "''"),
        ] {
            assert_eq!(quoted(path), want);
        }
    }
}
