//! The path of a request for the backend, and the URLs that a backend sends for clients.

use std::borrow::Cow;

use super::ReverseProxy;
use crate::{Error, Request, Result, StatusCode, UrlPath};

impl ReverseProxy {
    /// Returns the request target for the backend: the path in its canonical form as the client wrote it, and the
    /// query.
    pub(super) fn target(&self, request: &Request) -> Result<String> {
        let canonical = request.url_path()?; // has no dot segments: rights were checked for this path
        let whole = request.target();
        let raw = whole.split(['?', '#']).next().filter(|raw| UrlPath::parse(raw).is_ok_and(|path| path == canonical));
        let path = self.path_there(request, &canonical, raw)?;
        Ok(request.query().map_or_else(|| path.clone(), |query| format!("{path}?{query}")))
    }

    /// Returns the path for the backend. `raw`: the path as the client sent it.
    fn path_there(&self, request: &Request, path: &UrlPath<'_>, raw: Option<&str>) -> Result<String> {
        let refused = |why: &str| Err(Error::new(StatusCode::NOT_FOUND, why));
        if path.names().any(has_other_reading) {
            return refused("The application for this path could read it as another path.");
        }
        let prefix =
            UrlPath::parse(&self.prefix).map_or_else(|_| self.prefix.as_bytes().to_vec(), |at| at.as_bytes().to_vec());
        if path.beneath(&prefix).or_else(|| path.beneath(self.prefix.as_bytes())).is_none() {
            return refused("This path does not begin with the prefix of the application.");
        }
        let raw = raw.map_or_else(|| path.to_string(), str::to_owned);
        let dropped = self.dropped(request);
        let names = dropped.iter().filter(|&&byte| byte == b'/').count();
        let at = raw.match_indices('/').nth(names).map_or(raw.len(), |(at, _)| at);
        let path = format!("{}{}", self.backend().path.as_deref().unwrap_or_default(), &raw[at..]);
        Ok(if path.is_empty() { "/".to_owned() } else { path })
    }

    /// Returns the prefix that is removed from paths for the backend.
    fn dropped<'a>(&'a self, request: &'a Request) -> &'a [u8] {
        match &self.backend().path {
            Some(_) => request.mount_path(),
            None => self.prefix.as_bytes(),
        }
    }

    /// Returns the path in `Destination` (WebDAV) for the backend. Rights are checked for the path in the client's
    /// field.
    pub(super) fn destination(&self, request: &Request) -> Result<Option<String>> {
        let Some(path) = request.destination()? else { return Ok(None) };
        if path.beneath(request.mount_path()).is_none() {
            return Err(Error::new(StatusCode::BAD_GATEWAY, "The Destination belongs to another server."));
        }
        let url = request.header("destination").unwrap_or_default();
        let rest = url.split_once("://").map_or(url, |(_, rest)| &rest[rest.find('/').unwrap_or(rest.len())..]);
        let raw = Some(rest).filter(|raw| UrlPath::parse(raw).is_ok_and(|found| found == path));
        self.path_there(request, &path, raw).map(Some)
    }

    /// Returns the URL on this server for one that the backend sent, or `None` if it stays unchanged.
    pub(super) fn url_here(&self, request: &Request, url: &str) -> Option<String> {
        let begins = |scheme: &&str| url.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme));
        let scheme = ["http://", "https://", "//"].into_iter().find(begins).unwrap_or_default();
        let end = url[scheme.len()..].find(['/', '?', '#']).map_or(url.len(), |at| scheme.len() + at);
        let (origin, rest) = url.split_at(end);
        let (raw, query) = rest.split_at(rest.find(['?', '#']).unwrap_or(rest.len()));
        let raw = if raw.is_empty() && !scheme.is_empty() { "/" } else { raw }; // RFC 9110, section 4.2.3
        let authority = &origin[scheme.len()..];
        let is_host = || request.host().is_some_and(|host| host.eq_ignore_ascii_case(authority));
        let is_ours = origin.is_empty() || !scheme.is_empty() && is_host();
        let is_own = !is_ours && ["http://", "//"].contains(&scheme) && self.backend().is_at(authority);
        // A browser reads a backslash as a slash and drops a tab, so what is left of such a path could name another
        // host.
        let is_plain = !raw.contains(|c: char| c == '\\' || c.is_ascii_control());
        if !is_plain || !is_ours && !is_own {
            return None;
        }
        let (path, raw): (_, Cow<str>) = match UrlPath::parse(raw) {
            Ok(path) => (path, Cow::Borrowed(raw)),
            Err(invalid) => {
                let path = invalid.canonical().filter(|_| !raw.contains("//"))?.clone();
                let raw = path.to_string(); // without dot segments, as clients resolve it
                (path, Cow::Owned(raw))
            }
        };
        match self.path_here(request, &path, &raw) {
            Some(here) => Some(format!("{}{here}{query}", if is_ours { origin } else { "" })),
            None if is_own && path.beneath(request.mount_path()).is_some() => Some(format!("{raw}{query}")),
            None => None,
        }
    }

    /// Returns the path on this server for a path of the backend, or `None` if both are the same. `raw`: the path as
    /// the backend sent it. If the path already is one of this server, because the backend knows where it is mounted,
    /// it is left unchanged.
    fn path_here(&self, request: &Request, path: &UrlPath<'_>, raw: &str) -> Option<String> {
        let there = self.backend().path.as_deref().unwrap_or_default();
        let there_decoded = UrlPath::parse(there).map_or(Vec::new(), |at| at.as_bytes().to_vec());
        let here = self.dropped(request);
        let is_here = path.beneath(here).is_some() && here.len() >= there_decoded.len();
        path.beneath(&there_decoded).filter(|_| !is_here)?;
        let names = there.matches('/').count();
        let at = raw.match_indices('/').nth(names).map_or(raw.len(), |(at, _)| at);
        let here = format!("{}{}", crate::encode_path(here), &raw[at..]);
        Some(if here.is_empty() { "/".to_owned() } else { here })
    }
}

/// Returns whether some servers would read this segment as a different one or as several, because they remove `;` and
/// the rest, or treat a backslash as a slash.
fn has_other_reading(name: &[u8]) -> bool {
    let own = name.split(|&byte| byte == b';').next().unwrap_or_default();
    name.contains(&b'\\') || matches!(own, b"" | b"." | b"..")
}
