//! The cookies of a request.

use super::Request;

impl Request {
    /// Returns the value of the first cookie of that name, as sent. Cookies that are not UTF-8 are skipped.
    pub fn cookie(&self, name: &str) -> Option<&str> {
        self.cookies().find(|(found, _)| *found == name).map(|(_, value)| value)
    }

    /// Iterates over all cookies in the order in which they were sent: name and value. Cookies that are not UTF-8 are
    /// skipped. A name can occur more than once. The cookie with the longest path comes first (RFC 6265, section 5.4).
    ///
    /// ```
    /// use modest::Request;
    ///
    /// let request = Request::get("/").with_header("cookie", "a=1; b=\"2\"; a=3");
    /// assert_eq!(request.cookies().collect::<Vec<_>>(), [("a", "1"), ("b", "2"), ("a", "3")]);
    /// ```
    pub fn cookies(&self) -> impl Iterator<Item = (&str, &str)> {
        self.header_all("cookie")
            .flat_map(|line| line.split(|byte| *byte == b';'))
            .filter_map(|pair| std::str::from_utf8(pair).ok()?.split_once('='))
            .map(|(name, value)| (trimmed(name), unquoted(trimmed(value))))
    }
}

/// Removes spaces and tabs at both ends, as browsers do (RFC 6265, section 5.2). Other white space is part of the name,
/// so such a name does not begin with a prefix such as `__Host-`.
fn trimmed(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

/// Removes the quotes of a quoted cookie value (RFC 6265, section 4.1.1).
fn unquoted(value: &str) -> &str {
    value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value)
}
