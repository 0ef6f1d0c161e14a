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

    /// Marks the cookies of this name as this server's own: handlers that pass the request on leave them out.
    #[cfg(feature = "sessions")]
    pub(crate) fn keep_cookies(&self, name: &str) {
        let others = self.value::<OwnCookies>().map(|own| own.0.clone());
        self.put(OwnCookies(others.into_iter().flatten().chain([name.to_owned()]).collect()));
    }

    /// Returns a line of cookies without this server's own. `None` if it has no others.
    #[cfg(feature = "proxy")]
    pub(crate) fn foreign_cookies<'a>(&self, line: &'a [u8]) -> Option<std::borrow::Cow<'a, [u8]>> {
        let Some(own) = self.value::<OwnCookies>() else { return Some(line.into()) };
        let is_own = |pair: &&[u8]| {
            let name = pair.split(|byte| *byte == b'=').next().unwrap_or_default().trim_ascii();
            own.0.iter().any(|known| known.as_bytes() == name)
        };
        let pairs = line.split(|byte| *byte == b';').map(<[u8]>::trim_ascii).filter(|pair| !is_own(pair));
        let pairs: Vec<&[u8]> = pairs.collect();
        (!pairs.is_empty()).then(|| pairs.join(&b"; "[..]).into())
    }
}

/// The names of the cookies that layers of this server have set.
#[cfg(any(feature = "sessions", feature = "proxy"))]
struct OwnCookies(Vec<String>);

/// Removes spaces and tabs at both ends, as browsers do (RFC 6265, section 5.2). Other white space is part of the name,
/// so such a name does not begin with a prefix such as `__Host-`.
fn trimmed(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

/// Removes the quotes of a quoted cookie value (RFC 6265, section 4.1.1).
fn unquoted(value: &str) -> &str {
    value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value)
}
