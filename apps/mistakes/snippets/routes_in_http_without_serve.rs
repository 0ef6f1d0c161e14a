//~ E0277
//~ `Routes` handles no requests
//~ routes with their state as `routes.with_state(state)`
use modest::{Http, Response, Routes};

fn main() {
    let routes = Routes::new().get("/", |_: &(), _| Ok(Response::text("hello")));
    drop(Http::new(routes));
}
