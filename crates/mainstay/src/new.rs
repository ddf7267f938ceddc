//! `mainstay new`: a project that serves, small enough to be read in a minute.

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
    let fail = |e: std::io::Error| Box::new(format!("{}: {e}", dir.display())) as Box<dyn Display>;
    for name in ["mainstay.toml", "schema.sql"] {
        if dir.join(name).exists() {
            return Err(Box::new(format!("{}: there is a project already ({name})", dir.display())));
        }
    }
    std::fs::create_dir_all(dir).map_err(fail)?;
    for (name, text) in [("mainstay.toml", TOML), ("schema.sql", SCHEMA), (".gitignore", ".mainstay/\n")] {
        let path = dir.join(name);
        if !path.exists() {
            std::fs::write(path, text).map_err(fail)?;
        }
    }
    let shown = dir.display();
    println!("{shown} is a project. Serve it with: mainstay serve {shown}");
    Ok(())
}
