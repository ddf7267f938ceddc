//! A copy of the file for a backup, made by the thread that has it open: nobody else can read it.

use crate::failed;
use crate::queue::Queue;
use mainstay_model::{Error, Result};
use std::path::Path;

impl Queue {
    /// Copies the file as it is. What the group has done so far is committed first: a copy cannot be made inside a transaction.
    pub fn snapshot(&mut self, file: &Path) -> Result<()> {
        let target = file
            .to_str()
            .ok_or_else(|| Error::new("58030", format!("{}: not UTF-8", file.display())))?;
        self.commit()?;
        let copied = self.connection.execute("VACUUM INTO ?1", [target]).map_err(failed);
        self.begin()?;
        copied.map(drop)
    }
}
