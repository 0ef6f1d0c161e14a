//~ E0277
//~ handles no requests
//~ a closure is given as `handler_fn(|request| ..)`
use modest::{Response, Routes};

fn main() {
    drop(Routes::<()>::new().fallback(|_| Ok(Response::text("hello"))));
}
