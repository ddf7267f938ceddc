//! Backups as files: the format of an archive, the places where archives are kept (a folder, a bucket that speaks S3), and which
//! of them are kept how long. What is inside is the engines' affair; `docs/adr/0014-backups.md` says why it is as it is.

mod file;
mod keep;
mod manifest;
mod name;
mod place;

pub use file::{Contents, read, write};
pub use keep::{Keep, expired};
pub use manifest::{FORMAT, Manifest, Part, Table};
pub use name::{Name, Time};
pub use place::{Entry, Place, S3};
