//~ E0277
//~ `Routes` does not handle requests
//~ pass routes as `routes.with_state(state)`
use modest::{Http, Response, Routes};

fn main() {
    let routes = Routes::new().get("/", |_: &(), _| Ok(Response::text("hello")));
    drop(Http::new(routes));
}
