//! Reports missing and renamed entries, within the archive and in the log. Called by `tree` and `stream`.

use std::fmt::Write as _;

/// After this many bytes of text, further lines are only counted.
const MAX_TEXT: usize = 64 << 10;

#[derive(Debug, Default)]
pub(super) struct Report {
    left_out: Lines,
    renamed: Lines,
}

#[derive(Debug, Default)]
struct Lines {
    text: String,
    count: usize,
    untold: usize,
}

impl Report {
    /// Reports a path that is missing from the archive.
    pub fn left_out(&mut self, path: &[u8], why: &str) {
        let path = shown(path);
        log::debug!(target: "modest::files", "{path} is missing from an archive: {why}");
        self.left_out.push(&path, why);
    }

    /// Reports a path that has a different name in the archive.
    pub fn renamed(&mut self, path: &[u8], name: &[u8]) {
        self.renamed.push(&shown(path), &format!("here {}", shown(name)));
    }

    pub fn missing(&self) -> usize {
        self.left_out.count
    }

    /// Returns the files that contain the report: their names and texts.
    pub fn files(&self) -> Vec<(&'static str, String)> {
        let missing = ("MISSING.txt", "These are not in this archive:", &self.left_out);
        let renamed = ("RENAMED.txt", "These have other names in this archive:", &self.renamed);
        let told = [missing, renamed].into_iter().filter(|(.., lines)| lines.count > 0);
        told.map(|(name, title, lines)| (name, lines.page(title))).collect()
    }
}

impl Lines {
    fn push(&mut self, path: &str, what: &str) {
        self.count += 1;
        match self.text.len() < MAX_TEXT {
            true => writeln!(self.text, "{path}: {what}").unwrap_or_default(), // writing to a String cannot fail
            false => self.untold += 1,
        }
    }

    fn page(&self, title: &str) -> String {
        let mut page = format!("{title}\n\n{}", self.text);
        if self.untold > 0 {
            let _ = writeln!(page, "and {} more", self.untold);
        }
        page
    }
}

/// Returns a path for display: line ends and characters that change the direction of text are replaced, so that a file
/// name cannot forge a line in a log.
pub(super) fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path).replace(crate::misleading::is_misleading, "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_bounded() {
        let mut report = Report::default();
        assert!(report.files().is_empty(), "an empty report has no files");
        report.renamed("a/x\n\u{202e}y".as_bytes(), b"x__y");
        assert_eq!(
            report.files(),
            [(
                "RENAMED.txt",
                "These have other names in this archive:\n\na/x\u{fffd}\u{fffd}y: here x__y\n".to_owned()
            )]
        );
        (0..100_000).for_each(|_| report.left_out(&[b'x'; 100], "no"));
        let files = report.files();
        assert_eq!((files.len(), files[0].0, report.missing()), (2, "MISSING.txt", 100_000));
        assert!(files[0].1.len() < MAX_TEXT + 300 && files[0].1.ends_with(" more\n"), "{} bytes", files[0].1.len());
    }
}
