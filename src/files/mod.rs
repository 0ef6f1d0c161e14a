//! Floor 3: a directory. It uses only what any user of floor 2 can use: shared bytes, parts of files, a request's poll number.

mod handler; // find, judge, answer
mod mime;
mod negotiate;
mod path; // a target becomes a path beneath the folder

pub use handler::{StaticFileHandler, Symlinks};
