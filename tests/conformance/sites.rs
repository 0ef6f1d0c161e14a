//! The servers: real ones on free ports, each started when a row first needs it, and stopped at the end of the test.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use modest::{Http, IntoProtocol, ServerHandle, StaticFileHandler, Symlinks};

use crate::app::App;
use crate::transport;
use crate::tree::Tree;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Site {
    /// `app`, with the default settings.
    App,
    /// `app` with limits: a line of 60 bytes, a head of 200, 5 fields, a body of 20.
    Tight,
    /// `app` without bodies of unknown length.
    Lengths,
    /// `app` without space for a body.
    Full,
    /// `app` with one request per connection.
    Once,
    /// `app` with 50 ms for a head and for a body.
    Hasty,
    /// `app` with an idle timeout of half a second.
    Idle,
    /// A folder, with the default settings.
    Files,
    /// All links are followed, hidden names are served, there is no listing, and there are caching rules.
    Open,
    /// No links are followed.
    NoLinks,
}

pub struct Sites {
    tree: Tree,
    running: [OnceLock<Running>; 10],
}

struct Running {
    address: SocketAddr,
    handle: ServerHandle,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Sites {
    pub fn new() -> Sites {
        Sites { tree: Tree::new(), running: Default::default() }
    }

    /// The folder.
    pub fn path(&self) -> PathBuf {
        self.tree.path()
    }

    pub fn address(&self, site: Site) -> SocketAddr {
        self.running[site as usize].get_or_init(|| self.start(site)).address
    }

    fn start(&self, site: Site) -> Running {
        let files = || StaticFileHandler::new(self.tree.path()).expect("a folder to serve");
        let app = || Http::new(App);
        let soon = Duration::from_millis(50);
        match site {
            Site::App => serve(app()),
            Site::Tight => serve(app().request_line_limit(60).head_limit(200).max_fields(5).body_limit(20)),
            Site::Lengths => serve(app().chunked_bodies(false)),
            Site::Full => serve(app().body_memory_quota(0).body_quota(0)),
            Site::Once => serve(app().keep_alive(false)),
            Site::Hasty => serve(app().head_timeout(soon).body_timeout(soon)),
            Site::Idle => serve(app().idle_timeout(Duration::from_millis(500))),
            Site::Files => serve(self.tree.settled(files())),
            Site::NoLinks => serve(self.tree.settled(files().symlinks(Symlinks::Deny))),
            Site::Open => serve(self.tree.settled(open(files()).expect("valid settings"))),
        }
    }
}

fn open(files: StaticFileHandler) -> io::Result<StaticFileHandler> {
    files
        .symlinks(Symlinks::Follow)
        .hidden(true)
        .listing(false)
        .cache_control("*.css", "max-age=60")?
        .cache_control("/dir/", "no-store")?
        .header("x-served-by", "the tests")
}

fn serve(handler: impl IntoProtocol) -> Running {
    let server = transport::bind(handler).workers(4);
    let (address, handle) = (server.local_addr(), server.handle());
    let thread = thread::spawn(move || server.serve_forever());
    Running { address, handle, thread: Some(thread) }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.handle.shutdown_now();
        if let Some(thread) = self.thread.take()
            && let Ok(result) = thread.join()
        {
            result.expect("serve_forever without an error");
        }
    }
}
