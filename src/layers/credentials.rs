//! Common parts of authenticating layers: the `Authorization` field, challenges, comparison in constant time. Used by
//! `basic_auth` and `bearer_auth`.

use std::hint::black_box;
use std::sync::Arc;

use base64ct::{Base64, Encoding};

use crate::grammar::SeveralLines;
use crate::{Error, HeaderName, Request, Response, StatusCode, User};

/// Returns the credentials of a request: the text after this scheme in its `Authorization` field.
///
/// # Errors
/// If there are several `Authorization` fields, because it would be ambiguous which one applies.
pub(super) fn of_scheme<'a>(request: &'a Request, scheme: &str) -> Result<Option<&'a [u8]>, SeveralLines> {
    let line = request.only_line("authorization")?;
    let Some((name, rest)) = line.and_then(|line| line.split_at_checked(scheme.len())) else { return Ok(None) };
    // RFC 9110, section 11.4: the scheme is case-insensitive, and a space follows.
    let is_ours = name.eq_ignore_ascii_case(scheme.as_bytes()) && rest.first() == Some(&b' ');
    Ok(is_ours.then(|| rest.trim_ascii()))
}

/// Stored in requests that a layer passes on without a user. It adds its challenge to a 401 from inside.
pub(super) struct Challenges;

/// Stored in a request by the layer that has accepted it: its user.
pub(super) struct Accepted(pub User);

/// Checks the user of a request that is authenticated a second time. Checks of roles are not repeated, so a user who
/// has lost one is rejected.
pub(super) fn check_same(accepted: Option<Arc<Accepted>>, now: Option<User>) -> Result<(), Error> {
    let is_same = accepted.is_none_or(|accepted| {
        let Accepted(user) = &*accepted;
        now.is_some_and(|now| now.name() == user.name() && user.roles().all(|role| now.has_role(role)))
    });
    match is_same {
        true => Ok(()),
        false => Err(Error::new(StatusCode::FORBIDDEN, "Your rights changed while this request was in progress.")),
    }
}

pub(super) fn unauthorized(challenge: &str) -> Error {
    Error::new(StatusCode::UNAUTHORIZED, "").with_header("www-authenticate", challenge)
}

/// Makes a response for an authenticated user private. With `must-revalidate`, `public` or `s-maxage`, a shared cache
/// might send it to other users (RFC 9111, sections 3.5 and 5.2.2).
pub(super) fn kept_private(response: Response) -> Response {
    let response = without_targeted(response);
    let lines = response.headers().get_all("cache-control").iter();
    let lines: Vec<String> = lines.map(|line| String::from_utf8_lossy(line.as_bytes()).into_owned()).collect();
    let is = |directive: &str, name: &str| {
        directive.split('=').next().is_some_and(|found| found.trim().eq_ignore_ascii_case(name))
    };
    let lines = lines.join(", ");
    if lines.contains('"') {
        return response.with_header("cache-control", "private, no-cache"); // the directive names only some fields
    }
    let said = lines.split(',').map(str::trim).filter(|directive| !directive.is_empty());
    if said.clone().any(|directive| is(directive, "no-store") || directive.eq_ignore_ascii_case("private")) {
        return response;
    }
    let kept = said.filter(|directive| !["public", "s-maxage"].iter().any(|name| is(directive, name)));
    let kept: Vec<&str> = ["private"].into_iter().chain(kept).collect();
    response.with_header("cache-control", kept.join(", "))
}

/// Removes the fields that some shared caches follow instead of `Cache-Control` (RFC 9213, and those of surrogates and
/// of nginx).
fn without_targeted(response: Response) -> Response {
    let is_targeted = |name: &&str| name.ends_with("-cache-control") || TARGETED.contains(name);
    let names: Vec<String> =
        response.headers().keys().map(HeaderName::as_str).filter(is_targeted).map(Into::into).collect();
    names.iter().fold(response, |response, name| response.without_header(name))
}

const TARGETED: [&str; 2] = ["surrogate-control", "x-accel-expires"];

/// Returns the parameter `realm="..."`.
///
/// # Panics
/// If the realm contains anything but printable ASCII.
pub(super) fn realm_parameter(realm: &str) -> String {
    let is_plain = realm.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    assert!(is_plain, "{realm:?} can't be a realm: browsers support only printable ASCII");
    format!("realm=\"{}\"", realm.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Returns whether a user can have this name both in a rule of rights and in a users file.
pub(super) fn is_user_name(name: &str) -> bool {
    let is_apart = |c: char| matches!(c, ',' | ':' | '=' | '*') || c.is_whitespace() || c.is_control();
    !name.is_empty() && !name.starts_with(['#', '@']) && !name.contains(is_apart)
}

/// Returns whether both are equal. The duration depends only on the length of `given`, so it does not reveal `secret`
/// or its length.
pub(super) fn equal(given: &[u8], secret: &[u8]) -> bool {
    let mut difference = given.len() ^ secret.len();
    for (at, byte) in given.iter().enumerate() {
        let other = if secret.is_empty() { 0 } else { secret[at % secret.len()] };
        // `black_box` keeps the optimizer from leaving the loop at the first difference.
        difference = black_box(difference | usize::from(byte ^ other));
    }
    difference == 0
}

/// Decodes Base64 with padding (RFC 4648, section 4). Only the canonical encoding is accepted.
pub(super) fn decode_base64(text: &[u8]) -> Option<Vec<u8>> {
    Base64::decode_vec(std::str::from_utf8(text).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_canonical_base64_is_decoded() {
        for (text, bytes) in [
            ("", Some(&b""[..])),
            ("YQ==", Some(b"a")),
            ("YWI=", Some(b"ab")),
            ("YWJj", Some(b"abc")),
            ("YWRhOnNlY3JldA==", Some(b"ada:secret")),
            ("+/+/", Some(b"\xfb\xff\xbf")),
            ("YQ", None),
            ("YQ=", None),
            ("YR==", None), // unused bits are set
            ("YWJ=", None),
            ("Y===", None),
            ("====", None),
            ("YQ==YQ==", None),
            ("Y Q=", None),
            ("YWJj\n", None),
            ("-_-_", None),
            ("Zé", None),
        ] {
            assert_eq!(decode_base64(text.as_bytes()).as_deref(), bytes, "{text:?}");
        }
    }

    #[test]
    fn equal_compares_all_bytes() {
        for (given, secret, is) in [
            ("", "", true),
            ("a", "a", true),
            ("secret", "secret", true),
            ("secret", "secreT", false),
            ("Secret", "secret", false),
            ("secre", "secret", false),
            ("secretsecret", "secret", false),
            ("", "secret", false),
            ("secret", "", false),
            ("\0", "", false),
            ("aa", "a", false),
        ] {
            assert_eq!(equal(given.as_bytes(), secret.as_bytes()), is, "{given:?} {secret:?}");
        }
    }

    #[test]
    fn personalized_responses_are_private() {
        for (before, after) in [
            (&[][..], "private"),
            (&["no-cache"], "private, no-cache"),
            (&["private, max-age=5"], "private, max-age=5"),
            (&["no-store"], "no-store"),
            (&["public, max-age=5"], "private, max-age=5"),
            (&["max-age=5, must-revalidate", "S-MaxAge=9"], "private, max-age=5, must-revalidate"),
            (&["private=\"x-a, x-b\", max-age=5"], "private, no-cache"),
            (&["publicly"], "private, publicly"),
        ] {
            let response = before
                .iter()
                .fold(Response::no_content(), |response, line| response.with_added_header("cache-control", *line));
            let response = kept_private(response);
            let lines: Vec<_> = response.headers().get_all("cache-control").iter().collect();
            assert_eq!(lines, [after], "{before:?}");
        }
    }

    #[test]
    fn personalized_responses_have_no_fields_for_certain_caches() {
        for before in ["private", "max-age=5"] {
            let names = ["cdn-cache-control", "x-cdn-cache-control", "surrogate-control", "x-accel-expires"];
            let response = Response::no_content().with_header("cache-control", before).with_header("x-kept", "yes");
            let response = names.iter().fold(response, |response, name| response.with_header(*name, "max-age=60"));
            let mut left: Vec<_> = kept_private(response).headers().keys().map(ToString::to_string).collect();
            left.sort();
            assert_eq!(left, ["cache-control", "x-kept"], "{before}");
        }
    }

    #[test]
    fn schemes_are_compared_without_case() {
        for (lines, found) in [
            (&[][..], Ok(None)),
            (&["Basic YQ=="], Ok(Some("YQ=="))),
            (&["basic   YQ=="], Ok(Some("YQ=="))),
            (&["Basic"], Ok(None)),
            (&["Basic\tYQ=="], Ok(None)),
            (&["BasicYQ=="], Ok(None)),
            (&["Basics YQ=="], Ok(None)),
            (&["Bearer YQ=="], Ok(None)),
            (&["Bas"], Ok(None)),
            (&["Basic YQ==", "Basic Yg=="], Err(())),
        ] {
            let request =
                lines.iter().fold(Request::get("/"), |request, line| request.with_header("authorization", line));
            let credentials = of_scheme(&request, "Basic").map_err(|SeveralLines| ());
            assert_eq!(credentials, found.map(|found| found.map(str::as_bytes)), "{lines:?}");
        }
    }
}
