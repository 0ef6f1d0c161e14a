//~ E0282
//~ consider giving this closure parameter an explicit type
use modest::{Response, Routes};

struct Shop {
    name: String,
}

fn main() {
    let _ = Routes::new().get("/", |shop, _| Ok(Response::text(&shop.name))).with_state(Shop { name: "Tea".into() });
}
