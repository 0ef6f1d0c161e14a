//! Floor 3: a directory. It uses only what any user of floor 2 can use: shared bytes, parts of files, a request's poll number.

mod cache; // what was found before
mod find; // what is there for a path
mod handler; // StaticFileHandler: find, judge, answer
mod listing; // the page of a folder
mod mime;
mod negotiate; // which coding a client gets
mod open; // nothing outside the folder
mod options; // how it is set up
mod path; // a target becomes a path beneath the folder
mod prepare; // a file becomes what is sent // which type a name means

pub use handler::StaticFileHandler;
pub use open::Symlinks;
