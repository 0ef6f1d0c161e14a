//! A custom store of sessions: in SQLite.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use modest::layers::{Session, SessionStore, Sessions};
use modest::{Http, Request, RequestHandler, Response, handler_fn};
use rusqlite::{Connection, OptionalExtension, params};

const TABLE: &str =
    "CREATE TABLE IF NOT EXISTS sessions (key TEXT PRIMARY KEY, data BLOB NOT NULL, expires INTEGER NOT NULL)";
const EXPIRED: &str = "DELETE FROM sessions WHERE expires < ?1";

#[derive(Clone)]
struct SqliteSessions(Arc<Mutex<Connection>>);

impl SqliteSessions {
    fn new(db: Connection) -> rusqlite::Result<SqliteSessions> {
        db.execute(TABLE, [])?;
        db.execute(EXPIRED, [seconds(SystemTime::now())])?; // a long-running program repeats this
        Ok(SqliteSessions(Arc::new(Mutex::new(db))))
    }

    fn db(&self) -> MutexGuard<'_, Connection> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SessionStore for SqliteSessions {
    fn load(&self, key: &str) -> io::Result<Option<Vec<u8>>> {
        let found = self.db().query_row("SELECT data FROM sessions WHERE key = ?1", [key], |row| row.get(0));
        found.optional().map_err(io::Error::other)
    }

    fn save(&self, key: &str, bytes: &[u8], expires: SystemTime) -> io::Result<()> {
        let row = params![key, bytes, seconds(expires)];
        let saved = self.db().execute("REPLACE INTO sessions VALUES (?1, ?2, ?3)", row);
        saved.map(drop).map_err(io::Error::other)
    }

    fn remove(&self, key: &str) -> io::Result<()> {
        self.db().execute("DELETE FROM sessions WHERE key = ?1", [key]).map(drop).map_err(io::Error::other)
    }
}

fn seconds(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() as i64
}

#[test]
fn sessions_in_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sessions.db");
    let open = || SqliteSessions::new(Connection::open(&path).unwrap()).unwrap();
    let http = |store: SqliteSessions| {
        let app = handler_fn(|request| {
            let session = Session::of(request)?;
            match request.path() {
                "/out" => session.log_out(),
                "/in" => session.insert("name", "ada")?,
                _ => {}
            }
            Ok(Response::text(session.get::<String>("name").unwrap_or_default()))
        });
        Http::new(app.layer(Sessions::new(store)))
    };
    let sent = http(open()).respond(&Request::get("/in"));
    let cookie = sent.header("set-cookie").unwrap().split(';').next().unwrap();
    let store = open(); // as after a restart
    let ask = |target: &str| http(store.clone()).respond(&Request::get(target).with_header("cookie", cookie));
    assert_eq!(ask("/").text(), "ada");
    assert_eq!(ask("/out").text(), "");
    assert_eq!(ask("/").text(), "");
    let rows = |db: &SqliteSessions| db.db().query_row("SELECT count(*) FROM sessions", [], |row| row.get::<_, i64>(0));
    assert_eq!(rows(&store).unwrap(), 0, "the session must also end on the server");
    store.save("key", b"old", SystemTime::now() - Duration::from_secs(60)).unwrap();
    assert_eq!((rows(&store).unwrap(), rows(&open()).unwrap()), (1, 0));
}
