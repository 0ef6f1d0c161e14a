//! What later steps use of earlier ones: a step that is done becomes a module here.

pub mod blocking;
pub mod client;
pub mod connection; // page 9
pub mod engine; // page 9
pub mod head; // page 2 // page 3 // page 6
pub mod http; // page 10
pub mod message;
pub mod notes; // page 12
pub mod path;
pub mod permits; // page 9
pub mod table; // page 8 // page 10 // page 11
pub mod web; // page 12
