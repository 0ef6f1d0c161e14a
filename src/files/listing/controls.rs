//! What the page of a folder has besides its rows: the form and the script of uploads, where its reader may write, and who is logged in.
//! Called by `html`.
//!
//! `upload.css` and `upload.js` are sent as they are, and so have no comments:
//! - the script replaces the form, which works without it, by buttons and a queue. Each file is sent by a PUT of its own, in parts that can
//!   continue if the server offers that, and folders are created by MKCOL before what is in them;
//! - a failure concerns its own file only. A broken connection, 429 and 503 are waited for and tried again; a name that is taken
//!   (412, by `If-None-Match: *`) is asked about once;
//! - reasons come from the error as JSON, which `layers::ErrorPages` has, or as the line of text that others have;
//! - whatever changed, the rows are fetched again and replaced: nothing on the page is lost by that;
//! - a deletion is sent eight seconds later, or when the page is left or anything else is changed: until then it can be undone.

use std::fmt::Write;

use crate::escape_html;

/// Which of them a page has. Equal ones look the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Controls {
    /// `None`: nothing can be uploaded by the reader of this page.
    pub accepts: Option<Accepts>,
    /// Whether the reader sees the page for what can be added alone.
    pub is_box: bool,
    pub account: Option<Account>,
}

/// What a folder accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Accepts {
    pub deletes: bool,
    pub resumes: bool,
    /// Files from one client.
    pub at_once: usize,
    pub largest: Option<u64>,
    /// What becomes of a file whose name is taken.
    pub overwrite: &'static str,
}

/// Who reads the page, where there is a way to log in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Account {
    /// The link to where users log in and out, and the way back from there.
    pub links: (String, String),
    pub user: Option<String>,
    /// Whether more users might upload here.
    pub is_for_uploads: bool,
}

impl Controls {
    /// The policy of a page: its own styles and scripts, known by their hashes, and nothing that a name might inject.
    /// `tests/files/listing.rs` computes the hashes, and says which they are.
    pub fn policy(&self) -> &'static str {
        if self.accepts.is_some() { POLICY_OF_UPLOADS } else { POLICY }
    }

    /// Behind the style of every page.
    pub fn style(&self) -> &'static str {
        const STYLE: &str = concat!("<style>", include_str!("upload.css"), "</style>\n");
        if self.accepts.is_some() { STYLE } else { "" }
    }

    /// Behind the script of every page.
    pub fn script(&self) -> &'static str {
        const SCRIPT: &str = concat!("<script>", include_str!("upload.js"), "</script>\n");
        if self.accepts.is_some() { SCRIPT } else { "" }
    }

    /// In front of the rows: the form, with what its script has to know.
    pub fn push_form(&self, to: &mut String) {
        let Some(Accepts { deletes, resumes, at_once, largest, overwrite }) = &self.accepts else { return };
        let _ = write!(to, "<form id=u data-e={at_once} data-o={overwrite}");
        let flags = [(*deletes, " data-d"), (*resumes, " data-r"), (self.is_box, " data-w")];
        to.extend(flags.iter().filter(|(is_set, _)| *is_set).map(|(_, flag)| *flag));
        if let Some(largest) = largest {
            let _ = write!(to, " data-m={largest}");
        }
        to.push_str(include_str!("upload.html"));
    }

    /// At the end of the headline. `shown`: how names are.
    pub fn push_account(&self, to: &mut String, shown: fn(&[u8]) -> String) {
        let Some(Account { links: (root, way), user, is_for_uploads }) = &self.account else { return };
        let _ = match user {
            Some(user) => write!(
                to,
                "<form class=out method=post action=\"{root}?logout\"><span>{}</span><button>Log out</button></form>",
                shown(user.as_bytes())
            ),
            None => write!(
                to,
                "<form action=\"{root}\"><input type=hidden name=login value=\"{}\"><button>Log in{}</button></form>",
                escape_html(way),
                if *is_for_uploads { " to upload" } else { "" }
            ),
        };
    }
}

const POLICY: &str = "default-src 'none'; img-src 'self' data:; \
    style-src 'sha256-nfz0lh5dahjaC1dYUZIZO/PWhGagP/F9v5ZcZBtQzgw='; \
    script-src 'sha256-CqnT325wQsGkg37co+DX8NSgopNfI1OcADm/FdDyBx0='; \
    connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'self'";

const POLICY_OF_UPLOADS: &str = "default-src 'none'; img-src 'self' data:; \
    style-src 'sha256-nfz0lh5dahjaC1dYUZIZO/PWhGagP/F9v5ZcZBtQzgw=' 'sha256-u1Ea7wkG45Jl3POdPl0iCCyrGDBxUaKdSZUBZ2TO7KU='; \
    script-src 'sha256-CqnT325wQsGkg37co+DX8NSgopNfI1OcADm/FdDyBx0=' 'sha256-swwMroZH0gA8wb3j5zpUHSh4ulCEK50xPuu2pDJRemY='; \
    connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
