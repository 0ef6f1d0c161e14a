//~ E0308
//~ expected `Result<Response, Error>`, found `Response`
//~ Ok(Response::text("hello"))
use modest::{Response, handler_fn};

fn main() {
    drop(handler_fn(|_| Response::text("hello")));
}
