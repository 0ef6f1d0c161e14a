//! The parts of earlier steps that later steps use: a finished step becomes a module here.

pub mod blocking; // page 3
pub mod client; // page 6
pub mod connection; // page 9
pub mod engine; // page 9
pub mod head; // page 2
pub mod http; // page 10
pub mod message; // page 10
pub mod notes; // page 12
pub mod path; // page 11
pub mod permits; // page 9
pub mod table; // page 8
pub mod web; // page 12
