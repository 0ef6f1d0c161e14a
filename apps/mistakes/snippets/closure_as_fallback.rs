//~ E0277
//~ does not handle requests
//~ wrap a closure in `handler_fn(|request| ..)`
use modest::{Response, Routes};

fn main() {
    drop(Routes::<()>::new().fallback(|_| Ok(Response::text("hello"))));
}
