//! Floor 3: a directory. It uses only what any user of floor 2 can use: shared bytes, parts of files, a request's poll number.
//! Each room uses only what stands below it.

#[cfg(fuzzing)]
pub(crate) mod fuzzing; // the way in for fuzz targets

mod options; // how it is set up

mod handler; // StaticFileHandler: find, judge, answer

mod listing; // the page of a folder
mod names; // the names in a folder
mod prepare; // a file becomes what is sent

mod find; // what is there for a path
mod mime; // which type a name means

mod cache; // what was found before
mod negotiate; // which coding a client gets

mod open; // nothing outside the folder
mod path; // a target becomes a path beneath the folder

pub use handler::StaticFileHandler;
pub use open::Symlinks;
