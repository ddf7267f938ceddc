//! What the project wants, as it comes in: the statements of its DDL and the rows it brings along, as plain data.

use mainstay_model::Span;
use std::path::PathBuf;

/// What a statement does, as far as it matters to a migration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatementKind {
    /// `CREATE SCHEMA`
    Schema,
    /// `CREATE EXTENSION`
    Extension,
    /// `CREATE ROLE`
    Role,
    /// `CREATE FUNCTION`, `CREATE PROCEDURE`
    Function,
    /// `CREATE TABLE`
    Table,
    /// `CREATE INDEX`
    Index,
    /// Declares, changes or drops what is compared object by object.
    Define,
    /// Declares what is compared by its text alone: it is run once.
    Once,
    /// `INSERT`, `COPY … FROM stdin`, `SELECT setval(…)`: run when the table or sequence is new.
    Rows,
    /// `SET`, `SELECT set_config(…)`
    Setting,
    /// Passed over.
    Nothing,
}

/// One statement of the DDL.
#[derive(Clone, Debug)]
pub struct Statement {
    /// As written, without semicolon.
    pub text: String,
    /// Where.
    pub span: Span,
    /// What it does.
    pub kind: StatementKind,
    /// What it is about, folded: `orders`, `shop.orders`.
    pub object: Option<String>,
    /// Roles that it names.
    pub roles: Vec<String>,
    /// Of `COPY … FROM stdin`: its lines.
    pub data: Option<String>,
}

/// A CSV file with a header, whose rows a new table starts with.
#[derive(Clone, Debug)]
pub struct SeedFile {
    /// The table as the file is called: `orders`, `shop.orders`.
    pub table: String,
    /// The file.
    pub path: PathBuf,
    /// Its header.
    pub columns: Vec<String>,
}

/// The schema that is wanted of one database.
#[derive(Clone, Debug, Default)]
pub struct Source {
    /// Every statement, in order.
    pub statements: Vec<Statement>,
    /// Rows for tables that are new.
    pub seeds: Vec<SeedFile>,
}

impl Source {
    /// A digest of everything that decides what is wanted.
    pub(crate) fn digest(&self) -> String {
        // FNV-1a, twice with different offsets: it only has to tell an edit from none.
        let mut hashes = [0xcbf2_9ce4_8422_2325_u64, 0x9ae1_6a3b_2f90_404f];
        let version = env!("CARGO_PKG_VERSION");
        let texts = self.statements.iter().map(|s| s.text.as_str());
        for text in texts.chain([version]) {
            for byte in text.bytes().chain([0]) {
                for hash in &mut hashes {
                    *hash = (*hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
                }
            }
        }
        format!("{:016x}{:016x}", hashes[0], hashes[1])
    }
}
