//! The lines of a users file, as `htpasswd` writes it: `NAME:HASH`.

use std::collections::HashMap;

use super::hash::StoredHash;

/// All users of one state of the file.
#[derive(Default)]
pub struct Table {
    by_name: HashMap<String, usize>,
    entries: Vec<Entry>,
}

pub struct Entry {
    pub hash: StoredHash,
    /// The hash as written in the file. If the text changes, the password has changed.
    pub text: String,
}

impl Table {
    /// Parses the file. Empty lines and lines that begin with `#` are ignored. An error contains the number of the
    /// line, its user, and what to do.
    pub fn parse(text: &str) -> Result<Table, String> {
        let mut table = Table::default();
        let text = text.strip_prefix('\u{feff}').unwrap_or(text); // some editors begin a file with it
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let number = number + 1;
            let Some((name, hash)) = line.split_once(':') else {
                return Err(format!("line {number}: expected NAME:HASH, as written by 'htpasswd -B'"));
            };
            if name.is_empty() || name.chars().any(char::is_control) {
                return Err(format!("line {number}: expected the name of a user before the colon"));
            }
            let stored = StoredHash::parse(hash).map_err(|why| {
                let hint =
                    "bcrypt, SHA-crypt and argon2 are supported: 'modest --hash-password' and 'htpasswd -B' create them";
                format!("line {number}: {name}: {why}; {hint}")
            })?;
            if table.by_name.insert(name.to_owned(), table.entries.len()).is_some() {
                return Err(format!("line {number}: {name} is in the file twice; delete one of the lines"));
            }
            table.entries.push(Entry { hash: stored, text: hash.to_owned() });
        }
        Ok(table)
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub fn get(&self, name: &str) -> Option<&Entry> {
        self.by_name.get(name).map(|&at| &self.entries[at])
    }

    /// Returns the entry whose hash is compared with the password of an unknown user, so that the comparison takes as
    /// long as for a known user. `number` is unpredictable, but always the same for a name. `None` if there are no
    /// users.
    pub fn stand_in(&self, number: u64) -> Option<&Entry> {
        let at = number.checked_rem(self.entries.len() as u64)?;
        self.entries.get(at as usize)
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(String::as_str)
    }
}
