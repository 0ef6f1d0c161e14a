//! Rights to read, list and write, by path. Put it inside the layer that authenticates.

use std::sync::Arc;

use crate::grammar::{METHOD_OVERRIDES, canonical_name, list_members};
use crate::misleading::fold;
use crate::{
    Access, BodyPlan, Error, Layer, Method, Next, Permissions, Request, Response, Result, StatusCode, UrlPath, User,
};

mod names; // the names of a path, in all spellings
mod rule; // one rule

use super::credentials::Challenges;
use names::Names;
use rule::Rights;
pub use rule::{InvalidPathRule, PathRule};

/// Rights to read, list and write, by rules of paths: see [`PathRule`]. A request that no rule allows is rejected
/// before its body is read: 401 if an authenticated user might be allowed more, otherwise 403. It is also 403 if the
/// user could only log in to a session ([`Sessions`](super::Sessions) without an optional
/// [`BasicAuth`](super::BasicAuth)), because a 401 must name a scheme by which clients authenticate. Without both, a
/// layer of your own has to add that field, `WWW-Authenticate`.
///
/// - *Only the longest path counts*: with `/=*:read` and `/drafts=ada:read`, the first rule does not apply to
///   `/drafts/x`. Several rules for one path add up. Paths without a rule are denied.
/// - *read*: GET, HEAD, PROPFIND. *list*, in addition to read: listings of folders, archives (`?archive=`), PROPFIND of
///   more than one resource. *write*: every other method, and OPTIONS for users with any right. Deleting, moving or
///   copying a folder needs the right for all rules below it. COPY and MOVE also need *read*, for a folder *list*, and
///   *write* at the destination.
/// - *A request that names another method* in `X-HTTP-Method-Override` or a similar field, or in the parameter
///   `_method`, needs the rights for both. More than 8 such methods get 400. Fields of the body are not read.
/// - *write without read*: a `StaticFileHandler` that accepts uploads has a page for users who can only write, and
///   reports the progress of an upload to them. It is called for their GET and HEAD, and does not show any stored
///   content. For these requests, only `before_body` of other handlers is called.
/// - *Every spelling of a path* is checked in its canonical form ([`UrlPath`]), from the root of the server. Some file
///   systems ignore letter case. So an access to a path is allowed only if its own rule allows it, and rules for the
///   path in other letter case also do.
/// - *A file has several names*: `/about` can be `/about.html`, and `/a.txt.gz` is sent for `/a.txt`. A rule for
///   exactly one of these names also restricts the others, for reading and for writing: an access to `/about.html.gz`
///   is allowed only if its own rule and those for `/about`, `/about.html` and so on all allow it. `/a/` and
///   `/a/index.html` are also names of one file ([`index`](PathRights::index)).
/// - *Parameters*: some servers behind a `ReverseProxy` treat `/a;b` as `/a`. So an access to a path with `;` must also
///   be allowed for the path without these parameters.
/// - *Nested layers*: an access is allowed if all of them allow it.
/// - *[`StaticFileHandler`](crate::StaticFileHandler) checks again* for each file that it reads, lists or writes: index
///   files, compressed copies, error pages, the entries of listings and archives, the names in forms. Other handlers
///   call [`Request::permits`] for paths other than the request's.
///
/// Rules apply to paths, not to files: a link, or a folder that is served at two paths, gives a file a second path, to
/// which other rules apply. Within a [`mount`](crate::Routes::mount), the paths of rules begin after the mount's own
/// path, like [`Request::path`].
///
/// ```
/// use modest::layers::{BasicAuth, PathRights};
/// use modest::{Http, Request, RequestHandler, Response, handler_fn};
///
/// let rights = PathRights::new()
///     .group("staff", ["ada", "bob"])
///     .allow("/=*:read,list".parse()?)
///     .allow("/inbox=@staff:all".parse()?);
/// let auth = BasicAuth::new("files").user("ada", "a long secret").optional(true);
/// let http = Http::new(handler_fn(|_| Ok(Response::text("here\n"))).layer(rights).layer(auth));
///
/// assert_eq!(http.respond(&Request::get("/a")).status(), 200);
/// assert_eq!(http.respond(&Request::get("/%69nbox/a")).status(), 401);
/// let ada = Request::get("/inbox/a").with_header("authorization", "Basic YWRhOmEgbG9uZyBzZWNyZXQ=");
/// assert_eq!(http.respond(&ada).status(), 200);
/// # Ok::<(), modest::layers::InvalidPathRule>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "does nothing until it is passed to `layer`"]
pub struct PathRights(Arc<Rules>);

#[derive(Clone, Debug)]
struct Rules {
    rules: Vec<PathRule>,
    groups: Vec<(String, Vec<String>)>,
    /// Names of index files, case-folded.
    index: Vec<String>,
}

impl PathRights {
    /// Creates a layer without rules, which denies everything.
    pub fn new() -> PathRights {
        let index = vec!["index.html".to_owned(), "index.htm".to_owned()];
        PathRights(Arc::new(Rules { rules: Vec::new(), groups: Vec::new(), index }))
    }

    /// Adds a rule. Default: none, which denies everything.
    pub fn allow(mut self, rule: PathRule) -> PathRights {
        self.rules().rules.push(rule);
        self
    }

    /// Defines a group of users, which rules name as `@NAME`. Default: no groups. A second call with the same name adds
    /// users.
    ///
    /// # Panics
    /// If the name is `users`, which is the group of all authenticated users.
    pub fn group<U: Into<String>>(mut self, name: &str, users: impl IntoIterator<Item = U>) -> PathRights {
        assert!(name != "users", "@users is the group of all authenticated users");
        self.rules().groups.push((name.to_owned(), users.into_iter().map(Into::into).collect()));
        self
    }

    /// Sets the names of index files. Default: `index.html` and `index.htm`.
    pub fn index<N: AsRef<str>>(mut self, names: impl IntoIterator<Item = N>) -> PathRights {
        self.rules().index = names.into_iter().map(|name| fold(name.as_ref().as_bytes())).collect();
        self
    }

    /// Returns the groups that rules name and that are not defined.
    pub fn unknown_groups(&self) -> impl Iterator<Item = &str> {
        let named = self.0.rules.iter().flat_map(PathRule::groups);
        named.filter(|name| !self.0.groups.iter().any(|(known, _)| known == name))
    }

    fn rules(&mut self) -> &mut Rules {
        Arc::make_mut(&mut self.0)
    }

    /// Returns the rights of a user by these rules, combined with those of layers outside this one.
    fn permissions(&self, request: &Request, user: Option<&str>) -> Permissions {
        let judge = |judge: fn(&Rules, Option<&str>, Access, &Names) -> bool| {
            let (rules, name) = (Arc::clone(&self.0), user.map(str::to_owned));
            let mount = request.mount_path().to_vec();
            move |access, path: &[u8]| {
                let path = UrlPath::from_decoded(path).and_then(|path| seen(&mount, &path));
                path.is_some_and(|path| judge(&rules, name.as_deref(), access, &path))
            }
        };
        // Layers with different rules can share a handler. Users of the same name in different layers must count as
        // different users there.
        let key = format!("{:p} {}", Arc::as_ptr(&self.0), user.unwrap_or_default());
        let has_users = self.0.rules.iter().any(PathRule::has_users);
        let permissions = Permissions::new(key, judge(Rules::permit)).beneath(judge(Rules::permit_all));
        let permissions = permissions.login_may_help(user.is_none() && has_users && has_challenge(request));
        match request.value::<Permissions>() {
            Some(outer) => permissions.within(outer),
            None => permissions,
        }
    }
}

default_is_new!(PathRights);

/// Returns whether a layer outside this one is expected to add to a 401 the challenge that it must have (RFC 9110,
/// section 15.5.2): `BasicAuth`, or without `Sessions` a layer of the user's own.
fn has_challenge(request: &Request) -> bool {
    #[cfg(feature = "sessions")]
    let is_by_session = request.value::<super::Session>().is_some();
    #[cfg(not(feature = "sessions"))]
    let is_by_session = false;
    !is_by_session || request.value::<Challenges>().is_some()
}

impl Rules {
    /// Returns the rights of this user at this path, with and without the path's parameters.
    fn rights(&self, user: Option<&str>, path: &Names) -> Rights {
        let rights = self.rights_as_written(user, path);
        path.without_parameters().map_or(rights, |path| rights.and(self.rights_as_written(user, &path)))
    }

    fn rights_as_written(&self, user: Option<&str>, path: &Names) -> Rights {
        let exact = self.longest(|rule| path.begin_with(&rule.path));
        let folded = self.longest(|rule| path.begin_with_folded(&rule.path));
        // Paths that differ only in letter case can name the same file.
        let mut rights = self.granted(user, exact);
        for rule in &folded {
            rights = rights.and(self.granted(user, self.of_path(&rule.path)));
        }
        // Rules for the same file under another name also apply.
        for rule in self.rules.iter().filter(|rule| path.is_name_of(&rule.path)) {
            rights = rights.and(self.granted(user, self.of_path(&rule.path)));
        }
        // An index file is sent for its folder.
        let is_index = |name: &str| self.index.iter().any(|index| index == name);
        for rule in self.rules.iter().filter(|rule| path.is_folder_of(&rule.path, is_index)) {
            if !self.granted(user, self.of_path(&rule.path)).has(Access::Read) {
                rights = rights.without(Access::Read);
            }
        }
        rights
    }

    fn of_path(&self, path: &Names) -> impl Iterator<Item = &PathRule> {
        self.rules.iter().filter(move |rule| rule.path == *path)
    }

    /// Returns the rules with the longest matching path.
    fn longest(&self, fits: impl Fn(&PathRule) -> bool) -> Vec<&PathRule> {
        let fitting: Vec<&PathRule> = self.rules.iter().filter(|rule| fits(rule)).collect();
        let longest = fitting.iter().map(|rule| rule.path.len()).max();
        fitting.into_iter().filter(|rule| Some(rule.path.len()) == longest).collect()
    }

    /// Returns the rights that rules grant together.
    fn granted<'a>(&self, user: Option<&str>, rules: impl IntoIterator<Item = &'a PathRule>) -> Rights {
        let is_member = |group: &str| {
            let groups = self.groups.iter().filter(|(name, _)| name == group);
            user.is_some_and(|user| groups.flat_map(|(_, members)| members).any(|member| member == user))
        };
        let granting = rules.into_iter().filter(|rule| rule.is_about(user, is_member));
        granting.fold(Rights::NONE, |rights, rule| rights.or(rule.rights))
    }

    fn permit(&self, user: Option<&str>, access: Access, path: &Names) -> bool {
        self.rights(user, path).has(access)
    }

    /// Returns whether the right holds for everything below the path, including rules of longer paths.
    fn permit_all(&self, user: Option<&str>, access: Access, path: &Names) -> bool {
        let plain = path.without_parameters();
        let is_beneath =
            |rule: &Names| [Some(path), plain.as_ref()].into_iter().flatten().any(|path| rule.begin_with_folded(path));
        let mut beneath = self.rules.iter().map(|rule| &rule.path).filter(|rule| is_beneath(rule));
        self.permit(user, access, path) && beneath.all(|rule| self.permit(user, access, rule))
    }

    fn verdict(&self, request: &Request, user: Option<&str>) -> Result<Verdict> {
        let path = seen(request.mount_path(), &request.url_path()?).unwrap_or_default();
        let overriding = overriding_methods(request);
        if overriding.len() > MOST_OVERRIDES {
            return Err(Error::new(StatusCode::BAD_REQUEST, "The request names too many methods."));
        }
        for method in overriding {
            if !matches!(self.verdict_on(&method, request, user, &path)?, Verdict::Allowed) {
                return Ok(Verdict::Refused);
            }
        }
        self.verdict_on(request.method().as_str(), request, user, &path)
    }

    /// Returns the verdict on a request as if it had this method.
    fn verdict_on(&self, method: &str, request: &Request, user: Option<&str>, path: &Names) -> Result<Verdict> {
        use Access::{List, Read, Write};
        let may = |access| self.permit(user, access, path);
        let may_all = |access| self.permit_all(user, access, path);
        let is_allowed = match method {
            "GET" | "HEAD" if request.param("archive").is_some() => may(Read) && may(List),
            "GET" | "HEAD" if !may(Read) && may(Write) && !request.announces_body() && concerns_writers(request) => {
                return Ok(Verdict::IfNothingIsRead);
            }
            "GET" | "HEAD" => may(Read),
            "OPTIONS" => self.rights(user, path) != Rights::NONE,
            "PROPFIND" => match request.header_all("depth").collect::<Vec<_>>()[..] {
                [b"0"] => may(Read),
                [b"1"] => may(Read) && may(List),
                _ => may_all(Read) && may_all(List), // infinity is the default (RFC 4918, section 9.1)
            },
            "DELETE" => may_all(Write),
            method => match destination(request)? {
                Some(to) => {
                    let may_change = self.permit_all(user, Write, &to);
                    // A moved file can be read at its destination, so MOVE needs `Read`, and a folder can be listed
                    // there. (A folder without a slash is checked by `files`.) Methods of an application that name a
                    // destination are treated like MOVE.
                    let may_list = !request.path().ends_with('/') || may_all(List);
                    may_all(Read) && may_list && (method == "COPY" || may_all(Write)) && may_change
                }
                None if ["COPY", "MOVE"].contains(&method) => {
                    return Err(Error::new(StatusCode::BAD_REQUEST, "Expected one Destination field."));
                }
                None => may(Write),
            },
        };
        Ok(if is_allowed { Verdict::Allowed } else { Verdict::Refused })
    }
}

/// How many methods a request can name in place of its own. One is usual.
const MOST_OVERRIDES: usize = 8;

/// Returns the methods with which some handlers and backends replace that of a request, from fields and from the
/// parameter `_method`.
fn overriding_methods(request: &Request) -> Vec<String> {
    let is_override = |name: &[u8]| METHOD_OVERRIDES.iter().any(|known| canonical_name(name).eq(known.bytes()));
    let fields = request.fields().filter(|(name, _)| is_override(name)).flat_map(|(_, value)| list_members(value));
    let fields = fields.map(|method| String::from_utf8_lossy(method).to_ascii_uppercase());
    // PHP reads several characters as an underscore, and skips spaces before a name.
    let is_method = |name: &str| {
        let name = name.split('\0').next().unwrap_or_default().trim_start_matches(' ');
        name.replace(['.', '['], "_") == "_method"
    };
    let params = request.params().filter(|(name, _)| is_method(name)).map(|(_, value)| value.to_ascii_uppercase());
    fields.chain(params).take(MOST_OVERRIDES + 1).collect()
}

/// Returns the path of the `Destination` field, if there is one.
fn destination(request: &Request) -> Result<Option<Names>> {
    let Some(path) = request.destination()? else { return Ok(None) };
    let outside = || Error::new(StatusCode::CONFLICT, "That path is not in this folder.");
    seen(request.mount_path(), &path).map(Some).ok_or_else(outside)
}

enum Verdict {
    Allowed,
    /// Allowed, if the response shows no content that needs the right to read.
    IfNothingIsRead,
    Refused,
}

/// Returns the part of a path after the mount's own path, which rules apply to. `None` if the path is outside the
/// mount.
fn seen(mount: &[u8], path: &UrlPath<'_>) -> Option<Names> {
    Some(UrlPath::from_decoded(path.beneath(mount)?).map_or_else(Names::default, |path| Names::of(&path)))
}

/// Returns whether this request can be allowed to users who can write and not read: for the state of an upload
/// (draft-ietf-httpbis-resumable-upload), or the page for uploads.
fn concerns_writers(request: &Request) -> bool {
    let is_for_people = || request.accept_weight(&["text/html"]).is_some_and(|weight| weight > 0);
    is_about_upload(request) || is_for_people() && request.header("upgrade").is_none()
}

/// Returns whether the request is for the progress of an upload (draft-ietf-httpbis-resumable-upload), which needs the
/// right to write.
fn is_about_upload(request: &Request) -> bool {
    *request.method() == Method::HEAD && request.param("upload").is_some()
}

impl Layer for PathRights {
    fn before_body(&self, request: &Request, _: &mut BodyPlan) -> Result<()> {
        let user = request.value::<User>();
        let user = user.as_ref().map(|user| user.name());
        let permissions = self.permissions(request, user);
        let is_for_writers = match self.0.verdict(request, user)? {
            Verdict::Allowed => false,
            Verdict::IfNothingIsRead => true,
            Verdict::Refused => return Err(permissions.refusal()),
        };
        request.put(permissions.for_writers(is_for_writers));
        Ok(())
    }

    /// Checks the rights. A user who can write and not read gets only the page for uploads and, by a HEAD with
    /// `?upload=`, the length of an upload. Handlers without these responses are not called, and any other response is
    /// replaced by a refusal.
    fn handle(&self, request: &Request, next: Next<'_>) -> Result<Response> {
        let response = next.run(request);
        match request.value::<Permissions>() {
            Some(permissions) if permissions.reads_nothing => match &response {
                Ok(found) if found.is_for_writers => response,
                Err(_) if is_about_upload(request) => response, // there is no such upload
                _ => Err(permissions.refusal()),
            },
            _ => response,
        }
    }
}

#[cfg(test)]
mod tests;
