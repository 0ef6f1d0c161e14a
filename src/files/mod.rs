//! Serves a folder. From other levels it imports only public items (`tests/floors.rs` has the exceptions), and it calls
//! a few methods that are internal to the crate. Each module uses only those below it.

mod options; // the settings of a `StaticFileHandler`
mod handler; // `StaticFileHandler`
mod overview; // links to folders at paths of their own
mod uploads; // changes of the folder: uploads, moves, copies, deletions
mod dav; // WebDAV, for reading
#[cfg(feature = "archive")]
mod archive; // a folder as one file
mod listing; // the entries of a folder, as HTML, JSON or WebDAV
mod above; // from a missing path to the nearest folder
#[cfg(feature = "markdown")]
mod markdown; // Markdown as HTML
#[cfg(feature = "compress")]
mod compressed; // text, compressed once and cached
mod prepare; // a file to response fields and body
mod find; // the file, its sidecars or the folder at a path
mod mime; // media types by file name and content
#[cfg(feature = "webdav")]
mod xml; // XML of WebDAV clients
mod text; // whether bytes are text, and UTF-8
mod folders; // the names in frequently requested folders
mod fresh; // whether cached content is still valid
mod watch; // changes reported by the kernel
mod cache; // content cached between requests
mod codings; // content codings of sidecars
mod free_space; // whether there is room for new files
mod leftovers; // files and folders that no request needs
mod open; // opening below the folder, never outside
mod rights; // the rights of a request for a file
mod path; // a request path to a path below the folder
mod root; // which folder is the root now
mod stat; // the metadata of files
mod sys; // system calls

pub use handler::{FolderCheck, StaticFileHandler};
pub use open::Symlinks;
pub use overview::Overview;
pub(crate) use sys::ways as system_services;
pub use uploads::{Overwrite, Uploads};

/// The maximum length of a request's XML in bytes. The parser's time grows with the square of the number of attributes
/// of one element.
const MAX_XML: u64 = 16 << 10;
