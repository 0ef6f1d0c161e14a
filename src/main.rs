//! The program `modest`: serves a folder over HTTP, as `python -m http.server` does. All of it is in `cli`.
#![forbid(unsafe_code)]

mod cli;

fn main() -> std::process::ExitCode {
    cli::run()
}
