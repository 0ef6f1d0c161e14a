//~ E0308
//~ mismatched types
//~ expected `Notes`, found `()`
use modest::{Request, Response, Result, Routes};

struct Notes;

impl Notes {
    fn all(&self, _: &Request) -> Result<Response> {
        Ok(Response::text("none"))
    }
}

fn main() {
    drop(Routes::new().get("/notes", Notes::all).with_state(()));
}
