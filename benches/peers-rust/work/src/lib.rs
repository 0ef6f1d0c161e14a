//! The work of the programs that are compared, which is the same for all: an order as JSON, rows of a database, a page of text.

use std::cell::{Cell, RefCell};

use rusqlite::{Connection, OpenFlags};
use serde::{Deserialize, Serialize};

pub const HELLO: &str = "Hello, World!";

#[derive(Serialize)]
pub struct Message {
    pub message: &'static str,
}

pub const MESSAGE: Message = Message { message: HELLO };

#[derive(Deserialize)]
pub struct Order {
    pub id: u64,
    pub customer: String,
    pub lines: Vec<Line>,
}

#[derive(Deserialize)]
pub struct Line {
    pub name: String,
    pub count: u32,
    pub cents: u64,
}

#[derive(Serialize)]
pub struct Bill {
    pub id: u64,
    pub customer: String,
    pub total: u64,
    pub names: Vec<String>,
}

impl Order {
    pub fn bill(self) -> Bill {
        let total = self.lines.iter().map(|line| u64::from(line.count) * line.cents).sum();
        Bill {
            id: self.id,
            customer: self.customer,
            total,
            names: self.lines.into_iter().map(|line| line.name).collect(),
        }
    }
}

#[derive(Serialize)]
pub struct World {
    pub id: u32,
    #[serde(rename = "randomNumber")]
    pub random_number: u32,
}

/// The number of rows in the database.
const ROWS: u64 = 10_000;

thread_local! {
    static DATABASE: RefCell<Option<Connection>> = const { RefCell::new(None) };
    static CHANCE: Cell<u64> = const { Cell::new(0x9E37_79B9_7F4A_7C15) };
}

/// A row at random. Each thread has its own connection, to the file named by the second argument of the program.
pub fn world() -> World {
    DATABASE.with_borrow_mut(|database| row(database.get_or_insert_with(open)))
}

pub fn worlds(count: usize) -> Vec<World> {
    DATABASE.with_borrow_mut(|database| {
        let database = database.get_or_insert_with(open);
        (0..count).map(|_| row(database)).collect()
    })
}

fn open() -> Connection {
    let path = std::env::args().nth(2).expect("the path of the database");
    Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)
        .expect("the database")
}

fn row(database: &Connection) -> World {
    let mut statement = database.prepare_cached("SELECT id, number FROM world WHERE id = ?1").expect("the statement");
    let row = statement.query_row([random_id()], |row| Ok(World { id: row.get(0)?, random_number: row.get(1)? }));
    row.expect("a row")
}

/// From 1 to `ROWS` (xorshift).
fn random_id() -> u32 {
    CHANCE.with(|chance| {
        let mut x = chance.get();
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        chance.set(x);
        (x % ROWS) as u32 + 1
    })
}

/// Returns the number of rows that `/queries?n=20` requests.
pub fn count_in(query: &str) -> usize {
    query.strip_prefix("n=").and_then(|number| number.parse().ok()).unwrap_or(1).clamp(1, 500)
}

/// A page of 64 KiB that compresses as a listing of names and numbers does.
pub fn page() -> String {
    let lines =
        (0..).map(|n: u32| format!("<tr><td>name-{n:05}<td>{}<td>{:x}\n", n * 7919, n.wrapping_mul(2_654_435_761)));
    let mut page = String::new();
    for line in lines {
        if page.len() + line.len() > 64 * 1024 {
            return page;
        }
        page += &line;
    }
    page
}
