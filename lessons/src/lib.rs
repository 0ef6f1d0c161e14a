//! What later steps use of earlier ones: a step that is done becomes a module here.

pub mod blocking;
pub mod head; // page 2 // page 3
