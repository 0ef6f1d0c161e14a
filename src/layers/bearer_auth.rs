//! Bearer tokens (RFC 6750), in the `Authorization` field only.

use super::credentials::{Accepted, check_same, equal, kept_private, of_scheme, realm_parameter, unauthorized};
use crate::{BodyPlan, Error, Layer, Request, Response, Result, StatusCode, User};

/// Requires a token, `Authorization: Bearer ..`: 401 before the body is read, with `error="invalid_token"` if there was
/// one (RFC 6750, section 3).
///
/// The user is stored in the request as [`User`], for handlers and the access log. A token is sent in clear text with
/// each request, so serve it over TLS. Tokens in the query or in a form are not accepted, because they end up in logs.
///
/// ```
/// use modest::layers::BearerAuth;
/// use modest::{Http, Request, RequestHandler, Response, User, handler_fn};
///
/// let hello = handler_fn(|request| Ok(Response::text(format!("Hello, {}!\n", request.value::<User>().unwrap().name()))));
/// let auth = BearerAuth::new("api").token("a-long-random-string", User::new("ada"));
/// let http = Http::new(hello.layer(auth));
/// assert_eq!(http.respond(&Request::get("/")).header("www-authenticate"), Some("Bearer realm=\"api\""));
///
/// let request = Request::get("/").with_header("authorization", "Bearer a-long-random-string");
/// assert_eq!(http.respond(&request).text(), "Hello, ada!\n");
/// ```
#[must_use = "does nothing until it is passed to `layer`"]
pub struct BearerAuth {
    challenge: String,
    check: Check,
}

enum Check {
    /// Tokens and their users.
    Listed(Vec<(String, User)>),
    Closure(Closure),
}

type Closure = Box<dyn Fn(&Request, &str) -> Result<Option<User>> + Send + Sync>;

impl BearerAuth {
    /// Creates a layer for the tokens added by [`token`](BearerAuth::token).
    ///
    /// # Panics
    /// If the realm contains anything but printable ASCII.
    pub fn new(realm: &str) -> BearerAuth {
        BearerAuth::with(realm, Check::Listed(Vec::new()))
    }

    /// Creates a layer for the tokens that this closure accepts. It may block. It is called again before the handler if
    /// the body arrived later or the request has waited.
    ///
    /// Look a token up by its hash (SHA-256 is enough, as tokens are long and random). Then the duration of the lookup
    /// reveals nothing about the tokens, and the table does not contain them.
    ///
    /// ```
    /// use modest::User;
    /// use modest::layers::BearerAuth;
    ///
    /// # fn find_user(_: &str) -> Option<String> { None }
    /// let auth = BearerAuth::checked_by("api", |_, token| find_user(token).map(User::new));
    /// ```
    ///
    /// # Panics
    /// If the realm contains anything but printable ASCII.
    pub fn checked_by<F>(realm: &str, check: F) -> BearerAuth
    where
        F: Fn(&Request, &str) -> Option<User> + Send + Sync + 'static,
    {
        BearerAuth::try_checked_by(realm, move |request, token| Ok(check(request, token)))
    }

    /// Creates a layer like [`checked_by`](BearerAuth::checked_by), with a closure that can fail, for example if the
    /// table of tokens cannot be read. The error becomes the response: by default a 500.
    ///
    /// ```
    /// use modest::layers::BearerAuth;
    /// use modest::{Http, Request, RequestHandler, Response, User, handler_fn};
    ///
    /// let auth = BearerAuth::try_checked_by("api", |_, token| {
    ///     let users = std::fs::read_to_string("tokens.txt")?;
    ///     let mut lines = users.lines().filter_map(|line| line.split_once(' '));
    ///     Ok(lines.find(|(known, _)| *known == token).map(|(_, name)| User::new(name)))
    /// });
    /// let http = Http::new(handler_fn(|_| Ok(Response::text("welcome\n"))).layer(auth));
    /// let request = Request::get("/").with_header("authorization", "Bearer t");
    /// assert_eq!(http.respond(&request).status(), 500); // there is no such file
    /// ```
    ///
    /// # Panics
    /// If the realm contains anything but printable ASCII.
    pub fn try_checked_by<F>(realm: &str, check: F) -> BearerAuth
    where
        F: Fn(&Request, &str) -> Result<Option<User>> + Send + Sync + 'static,
    {
        BearerAuth::with(realm, Check::Closure(Box::new(check)))
    }

    /// Adds a token and its user. Default: none. Each request is compared with all tokens, in a time that does not
    /// depend on the tokens. For many tokens use [`checked_by`](BearerAuth::checked_by).
    ///
    /// # Panics
    /// If the layer was created with a closure, or if no client can send this token. A token consists of ASCII letters,
    /// digits and `-._~+/`, and can end with `=`.
    pub fn token(mut self, token: impl Into<String>, user: User) -> BearerAuth {
        let token = token.into();
        assert!(is_token(token.as_bytes()), "a token consists of ASCII letters, digits and -._~+/, and can end with =");
        match &mut self.check {
            Check::Listed(tokens) => tokens.push((token, user)),
            Check::Closure(_) => panic!("this layer has a closure; use `BearerAuth::new` to add tokens"),
        }
        self
    }

    fn with(realm: &str, check: Check) -> BearerAuth {
        BearerAuth { challenge: format!("Bearer {}", realm_parameter(realm)), check }
    }

    fn user_of(&self, request: &Request, token: &str) -> Result<Option<User>> {
        match &self.check {
            Check::Closure(check) => check(request, token),
            Check::Listed(tokens) => Ok(tokens.iter().fold(None, |found, (known, user)| {
                if equal(token.as_bytes(), known.as_bytes()) { Some(user.clone()) } else { found }
            })),
        }
    }

    fn authenticate(&self, request: &Request) -> Result<User> {
        let Ok(token) = of_scheme(request, "Bearer") else {
            let challenge = format!("{}, error=\"invalid_request\"", self.challenge);
            let refusal = Error::new(StatusCode::BAD_REQUEST, "there is more than one Authorization field");
            return Err(refusal.with_header("www-authenticate", challenge));
        };
        let token = token.ok_or_else(|| unauthorized(&self.challenge))?;
        let text = std::str::from_utf8(token).ok().filter(|_| is_token(token));
        let user = text.map_or(Ok(None), |token| self.user_of(request, token))?;
        user.ok_or_else(|| unauthorized(&format!("{}, error=\"invalid_token\"", self.challenge)))
    }
}

/// Returns whether the text is a `b64token` (RFC 6750, section 2.1).
fn is_token(text: &[u8]) -> bool {
    let end = text.iter().rposition(|&byte| byte != b'=').map_or(0, |last| last + 1);
    end > 0 && text[..end].iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/".contains(byte))
}

impl Layer for BearerAuth {
    fn before_body(&self, request: &Request, _: &mut BodyPlan) -> Result<()> {
        let user = self.authenticate(request)?;
        request.put_for(self, Accepted(user.clone()));
        request.use_authorization();
        request.put(user);
        Ok(())
    }

    fn check_again(&self, request: &Request) -> Result<()> {
        check_same(request.value_for(self), Some(self.authenticate(request)?))
    }

    fn finish_response(&self, request: &Request, response: Response) -> Response {
        if request.value::<User>().is_some() { kept_private(response) } else { response }
    }
}

// Leaves out its secrets.
opaque!(BearerAuth { challenge });

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Http, RequestHandler, Response, handler_fn};

    fn app() -> impl RequestHandler {
        let auth = BearerAuth::new("api").token("abc.DEF-1_2~3+4/5==", User::new("ada")).token("b", User::new("bob"));
        handler_fn(|request| Ok(Response::text(request.value::<User>().unwrap().name()))).layer(auth)
    }

    const NONE: &str = "Bearer realm=\"api\"";
    const INVALID: &str = "Bearer realm=\"api\", error=\"invalid_token\"";
    const SEVERAL: &str = "Bearer realm=\"api\", error=\"invalid_request\"";

    #[test]
    fn only_valid_credentials_pass() {
        let http = Http::new(app());
        for (lines, status, challenge, user) in [
            (&["Bearer b"][..], 200, None, Some("bob")),
            (&["bearer  b "], 200, None, Some("bob")),
            (&["Bearer abc.DEF-1_2~3+4/5=="], 200, None, Some("ada")),
            (&["Bearer abc.DEF-1_2~3+4/5="], 401, Some(INVALID), None),
            (&["Bearer B"], 401, Some(INVALID), None),
            (&["Bearer bb"], 401, Some(INVALID), None),
            (&["Bearer b b"], 401, Some(INVALID), None),
            (&["Bearer b, Bearer b"], 401, Some(INVALID), None),
            (&["Bearer \"b\""], 401, Some(INVALID), None),
            (&["Bearer =b"], 401, Some(INVALID), None),
            (&["Bearer é"], 401, Some(INVALID), None),
            (&["Bearer ="], 401, Some(INVALID), None),
            (&["Bearer"], 401, Some(NONE), None),
            (&["Basic b"], 401, Some(NONE), None),
            (&["b"], 401, Some(NONE), None),
            (&[], 401, Some(NONE), None),
            (&["Bearer b", "Bearer b"], 400, Some(SEVERAL), None),
            (&["Basic b", "Bearer b"], 400, Some(SEVERAL), None),
        ] {
            let request =
                lines.iter().fold(Request::get("/"), |request, line| request.with_header("authorization", line));
            let sent = http.respond(&request);
            assert_eq!((sent.status().as_u16(), sent.header("www-authenticate")), (status, challenge), "{lines:?}");
            assert_eq!((status == 200).then(|| sent.text()), user, "{lines:?}");
        }
    }

    #[test]
    fn a_closure_sees_well_formed_tokens_only() {
        let auth = BearerAuth::checked_by("api", |request, token| {
            assert!(token.is_ascii());
            (request.path() == "/" && token == "t").then(|| User::new("ada"))
        });
        let http = Http::new(handler_fn(|_| Ok(Response::no_content())).layer(auth));
        for (target, field, status) in
            [("/", "Bearer t", 204), ("/", "Bearer x", 401), ("/x", "Bearer t", 401), ("/", "Bearer é", 401)]
        {
            let sent = http.respond(&Request::get(target).with_header("authorization", field));
            assert_eq!(sent.status().as_u16(), status, "{target} {field}");
        }
    }

    #[test]
    fn a_failing_closure_is_not_a_rejection() {
        let auth = BearerAuth::try_checked_by("api", |_, token| match token {
            "broken" => Err(std::io::Error::other("no table"))?,
            "busy" => Err(Error::new(503, "try again")),
            token => Ok((token == "t").then(|| User::new("ada").with_role("editor").with_claim("sub", "7"))),
        });
        let http = Http::new(
            handler_fn(|request| {
                let user = request.value::<User>().unwrap();
                let roles: Vec<_> = user.roles().collect();
                Ok(Response::text(format!("{} {roles:?} {:?} {user:?}", user.name(), user.claim("sub"))))
            })
            .layer(auth),
        );
        let wanted = r#"ada ["editor"] Some("7") User { name: "ada", roles: ["editor"], claims: ["sub"] }"#;
        for (token, status) in [("t", 200), ("x", 401), ("broken", 500), ("busy", 503)] {
            let sent = http.respond(&Request::get("/").with_header("authorization", format!("Bearer {token}")));
            assert_eq!(sent.status(), status, "{token}");
            assert_eq!(sent.header("www-authenticate").is_some(), status == 401, "{token}");
            assert!(status != 200 || sent.text() == wanted, "{sent:?}");
        }
    }
}
