//~ E0277
//~ `Rc<String>` cannot be sent between threads safely
use std::rc::Rc;

use modest::{Response, handler_fn};

fn main() {
    let name = Rc::new("Ada".to_owned());
    let app = handler_fn(move |_| Ok(Response::text(name.as_str())));
    drop(app);
}
