//! Floor 3: a directory. It uses only what any user of floor 2 can use: shared bytes, parts of files, a request's poll number.

mod handler; // find, judge, answer

pub use handler::{StaticFileHandler, Symlinks};
