//! Threads that handlers keep. Such a thread leaves the pool after its turn: another thread takes over the worker's
//! number, and this one runs the handler's function. Afterwards it rests for a while, ready to take over a number.

use std::cell::{Cell, RefCell};
use std::io;
use std::sync::{Arc, Weak};

use super::super::contain::contain;
use super::super::engine::{AtWork, Engine, KeptFunction};
use super::super::scheduler::Class;
use super::taking;

thread_local! {
    /// The worker that this thread is.
    static HERE: RefCell<Here> = const { RefCell::new(Here { engine: Weak::new(), kept: Vec::new() }) };
    /// Whether `kept` has functions. Read after each turn: `HERE` has a destructor, so access to it costs more.
    static IS_KEPT: Cell<bool> = const { Cell::new(false) };
}

struct Here {
    engine: Weak<Engine>,
    kept: Vec<Kept>,
}

pub struct Kept {
    is_needed: Box<dyn Fn() -> bool>,
    work: Box<dyn FnOnce()>,
    class: Class,
    function: KeptFunction,
}

/// Keeps the calling thread for `work`: after the handler has returned its response, `work` runs on the same thread,
/// and no other request is handled there until it ends. Another thread takes its place in the pool. For values that
/// belong to one thread, such as a database connection that is not `Send`, and that produce the body of a response:
/// the handler returns a [`channel`](crate::Response::channel), and `work` sends its bytes.
///
/// The thread counts as one of [`TcpServer::max_streams`](crate::TcpServer::max_streams). `work` runs even if the
/// client never gets the response. A panic in it is logged. A shutdown waits for it as for a request, up to the
/// [timeout](crate::TcpServer::shutdown_timeout).
///
/// # Errors
/// If as many threads as `max_streams` are in use, or no other thread can be started, or if the caller is not a handler
/// of a server: a request created by a test is not handled by a worker.
///
/// ```
/// use std::rc::Rc;
/// use modest::{OrStatus, Response, handler_fn};
///
/// let app = handler_fn(|_| {
///     let rows = Rc::new(["ada", "eve"]); // stays on this thread
///     let (sender, response) = Response::channel();
///     modest::keep_thread(move || {
///         for row in rows.iter() {
///             if sender.send_timeout(format!("{row}\n"), None).is_err() {
///                 return; // the client has disconnected
///             }
///         }
///     })
///     .or_status(503)?;
///     Ok(response)
/// });
/// assert_eq!(modest::testing::serve(modest::Http::new(app)).get("/").text(), "ada\neve\n");
/// ```
pub fn keep_thread(work: impl FnOnce() + 'static) -> io::Result<()> {
    keep_thread_if(|| true, work)
}

/// Does what [`keep_thread`] does, if `is_needed` returns true after the turn of the request. Otherwise `work` is
/// dropped, and the thread stays in the pool. This is for a body that the engine may have read to its end before that
/// turn is over.
///
/// # Errors
/// As [`keep_thread`].
pub fn keep_thread_if(is_needed: impl Fn() -> bool + 'static, work: impl FnOnce() + 'static) -> io::Result<()> {
    let engine = HERE.with_borrow(|here| here.engine.upgrade());
    let engine = engine.ok_or_else(|| io::Error::other("only a handler of a server can keep its thread"))?;
    let class = engine.taken.try_admit().ok_or_else(|| {
        io::Error::new(io::ErrorKind::ResourceBusy, "the maximum number of threads for streams (max_streams) is in use")
    })?;
    if let Err(error) = engine.spares.reserve(|| start(&engine)) {
        taking::start_waiting(&engine, class);
        return Err(error);
    }
    let kept =
        Kept { is_needed: Box::new(is_needed), work: Box::new(work), class, function: engine.add_kept_function() };
    HERE.with_borrow_mut(|here| here.kept.push(kept));
    IS_KEPT.set(true);
    Ok(())
}

/// Starts a thread that waits for a number.
fn start(engine: &Arc<Engine>) -> io::Result<()> {
    let this_thread = engine.begin_work(None);
    engine.spawn("modest-spare".to_owned(), move || {
        let number = this_thread.engine.spares.take();
        drop(this_thread);
        number.into_iter().for_each(super::work);
    })
}

/// Marks this thread as a worker of an engine.
pub fn enter(engine: &Arc<Engine>) {
    let engine = Arc::downgrade(engine);
    HERE.with_borrow_mut(|here| here.engine = engine);
}

/// Ends the mark of `enter`. Returns the functions for which this thread is kept.
pub fn leave() -> Vec<Kept> {
    IS_KEPT.set(false);
    HERE.with_borrow_mut(|here| {
        here.engine = Weak::new();
        std::mem::take(&mut here.kept)
    })
}

/// Returns whether a handler has kept this thread, after its turn.
pub fn is_kept(engine: &Arc<Engine>) -> bool {
    if !IS_KEPT.get() {
        return false;
    }
    let all = HERE.with_borrow_mut(|here| std::mem::take(&mut here.kept));
    let is_needed = |kept: &Kept| contain("`is_needed` of a kept thread", || (kept.is_needed)()).unwrap_or(false);
    let (needed, others): (Vec<_>, Vec<_>) = all.into_iter().partition(is_needed);
    HERE.with_borrow_mut(|here| here.kept.extend(needed)); // `is_needed` may have kept the thread again
    for Kept { is_needed, work, class, function: _function } in others {
        contain("dropping the work of a kept thread", || drop(work));
        contain("dropping `is_needed` of a kept thread", || drop(is_needed));
        engine.spares.release();
        taking::start_waiting(engine, class);
    }
    IS_KEPT.set(HERE.with_borrow(|here| !here.kept.is_empty()));
    IS_KEPT.get()
}

/// Passes on the worker's number, runs the functions, and rests. Returns a number to take over; `None`: the thread
/// ends. A stream that waits for the place of a function gets a thread of its own. A stream can last for any time: on
/// this thread it would delay the next function and the exit of the server.
pub fn run(at_work: AtWork, kept: Vec<Kept>) -> Option<AtWork> {
    let this_thread = at_work.engine.begin_work(None);
    let engine = &this_thread.engine;
    engine.spares.hand_over(at_work, kept.len());
    for Kept { is_needed, work, class, function: _function } in kept {
        engine.count_kept(|| contain("the work of a kept thread", work));
        contain("dropping `is_needed` of a kept thread", || drop(is_needed));
        taking::start_waiting(engine, class);
    }
    engine.spares.rest()
}
