//! The notes, with a shutdown that breaks no request. `cargo run -q --bin step13 [ADDRESS]`

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use lessons::engine::serve;
use lessons::http::{Handler, Http};
use lessons::notes::Notes;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:8000".into());
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        flag::register_conditional_shutdown(signal, 1, Arc::clone(&stop))?; // the second signal ends the process at once
        flag::register(signal, Arc::clone(&stop))?; // the first one asks for an end
    }
    let notes = Notes::default();
    let handler: Handler = Arc::new(move |request| notes.handle(request));
    serve(&address, || Http::meet(&handler), &stop)?;
    println!("stopped, with nothing left to send");
    Ok(())
}
