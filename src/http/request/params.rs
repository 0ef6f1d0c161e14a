//! Parameters of a request: those of its query, and those of its path by the pattern of its route.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use http::StatusCode;

use super::{Request, expected};
use crate::http::error::Error;

/// Parameters of the query and of the path.
impl Request {
    /// Returns the first query parameter of that name, decoded.
    #[doc(alias = "parse_qs")]
    pub fn param(&self, name: &str) -> Option<Cow<'_, str>> {
        self.params().find(|(found, _)| found == name).map(|(_, value)| value)
    }

    /// Returns all query parameters, decoded, in order. As in browsers, every query can be decoded: bytes that are not
    /// UTF-8 appear as U+FFFD, and a percent sign without two hexadecimal digits stays. Links to a page can come from
    /// any program, so they are not rejected, unlike a malformed [`form`](Request::form).
    pub fn params(&self) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
        form_urlencoded::parse(self.query().unwrap_or_default().as_bytes())
    }

    /// Returns the part of the path that matches `{name}` in the pattern of its route, decoded and parsed.
    ///
    /// A value is never empty, `.` or `..`. Only the value of a `{*name}` can contain slashes. Bytes that are not UTF-8
    /// appear as U+FFFD, so different paths can have the same value: [`url_path`](Request::url_path) has the bytes.
    /// When `before_body` of a layer around the routes is called, nothing has been matched yet.
    ///
    /// # Errors
    /// 404 if the value cannot be parsed as `T`, because then there is nothing at this path. 500 if the pattern has no
    /// such name, which is a mistake in the program.
    ///
    /// ```
    /// use modest::{Http, Request, Response, Routes};
    ///
    /// let notes = Routes::new().get("/notes/{number}", |_, request| {
    ///     let number: u64 = request.path_param("number")?;
    ///     Ok(Response::text(format!("note {number}\n")))
    /// });
    /// let http = Http::new(notes.with_state(()));
    /// assert_eq!(http.respond(&Request::get("/notes/7")).text(), "note 7\n");
    /// assert_eq!(http.respond(&Request::get("/notes/seven")).status(), 404);
    /// ```
    pub fn path_param<T: FromStr>(&self, name: &str) -> Result<T, Error> {
        let value = self.routes.param(name).ok_or_else(|| format!("the route of this request has no {{{name}}}"))?;
        value.parse().map_err(|_| Error::new(StatusCode::NOT_FOUND, ""))
    }

    /// Parses the first query parameter of that name.
    ///
    /// # Errors
    /// 400 if it is missing or cannot be parsed as `T`, with the name of the parameter in [`Error::field_errors`]. The
    /// messages are those of [`query_as`](Request::query_as). For all types except numbers, `bool` and `char` it is
    /// the message of the type's own error.
    ///
    /// ```
    /// use modest::Request;
    ///
    /// let request = Request::get("/?count=3&page=one");
    /// assert_eq!(request.parse_param::<u32>("count")?, 3);
    /// assert_eq!(request.parse_param::<u32>("page").unwrap_err().status(), 400);
    /// assert_eq!(request.parse_param::<u32>("size").unwrap_err().message(), Some("size: missing"));
    /// # Ok::<(), modest::Error>(())
    /// ```
    pub fn parse_param<T: FromStr<Err: fmt::Display>>(&self, name: &str) -> Result<T, Error> {
        expected::parse(name, self.param(name).as_deref())
    }

    /// Parses the first query parameter of that name, if there is one.
    ///
    /// ```
    /// use modest::Request;
    ///
    /// let request = Request::get("/?page=3");
    /// assert_eq!(request.parse_optional_param::<u32>("page")?.unwrap_or(1), 3);
    /// assert_eq!(request.parse_optional_param::<u32>("size")?.unwrap_or(20), 20);
    /// # Ok::<(), modest::Error>(())
    /// ```
    ///
    /// # Errors
    /// 400 with the name of the parameter if it cannot be parsed as `T`.
    pub fn parse_optional_param<T: FromStr<Err: fmt::Display>>(&self, name: &str) -> Result<Option<T>, Error> {
        self.param(name).is_some().then(|| self.parse_param(name)).transpose()
    }

    /// Returns the pattern of the route that matches, from the root of the server: `/users/{user}/notes/{number}`. With
    /// [mounts](crate::Routes::mount) it consists of the patterns of all routers involved. `None` if there is no route,
    /// or if no router has been called yet, as in `before_body` and `handle` of a layer around the routes. Use it for
    /// logs and metrics per route, whose size does not depend on the number of paths.
    ///
    /// ```
    /// use modest::{Http, Request, Response, Routes};
    ///
    /// let notes = Routes::new()
    ///     .get("/{number}", |_: &(), request| Ok(Response::text(request.route_pattern().unwrap_or_default())))
    ///     .with_state(());
    /// let http = Http::new(Routes::new().mount("/users/{user}/notes", notes).with_state(()));
    /// assert_eq!(http.respond(&Request::get("/users/ada/notes/7")).text(), "/users/{user}/notes/{number}");
    /// ```
    pub fn route_pattern(&self) -> Option<String> {
        self.routes.pattern()
    }
}
