//! The program `modest`: serves a folder over HTTP, as `python -m http.server` does. All code is in the library
//! `modest-cli`, `lib.rs`.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    modest_cli::run()
}
