//! The upload controls on the page of a folder: a form that works without a script, and its script. Called by `html`.
//!
//! `upload.css` and `upload.js` are sent unchanged, so they contain no comments:
//! - Each file is sent by a PUT of its own, three at a time, so that each has its progress and can be cancelled.
//!   Folders are created by MKCOL before their contents. The form itself is sent only without a script.
//! - When everything is stored the page is reloaded. Failures stay on it, with the server's reason: the first paragraph
//!   of its error page. The script requests that page as HTML, because `layers::ErrorPages` returns plain text to
//!   clients that accept anything. It skips the style, because browsers report that the policy of this page forbids it.
//! - Deleting is a mode, so that rows contain nothing for it. While it is on, a click on a link asks whether to delete
//!   the file.

/// The controls of a page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in super::super) enum Controls {
    #[default]
    None,
    Upload,
    UploadAndDelete,
}

impl Controls {
    /// The Content-Security-Policy of a page: its own styles and scripts, by their hashes, so that a name cannot inject
    /// any. `tests/files/listing.rs` computes the hashes and prints them.
    pub fn policy(self) -> &'static str {
        match self {
            Controls::None => POLICY,
            Controls::Upload | Controls::UploadAndDelete => POLICY_OF_UPLOADS,
        }
    }

    /// The style, after that of every page.
    pub fn style(self) -> &'static str {
        match self {
            Controls::None => "",
            Controls::Upload | Controls::UploadAndDelete => {
                concat!("<style>", include_str!("upload.css"), "</style>\n")
            }
        }
    }

    /// The form, before the rows.
    pub fn form(self) -> &'static str {
        match self {
            Controls::None => "",
            Controls::Upload => FORM,
            Controls::UploadAndDelete => FORM_OF_DELETIONS,
        }
    }

    /// The script, after that of every page.
    pub fn script(self) -> &'static str {
        match self {
            Controls::None => "",
            Controls::Upload | Controls::UploadAndDelete => {
                concat!("<script>", include_str!("upload.js"), "</script>\n")
            }
        }
    }
}

const FORM: &str = concat!("<form id=u", include_str!("upload.html"));
const FORM_OF_DELETIONS: &str = concat!("<form id=u class=d", include_str!("upload.html"));

const POLICY: &str = "default-src 'none'; img-src 'self' data:; \
    style-src 'sha256-2zGLYg7a0ydUZomF2dRHkFSochO4X9FWgzdBF3VV320='; \
    script-src 'sha256-5h25zPbqoo6vlvnWkf2T3CGTLZ6UEeugpvEyyI7WwLE='; \
    form-action 'self'; base-uri 'none'; frame-ancestors 'self'";

const POLICY_OF_UPLOADS: &str = "default-src 'none'; img-src 'self' data:; \
    style-src 'sha256-2zGLYg7a0ydUZomF2dRHkFSochO4X9FWgzdBF3VV320=' 'sha256-n++fT/62LjtDMKplsZPbktYphcOeyj8dPrmcaKZsbgQ='; \
    script-src 'sha256-5h25zPbqoo6vlvnWkf2T3CGTLZ6UEeugpvEyyI7WwLE=' 'sha256-LS1iuk+goVESJVyLeE+rUmCC9fFZtyb8SC21Hl6PQTc='; \
    connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
