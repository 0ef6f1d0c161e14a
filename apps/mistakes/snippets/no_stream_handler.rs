//~ E0277
//~ can't handle streams
//~ this does not implement `StreamHandler`
//~ a closure must give the type of its argument and return `std::io::Result<()>`
use modest::raw::streams;

struct Echo;

fn main() {
    let _ = streams(Echo);
}
