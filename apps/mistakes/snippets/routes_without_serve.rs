//~ E0277
//~ `Routes` can't be served
//~ pass routes as `routes.with_state(state)`
use modest::{Response, Routes, TcpServer};

fn main() {
    let routes = Routes::new().get("/", |_: &(), _| Ok(Response::text("hello")));
    drop(TcpServer::bind("127.0.0.1:8000", routes));
}
