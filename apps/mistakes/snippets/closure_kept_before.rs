//~ E0282
//~ |request: /* Type */|
use modest::{Response, handler_fn};

fn main() {
    let hello = |request| Ok(Response::text(request.path()));
    drop(handler_fn(hello));
}
