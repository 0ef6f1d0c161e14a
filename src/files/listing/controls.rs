//! What the page of a folder that takes files has besides: a form, which works without a script, and what the script makes of it.
//! Called by `html`.
//!
//! `upload.css` and `upload.js` are sent as they stand, and so have no comments:
//! - each file is sent by a PUT of its own, three at a time, so that each has its progress and can be cancelled, and folders by a
//!   MKCOL before what is in them; the form itself is sent where no script runs;
//! - when all is stored the page is loaded again; what was not stays on it, with the reason that the server gave: the first paragraph
//!   of its error page, which is asked for as HTML, since `layers::ErrorPages` has a line of text for who asks for anything;
//!   without the style of that, for browsers complain that the policy of this page forbids it;
//! - to delete is a mode, so that rows have no bytes for it: while it is on, a link asks whether its file is to be deleted.

/// Which of them a page has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in super::super) enum Controls {
    #[default]
    None,
    Upload,
    UploadAndDelete,
}

impl Controls {
    /// The policy of a page: its own styles and scripts, known by their hashes, and nothing that a name might inject.
    /// `tests/files/listing.rs` computes the hashes, and says which they are.
    pub fn policy(self) -> &'static str {
        match self {
            Controls::None => POLICY,
            Controls::Upload | Controls::UploadAndDelete => POLICY_OF_UPLOADS,
        }
    }

    /// Behind the style of every page.
    pub fn style(self) -> &'static str {
        match self {
            Controls::None => "",
            Controls::Upload | Controls::UploadAndDelete => {
                concat!("<style>", include_str!("upload.css"), "</style>\n")
            }
        }
    }

    /// In front of the rows.
    pub fn form(self) -> &'static str {
        match self {
            Controls::None => "",
            Controls::Upload => FORM,
            Controls::UploadAndDelete => FORM_OF_DELETIONS,
        }
    }

    /// Behind the script of every page.
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
