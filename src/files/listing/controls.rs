//! The parts of a folder's page around its rows: the form and the script for uploads, if the reader may write, and the
//! account. Called by `html`.
//!
//! `upload.css` and `upload.js` are sent unchanged, so they contain no comments:
//! - The script replaces the form by buttons and a queue. The form works without scripts. Each file is sent by a PUT of
//!   its own, in parts that can be resumed if the server supports that. Folders are created by MKCOL before their
//!   contents.
//! - A failure affects only its own file. After a broken connection, a 429 or a 503 the script waits and tries again. A
//!   file that would wait for more than five minutes fails, because a page with unfinished files asks before it is
//!   left. If a name is taken (412, by `If-None-Match: *`), it asks once, and not above an open dialog, in which the
//!   user may be typing. To keep both, it lets the server choose the name.
//! - A file is paused by its own state only: "Pause all" sets the state of each unfinished file. When the
//!   user changes the state, a new turn of the file begins, and results of earlier turns are ignored (`turn`).
//! - Screen readers announce the result of all uploads, but not each step (WCAG 2.2, 4.1.3). `put` leaves an unchanged
//!   text alone, because some announce a text that is set again.
//! - At most 50 rows are shown, except that up to 500 show failures.
//! - Reasons come from the error as JSON, as sent by `layers::ErrorPages`, or from the line of text that others send.
//! - After a change the rows are fetched again and replaced, so that the page keeps its other state. Only the response
//!   to the latest request is used.
//! - The filter is cleared if it hides the name that gets the focus, and before uploads: otherwise their result would
//!   not be visible.
//! - The height of a message is in `--m`: the headings stick below it.
//! - A deletion is sent after eight seconds, or when the page is left or anything else is changed. Until then it can be
//!   undone. At `pagehide` it can be too late for Firefox, and `beforeunload` is not sent on phones. It is also sent
//!   before each form, because after a logout the browser has no password. The name is in `gone` until the response,
//!   and rows with such a name are left out.
//! - While there is `work` (unfinished uploads, or a change that is being sent), the browser asks before it leaves the
//!   page. A logout asks first: `logout.js` forgets the password before the browser can ask. The download of an archive
//!   does not leave the page, so it is `calm`.
//! - The rows are also fetched when the user comes back to the page, because browsers show it as it was left.
//! - A name that comes from a file, a user or a path is displayed by `safe`, and in a sentence by `rich`, which
//!   isolates its direction.

use std::fmt::Write;

use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY};

use crate::{Response, escape_html};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Controls {
    /// `None`: the reader of this page cannot upload.
    pub accepts: Option<Accepts>,
    /// Whether the reader can only add files, and so sees no entries.
    pub is_box: bool,
    /// Whether folders below this one that can only be written to are shown.
    pub shows_boxes: bool,
    pub account: Option<Account>,
}

/// The changes that a folder accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Accepts {
    pub deletes: bool,
    /// Whether a folder can be deleted with its contents.
    pub deletes_trees: bool,
    pub hidden_names: bool,
    pub resumes: bool,
    /// The limit of simultaneous uploads from one client.
    pub at_once: usize,
    pub largest: Option<u64>,
    /// The action for a file whose name is taken.
    pub overwrite: &'static str,
}

/// The reader's account, if the server has a way to log in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Account {
    /// The path for logging in and out, and the path to return to afterwards.
    pub links: (String, String),
    pub user: Option<String>,
    /// Whether logging in may allow uploads here.
    pub is_for_uploads: bool,
}

impl Controls {
    /// Adds the Content-Security-Policy of a page: its own styles and scripts, by their hashes, so that a name cannot
    /// inject any. `tests/files/listing.rs` computes the hashes and prints them. The page of a user who can log out is
    /// not stored, because the browser's Back button would show it afterwards.
    pub fn protect(&self, page: Response) -> Response {
        let policy = if self.accepts.is_some() { POLICY_OF_UPLOADS } else { POLICY };
        let page = page.with_header(CONTENT_SECURITY_POLICY, policy);
        match self.account.as_ref().is_some_and(|account| account.user.is_some()) {
            true => page.with_header(CACHE_CONTROL, "no-store"),
            false => page,
        }
    }

    /// Returns the style, after that of every page.
    pub fn style(&self) -> &'static str {
        const STYLE: &str = concat!("<style>", include_str!("upload.css"), "</style>\n");
        if self.accepts.is_some() { STYLE } else { "" }
    }

    /// Returns the upload script, which follows the script of every page.
    pub fn script(&self) -> &'static str {
        const SCRIPT: &str = concat!("<script>", include_str!("upload.js"), "</script>\n");
        if self.accepts.is_some() { SCRIPT } else { "" }
    }

    /// Appends the form, with data for its script. It is before the rows.
    pub fn push_form(&self, to: &mut String) {
        let Some(Accepts { deletes, deletes_trees, hidden_names, resumes, at_once, largest, overwrite }) =
            &self.accepts
        else {
            return;
        };
        let _ = write!(to, "<form id=u data-e={at_once} data-o={overwrite}");
        let flags = [
            (*deletes, " data-d"),
            (*deletes_trees, " data-t"),
            (*hidden_names, " data-h"),
            (*resumes, " data-r"),
            (self.is_box, " data-w"),
        ];
        to.extend(flags.iter().filter(|(is_set, _)| *is_set).map(|(_, flag)| *flag));
        if let Some(largest) = largest {
            let _ = write!(to, " data-m={largest}");
        }
        to.push_str(include_str!("upload.html"));
    }

    /// Appends the account, at the end of the headline. `shown`: converts names for display.
    pub fn push_account(&self, to: &mut String, shown: fn(&[u8]) -> String) {
        let Some(Account { links: (root, way), user, is_for_uploads }) = &self.account else { return };
        let _ = match user {
            Some(user) => write!(
                to,
                "<form class=out method=post action=\"{root}?log-out\"><span>{}</span><button>Log out</button></form>",
                shown(user.as_bytes())
            ),
            None => write!(
                to,
                "<form action=\"{root}\"><input type=hidden name=log-in value=\"{}\"><button>Log in{}</button></form>",
                escape_html(way),
                if *is_for_uploads { " to upload" } else { "" }
            ),
        };
    }
}

const POLICY: &str = "default-src 'none'; img-src 'self' data:; \
    style-src 'sha256-OvZINhN+XTjy1dUvOU6e6tnsEaRgO1f5cR1g+c8DTDc='; \
    script-src 'sha256-NRwERJRsNSfiE3pSVeRLFYcvvvorJWnPAhOhbg/820I='; \
    connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'self'";

const POLICY_OF_UPLOADS: &str = "default-src 'none'; img-src 'self' data:; \
    style-src 'sha256-OvZINhN+XTjy1dUvOU6e6tnsEaRgO1f5cR1g+c8DTDc=' 'sha256-jMNKcQRJsa8vTPgGdknDBQXorXadNMSg4eXtwpBynIM='; \
    script-src 'sha256-NRwERJRsNSfiE3pSVeRLFYcvvvorJWnPAhOhbg/820I=' 'sha256-5HmGb8WNWjoBD0UdVYBSmrz/Rj/ROlErtdeJoxFUsDA='; \
    connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
