//! Programs that do not compile, and the compiler's messages: see `tests/mistakes.rs`.
