//! Error pages for browsers, terminals and programs. `form` chooses the form.

mod form; // the form that the client prefers

use std::fmt::Write;
use std::time::Duration;

use super::vary::with_vary;
use crate::words::{in_words, reason};
use crate::{Error, HeaderMap, Layer, Request, Response, StatusCode, escape_html};
use form::Form;

/// Sends each error in the form that its client prefers: errors of the handler, unknown paths, and errors of the
/// server, such as an invalid head or overload.
///
/// | `Accept` | the page |
/// | --- | --- |
/// | names `text/html` or `application/xhtml+xml`, as browsers do | HTML: the error, advice, and a link to the folder above, if the error has one |
/// | names `application/json` or `application/problem+json`, with a weight not below that of HTML | `application/problem+json`, as [`JsonErrors`](super::JsonErrors) (feature `json`) |
/// | anything else: `*/*`, as sent by curl and `fetch`, or none | one line of `text/plain` |
///
/// The text that says what happened is [`Error::message`]. The advice depends on the status and on `Retry-After`. The
/// link is the error's own field `Link: <..>; rel="up"` (RFC 8288), which a
/// [`StaticFileHandler`](crate::StaticFileHandler) sets with [`link_up`](crate::StaticFileHandler::link_up).
///
/// With [`BasicAuth::log_in_at`](super::BasicAuth::log_in_at), the page of a 401 below that path has a link to log in,
/// and the page of a 403 for a user has the user's name and the button Log out.
///
/// The HTML has less than 2 KiB without the message, loads nothing, and has a `Content-Security-Policy` that allows
/// only its own style and the script for logging out, by hash. An error that has such a field keeps its own. The
/// status, and fields such as `Allow`, are kept. `Vary: Accept` is set. An inner handler with pages of its own
/// ([`RequestHandler::error_response`]) keeps them.
///
/// [`RequestHandler::error_response`]: crate::RequestHandler::error_response
///
/// ```
/// use modest::layers::ErrorPages;
/// use modest::{Error, Http, Request, RequestHandler, handler_fn};
///
/// let http = Http::new(handler_fn(|_| Err(Error::new(404, "There is no note 7."))).layer(ErrorPages));
/// let get = |accept| http.respond(&Request::get("/notes/7").with_header("accept", accept));
/// assert_eq!(get("*/*").text(), "404 Not Found: There is no note 7.\n");
/// assert!(get("text/html,*/*;q=0.8").text().contains("<h1>404 Not Found</h1>\n<p>There is no note 7."));
/// # #[cfg(feature = "json")]
/// assert_eq!(get("application/json").json::<serde_json::Value>()["detail"], "There is no note 7.");
/// ```
#[derive(Clone, Copy, Debug)]
#[doc(alias("send_error", "error_message_format", "404"))]
pub struct ErrorPages;

/// The policy contains the hash of `page.css`, which the test `the_policy_allows_the_style` computes.
const POLICY: &str = "default-src 'none'; img-src data:; style-src 'sha256-m3bV8OuwvqTHy74QMA1IAfMGVmjKLECJaGEi1oQU6bo='; \
    form-action 'none'; base-uri 'none'; frame-ancestors 'self'";

/// The policy of a page with the button Log out.
const POLICY_OF_LOG_OUT: &str = "default-src 'none'; img-src data:; \
    style-src 'sha256-m3bV8OuwvqTHy74QMA1IAfMGVmjKLECJaGEi1oQU6bo='; script-src 'sha256-cyBoLRNNIRPS+DdyWeXHCGCP/4DqhaGIxN+gEkOxc7U='; \
    connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'self'";

const CSS: &str = include_str!("page.css");
const LOG_OUT: &str = include_str!("../../http/request/logout.js");

impl Layer for ErrorPages {
    fn error_response(&self, request: Option<&Request>, error: &Error) -> Option<Response> {
        struct Html;
        struct Text;
        Some(match request.map_or(Form::Text, Form::of) {
            Form::Html => match request.and_then(|request| account(request, error)) {
                Some((account, policy)) => html_page(error, &account, policy),
                None => Response::shared_page::<Html>(error, || html_page(error, "", POLICY)),
            },
            #[cfg(feature = "json")]
            Form::Json => completed(error, super::JsonErrors.error_response(request, error)?),
            Form::Text => Response::shared_page::<Text>(error, || completed(error, Response::text(text(error)))),
        })
    }
}

fn html_page(error: &Error, account: &str, policy: &'static str) -> Response {
    let page = Response::html(html(error, account));
    completed(
        error,
        match error.headers().contains_key("content-security-policy") {
            true => page,
            false => page.with_header("content-security-policy", policy),
        },
    )
}

/// Returns what the page of a 401 or 403 has for this request's user, and the policy that it needs. A browser shows the
/// password dialog when it follows the link to the same page.
fn account(request: &Request, error: &Error) -> Option<(String, &'static str)> {
    let path = request.url_path().ok()?;
    let (root, _) = request.log_in_links(path.as_bytes())?;
    match error.status() {
        StatusCode::UNAUTHORIZED => Some(("<p><a href=\"\">Log in</a> to see this.</p>\n".to_owned(), POLICY)),
        StatusCode::FORBIDDEN => {
            let user = escape_html(&request.user()?);
            let form = format!(
                "<form class=out method=post action=\"{root}?log-out\">\
                 <p>You are logged in as <b>{user}</b>. <button>Log out</button></p></form>\n<script>{LOG_OUT}</script>\n"
            );
            Some((form, POLICY_OF_LOG_OUT))
        }
        _ => None,
    }
}

/// Adds the error's other fields, and `Vary: Accept`.
fn completed(error: &Error, page: Response) -> Response {
    with_vary(page.completed_by(error), "Accept")
}

/// Returns the line of text, such as `404 Not Found: There is no note 7.`
fn text(error: &Error) -> String {
    let mut line = String::with_capacity(80);
    line.push_str(error.status().as_str());
    for (sign, part) in [(" ", reason(error.status()).unwrap_or_default()), (": ", error.message().unwrap_or_default())]
    {
        if !part.is_empty() {
            line.extend([sign, part]);
        }
    }
    line.push('\n');
    line
}

fn html(error: &Error, account: &str) -> String {
    let title = format!("{} {}", error.status().as_str(), reason(error.status()).unwrap_or_default());
    let title = title.trim_end();
    let mut page = String::with_capacity(CSS.len() + 768);
    page.push_str(
        "<!DOCTYPE html>\n<html lang=en>\n<meta charset=utf-8>\n<meta name=viewport content=\"width=device-width\">\n",
    );
    // Writing to a string does not fail.
    let _ = write!(
        page,
        "<link rel=icon href=\"data:,\">\n<title>{title}</title>\n<style>{CSS}</style>\n<main>\n<h1>{title}</h1>\n"
    );
    let advice = advice(error).filter(|_| account.is_empty() || error.status() != StatusCode::UNAUTHORIZED);
    for part in [error.message().map(escape_html), advice].into_iter().flatten() {
        let _ = writeln!(page, "<p>{part}</p>");
    }
    page.push_str(account);
    if let Some(above) = up(error.headers()) {
        let text = match error.status() {
            StatusCode::NOT_FOUND => "Go to the nearest existing folder",
            _ => "Go to the folder",
        };
        let _ = writeln!(page, "<nav><a href=\"{}\">{text}</a></nav>", escape_html(above));
    }
    page.push_str("</main>\n");
    page
}

/// Returns what the user can do about an error, unless its message already says that.
fn advice(error: &Error) -> Option<String> {
    let message = error.message().unwrap_or_default();
    let seconds = error.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let said = match error.status().as_u16() {
        400 if message.is_empty() => {
            "The address or the request is not valid. If you typed or pasted the address, look for a part that is missing."
        }
        401 => "Log in to see this.",
        403 => "If you should have access, ask the administrator of this server.",
        404 | 410 => "Check the spelling of the address. The page may have been moved, renamed or removed.",
        408 => "The request took too long to arrive. Try again.",
        413 if message.is_empty() => "Send less at once.",
        414 => "Use a shorter address.",
        431 => "Removing the cookies of this site may help.",
        429 | 503 | 507 if !message.contains("try again in ") => match seconds {
            Some(0 | 1) => "Try again in a moment.",
            Some(seconds) => return Some(format!("Try again in {}.", in_words(Duration::from_secs(seconds)))),
            None => "Try again later.",
        },
        500 => "Try again later. The reason is in the log of the server.",
        _ => return None,
    };
    Some(said.to_owned())
}

/// Returns the target of the first `Link` with the relation `up`, if it is on this server.
fn up(headers: &HeaderMap) -> Option<&str> {
    let links = headers.get_all("link").iter().filter_map(|value| value.to_str().ok());
    links.filter_map(|link| link.strip_prefix('<')?.split_once('>')).find_map(|(target, parameters)| {
        let is_up = parameters.split(';').any(|parameter| matches!(parameter.trim(), "rel=up" | "rel=\"up\""));
        let is_here = !target.contains(':') && !target.starts_with("//") && !target.contains('\\');
        (is_up && is_here).then_some(target)
    })
}

#[cfg(test)]
mod tests;
