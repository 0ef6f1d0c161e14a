//! The program `modest`: serves a folder over HTTP, as `python -m http.server` does. All of it is in the library beside
//! it.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    modest_cli::run()
}
