//~ E0277
//~ can't be served
//~ wrap a closure in `handler_fn(|request| ..)`
use modest::{Response, TcpServer};

fn main() {
    let server = TcpServer::bind("127.0.0.1:8000", |_| Ok(Response::text("hello")));
    drop(server);
}
