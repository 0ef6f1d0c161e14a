//! Programs that do not compile, and what the compiler says of them: see `tests/mistakes.rs`.
