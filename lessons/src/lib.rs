//! What later steps use of earlier ones: a step that is done becomes a module here.

pub mod blocking;
pub mod client;
pub mod connection; // page 9
pub mod engine; // page 9
pub mod head; // page 2 // page 3 // page 6
pub mod permits; // page 9
pub mod table; // page 8
