//! The segments of a path, folded as some file systems do.

use crate::UrlPath;
use crate::misleading::fold;

/// The segments of a path, from the root of the server. None is empty, `.` or `..`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    exact: Vec<Vec<u8>>,
    folded: Vec<String>,
}

impl Names {
    pub fn of(path: &UrlPath<'_>) -> Names {
        let exact: Vec<Vec<u8>> = path.names().map(<[u8]>::to_vec).collect();
        let folded = exact.iter().map(|name| fold(name)).collect();
        Names { exact, folded }
    }

    pub fn encoded(&self) -> String {
        self.exact.iter().map(|name| format!("/{}", crate::encode_segment(name))).collect()
    }

    pub fn len(&self) -> usize {
        self.exact.len()
    }

    pub fn begin_with(&self, other: &Names) -> bool {
        self.exact.starts_with(&other.exact)
    }

    pub fn begin_with_folded(&self, other: &Names) -> bool {
        self.folded.starts_with(&other.folded)
    }

    /// Returns whether a request for `other` can reach the file of this name. It can for `/about` and `/about.html`, in
    /// both directions, and for `/a.txt.gz`, which is sent for `/a.txt` to clients that accept gzip. `/a.txt` is not a
    /// name of `/a.txt.gz`, which can exist alone.
    pub fn is_name_of(&self, other: &Names) -> bool {
        let (Some((own, folder)), Some((name, parent))) = (self.folded.split_last(), other.folded.split_last()) else {
            return false;
        };
        folder == parent && uncoded(own).any(|own| own == name || is_page(own, name) || is_page(name, own))
    }

    /// Returns whether `page` is an index file of this folder.
    pub fn is_folder_of(&self, page: &Names, is_index: impl Fn(&str) -> bool) -> bool {
        page.folded.split_last().is_some_and(|(name, folder)| folder == self.folded && is_index(name))
    }

    /// Returns the path without parameters, the part of a segment after `;` (RFC 3986, section 3.3). `None` if it has
    /// none.
    pub fn without_parameters(&self) -> Option<Names> {
        let own = |name: &Vec<u8>| name.split(|&byte| byte == b';').next().unwrap_or_default().to_vec();
        let exact: Vec<Vec<u8>> = self.exact.iter().map(own).filter(|name| !name.is_empty()).collect();
        let folded = exact.iter().map(|name| fold(name)).collect();
        (exact != self.exact).then_some(Names { exact, folded })
    }

    /// Returns this path moved below the given folder.
    pub fn beneath(self, folder: Names) -> Names {
        Names { exact: [folder.exact, self.exact].concat(), folded: [folder.folded, self.folded].concat() }
    }
}

/// Returns this name, and the names of the files of which it is a compressed copy.
fn uncoded(name: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(name), |name| [".gz", ".br", ".zst"].into_iter().find_map(|end| name.strip_suffix(end)))
}

/// Returns whether a page of this name is served under the other one, with clean URLs.
fn is_page(page: &str, clean: &str) -> bool {
    matches!(page.strip_prefix(clean), Some(".html" | ".htm"))
}
