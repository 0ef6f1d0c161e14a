//~ E0308
//~ expected `Response`, found `&str`
use modest::{Routes, TcpServer};

fn main() {
    let app = Routes::new().get("/", |_, _| Ok("hello")).with_state(());
    drop(TcpServer::bind("127.0.0.1:8000", app));
}
