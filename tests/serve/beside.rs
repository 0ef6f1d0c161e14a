//! Background work: threads that a server counts, stops and waits for, and jobs for them.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use modest::background::{Jobs, Refused, Stop};
use modest::raw::{Stream, streams};
use modest::{Datagram, OrStatus, Request, RequestHandler, Response, ServerHandle, TcpServer, UdpServer, handler_fn};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::server::{Gate, PATIENCE, alone, capture_the_log, eventually, get, serve};

fn hello() -> impl RequestHandler {
    handler_fn(|_| Ok(Response::text("hello")))
}

#[test]
fn a_shutdown_stops_background_threads_and_waits_for_them() {
    let gate = Gate::default();
    let (at_gate, (ended, end)) = (gate.clone(), channel());
    let mut server = serve(hello(), move |server| {
        server.shutdown_timeout(PATIENCE).background("clock", move |stop| {
            assert_eq!(std::thread::current().name(), Some("clock"));
            while stop.wait(Duration::from_millis(1)) {}
            assert!(stop.is_set() && !stop.wait(PATIENCE), "a thread that waits is woken by the shutdown");
            at_gate.pass();
            ended.send(()).unwrap();
        })
    });
    server.wait_for("it runs", |stats| stats.background == 1);
    server.client().fetch(get("/"));
    server.handle.shutdown();
    gate.wait_for_arrivals(1);
    assert!(!server.has_ended(), "the server has ended while a thread runs");
    eventually("no thread can be started after the last request", || server.handle.background("late", |_| ()).is_err());
    gate.open();
    server.wait_for_end();
    end.try_recv().expect("the thread must end before the server");
    assert_eq!(server.handle.stats().background, 0);
}

#[test]
fn the_shutdown_timeout_applies_to_background_threads() {
    alone("beside::the_shutdown_timeout_applies_to_background_threads", || {
        let log = capture_the_log(|record| Some(record.args().to_string()));
        log::set_max_level(log::LevelFilter::Warn);
        let mut server = serve(hello(), |server| {
            let server = server.shutdown_timeout(Duration::from_millis(50));
            server.background("stubborn", |_| loop_for_ever())
        });
        server.wait_for("it runs", |stats| stats.background == 1);
        server.handle.shutdown();
        server.wait_for_end();
        let log = log.lock().unwrap();
        assert!(log.iter().any(|line| line.contains("the thread stubborn is still running")), "{log:?}");
    });
}

/// On a busy machine an end can be late, so several ends are tried.
#[test]
fn background_threads_and_streams_have_the_same_second_to_end() {
    let gate = Gate::default();
    let took = || {
        let in_stream = gate.clone();
        let stuck = streams(move |_: &mut Stream| {
            in_stream.pass();
            Ok(())
        });
        let mut server = serve(stuck, |server| {
            let server = server.shutdown_timeout(Duration::from_millis(50));
            server.background("stubborn", |_| loop_for_ever())
        });
        let _client = server.client();
        server.wait_for("both run", |stats| stats.background == 1 && stats.streams == 1);
        server.handle.shutdown();
        server.wait_for_end()
    };
    let _end = gate.opened_at_end();
    let all: Vec<_> = std::iter::repeat_with(took).take(5).take_while(|took| *took > Duration::from_secs(2)).collect();
    assert!(all.len() < 5, "{all:?}");
}

/// A handler that the shutdown timeout does not wait for has no line in the access log. A warning names its request.
#[test]
fn a_handler_that_outlives_the_server_is_named() {
    alone("beside::a_handler_that_outlives_the_server_is_named", || {
        let log = capture_the_log(|record| Some(record.args().to_string()));
        log::set_max_level(log::LevelFilter::Warn);
        let gate = Gate::default();
        let in_handler = gate.clone();
        let handler = handler_fn(move |request| {
            if request.path() == "/stays" {
                in_handler.pass();
            }
            Ok(Response::text("done"))
        });
        let mut server = serve(handler, |server| server.shutdown_timeout(Duration::from_millis(50)));
        let _end = gate.opened_at_end();
        let mut client = server.client();
        client.fetch(get("/returns"));
        client.send(get("/stays"));
        gate.wait_for_arrivals(1);
        server.handle.shutdown();
        server.wait_for_end();
        let log = log.lock().unwrap();
        let named: Vec<_> = log.iter().filter(|line| line.ends_with("the server ends now")).collect();
        assert!(matches!(&named[..], [line] if line.starts_with("GET /stays HTTP/1.1 from ")), "{log:?}");
    });
}

fn loop_for_ever() {
    loop {
        std::thread::park();
    }
}

#[test]
fn a_panic_ends_its_own_thread_and_is_logged() {
    alone("beside::a_panic_ends_its_own_thread_and_is_logged", || {
        let log = capture_the_log(|record| Some(record.args().to_string()));
        log::set_max_level(log::LevelFilter::Warn);
        let server = serve(hello(), |server| server.background("careless", |_| panic!("for the test")));
        eventually("it is logged", || {
            log.lock().unwrap().iter().any(|line| line.ends_with("(careless) panicked: for the test"))
        });
        server.wait_for("it has ended", |stats| stats.background == 0);
        assert!(server.client().fetch(get("/")).contains("hello"));
    });
}

#[test]
fn handlers_start_threads() {
    let (done, result) = channel();
    let done = Mutex::new(done);
    let app = handler_fn(move |request| {
        let done = done.lock().unwrap().clone();
        request.server().background("mail", move |stop| done.send(stop.is_set()).unwrap())?;
        Ok(Response::new(202))
    });
    let server = serve(app, |server| server);
    assert!(server.client().fetch(get("/")).starts_with("HTTP/1.1 202"));
    assert_eq!(result.recv_timeout(PATIENCE), Ok(false));
}

#[test]
fn queued_jobs_are_done_before_the_end_and_later_ones_are_refused() {
    let (gate, jobs, (done, results)) = (Gate::default(), Jobs::new(3), channel());
    let (at_gate, queue) = (gate.clone(), jobs.clone());
    let mut server = serve(hello(), move |server| {
        server.shutdown_timeout(PATIENCE).background("jobs", move |stop| {
            while let Some(job) = queue.next(stop) {
                at_gate.pass();
                done.send(job).unwrap();
            }
        })
    });
    jobs.push(0).unwrap();
    gate.wait_for_arrivals(1);
    (1..4).for_each(|job| jobs.push(job).unwrap());
    assert!(jobs.push(4) == Err(Refused(4)) && jobs.len() == 3, "the queue is full: {jobs:?}");
    server.handle.shutdown();
    gate.open();
    server.wait_for_end();
    assert_eq!(results.try_iter().collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert_eq!(jobs.push(5), Err(Refused(5)), "a finished server must reject jobs");
}

/// Threads that add jobs faster than they are done do not keep the server running, and each accepted job is done.
#[test]
fn jobs_added_without_a_pause_end_with_the_last_request() {
    let jobs = Jobs::new(10_000);
    let (queue, done) = (jobs.clone(), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&done);
    let mut server = serve(hello(), move |server| {
        server.shutdown_timeout(PATIENCE).background("jobs", move |stop| {
            while queue.next(stop).is_some() {
                std::thread::sleep(Duration::from_micros(500));
                counted.fetch_add(1, SeqCst);
            }
        })
    });
    let adding: Vec<_> = (0..2)
        .map(|_| {
            let jobs = jobs.clone();
            std::thread::spawn(move || {
                let mut accepted = 0;
                while jobs.push(()).is_ok() {
                    accepted += 1;
                    std::thread::sleep(Duration::from_micros(400));
                }
                accepted
            })
        })
        .collect();
    // A server that is shut down before it serves starts no thread.
    eventually("jobs are done, and there is a backlog", || done.load(SeqCst) > 0 && jobs.len() >= 50);
    server.handle.shutdown();
    assert!(server.wait_for_end() < PATIENCE / 2);
    let accepted: usize = adding.into_iter().map(|adding| adding.join().unwrap()).sum();
    assert_eq!(done.load(SeqCst), accepted);
}

#[test]
fn a_panic_ends_only_its_job() {
    let jobs = Jobs::new(10);
    let (done, results) = channel();
    let server = serve(handler_fn(|_| Ok(Response::text("here"))), |server| server);
    let taken = jobs.clone();
    let work = move |stop: &Stop| {
        taken.for_each(stop, |job| {
            assert!(job != "panic", "for the test");
            done.send(job).unwrap();
        });
    };
    server.handle.background("jobs", work).unwrap();
    for job in ["first", "panic", "second", "panic", "panic", "third"] {
        jobs.push(job).unwrap();
        if job != "panic" {
            assert_eq!(results.recv_timeout(PATIENCE).unwrap(), job);
        }
    }
    assert_eq!(server.handle.stats().background, 1);
}

/// After the last thread that takes jobs has ended, jobs are refused, until another thread takes them.
#[test]
fn jobs_are_refused_after_the_last_thread_has_ended() {
    let jobs = Jobs::new(10);
    let (done, results) = channel();
    let server = serve(handler_fn(|_| Ok(Response::text("here"))), |server| server);
    let start = |name: &str| {
        let (jobs, done) = (jobs.clone(), done.clone());
        let work = move |stop: &Stop| {
            while let Some(job) = jobs.next(stop).filter(|job| *job != "return") {
                assert!(job != "panic", "for the test");
                done.send(job).unwrap();
            }
        };
        server.handle.background(name, work).unwrap();
    };
    for (threads, end) in [(1, "panic"), (2, "panic"), (1, "return"), (2, "return")] {
        (0..threads).for_each(|number| start(&format!("thread {number}")));
        eventually("a thread takes jobs", || jobs.push("first").is_ok());
        assert_eq!(results.recv_timeout(PATIENCE).unwrap(), "first");
        for left in (0..threads).rev() {
            eventually("a thread takes it", || jobs.push(end).is_ok());
            server.wait_for("one has ended", |stats| stats.background == left);
            if left == 0 {
                assert_eq!(jobs.push("next"), Err(Refused("next")), "no thread takes this job: {threads}, {end}");
            } else {
                eventually("the other thread takes it", || jobs.push("next").is_ok());
                assert_eq!(results.recv_timeout(PATIENCE).unwrap(), "next");
            }
        }
    }
    start("a new thread");
    eventually("it takes jobs", || jobs.push("again").is_ok());
    assert_eq!(results.recv_timeout(PATIENCE).unwrap(), "again");
}

/// The end of one server ends its own threads for jobs, and not those of another server for the same queue. A third
/// server opens the queue again.
#[test]
fn servers_that_share_a_queue_end_independently() {
    let jobs = Jobs::new(10);
    let (done, results) = channel();
    let start = |name: &'static str| {
        let (jobs, done) = (jobs.clone(), done.clone());
        let work = move |stop: &Stop| jobs.for_each(stop, |job| done.send((name, job)).unwrap());
        serve(hello(), |server| server.shutdown_timeout(PATIENCE).background(name, work))
    };
    let do_one = |name: &str, job: u32| {
        eventually("the job is accepted", || jobs.push(job).is_ok());
        let (by, done) = results.recv_timeout(PATIENCE).unwrap();
        assert!(name.contains(by) && done == job, "{by} has done {done}; expected {name} and {job}");
    };
    let (mut first, mut second) = (start("first"), start("second"));
    for server in [&first, &second] {
        server.wait_for("it runs", |stats| stats.background == 1);
    }
    do_one("first or second", 1);
    first.handle.shutdown();
    first.wait_for_end();
    for job in 2..6 {
        jobs.push(job).expect("the second server takes jobs");
        assert_eq!(results.recv_timeout(PATIENCE), Ok(("second", job)));
    }
    assert_eq!(second.handle.stats().background, 1);
    second.handle.shutdown();
    second.wait_for_end();
    assert_eq!(jobs.push(6), Err(Refused(6)), "both servers have ended");
    let _third = start("third");
    do_one("third", 7);
}

/// Jobs that wait when their server ends, or when no thread is left for them, are counted once in the log.
#[test]
fn jobs_that_are_not_done_are_logged() {
    alone("beside::jobs_that_are_not_done_are_logged", || {
        let log = capture_the_log(|record| Some(record.args().to_string()));
        log::set_max_level(log::LevelFilter::Warn);
        let count = |text: &str| log.lock().unwrap().iter().filter(|line| line.contains(text)).count();

        let (jobs, gate) = (Jobs::new(9), Gate::default());
        let (queue, at_gate, opened) = (jobs.clone(), gate.clone(), gate.opened_at_end());
        let mut server = serve(hello(), move |server| {
            server.shutdown_timeout(Duration::from_millis(50)).background("slow", move |stop| {
                queue.next(stop);
                at_gate.pass();
            })
        });
        (0..4).for_each(|job| jobs.push(job).unwrap());
        gate.wait_for_arrivals(1);
        server.handle.shutdown();
        server.wait_for_end();
        assert_eq!(count("3 queued jobs were not done when their server ended"), 1, "{log:?}");
        drop(opened);
        server.wait_for("the thread has ended", |stats| stats.background == 0);
        drop(jobs);

        let jobs = Jobs::new(9);
        let (queue, pushed) = (jobs.clone(), channel());
        let server = serve(hello(), move |server| {
            server.background("leaves", move |stop| {
                queue.next(stop);
                pushed.1.recv().unwrap();
            })
        });
        (0..3).for_each(|job| jobs.push(job).unwrap());
        pushed.0.send(()).unwrap();
        eventually("it is logged", || count("the last thread for a queue of jobs has ended: 2 jobs wait") == 1);
        drop((server, jobs));

        let jobs = Jobs::new(9);
        jobs.push(()).unwrap();
        drop(jobs);
        assert_eq!(count("1 queued jobs were not done when their queue was dropped"), 1, "{log:?}");
        assert_eq!(log.lock().unwrap().iter().filter(|line| line.contains("jobs")).count(), 3, "{log:?}");
    });
}

/// A request whose head has arrived is handled during a shutdown, and what it begins is done.
#[test]
fn a_request_in_progress_at_the_shutdown_keeps_its_background_work() {
    let (jobs, (done, results)) = (Jobs::new(3), channel());
    let (queue, of_thread) = (jobs.clone(), done.clone());
    let done = Mutex::new(done);
    let app = handler_fn(move |request: &Request| {
        let (job, done) = (request.text()?.into_owned(), done.lock().unwrap().clone());
        request.server().background("at once", move |stop| done.send(format!("{}", stop.is_set())).unwrap())?;
        jobs.push(job).or_status(503)?;
        Ok(Response::new(202))
    });
    let (told, tells) = channel();
    let mut server = serve(app, move |server| {
        let server = server.shutdown_timeout(PATIENCE).background("jobs", move |stop| {
            while let Some(job) = queue.next(stop) {
                of_thread.send(job).unwrap();
            }
        });
        server.background("witness", move |stop| {
            while stop.wait(PATIENCE) {}
            told.send(()).unwrap();
        })
    });
    let mut client = server.client();
    client.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\nhal");
    server
        .wait_for("the first half has arrived", |stats| stats.input == 0 && stats.parked == 1 && stats.background == 2);
    server.handle.shutdown();
    tells.recv_timeout(PATIENCE).expect("a thread that is not for jobs ends at the beginning of the shutdown");
    client.ask("ves", "HTTP/1.1 202 ");
    server.wait_for_end();
    let mut results: Vec<String> = results.try_iter().collect();
    results.sort();
    assert_eq!(results, ["halves", "true"]);
    assert!(server.handle.background("late", |_| ()).is_err(), "no thread can be started after the last request");
}

/// Threads for jobs are idle until the last request has ended. They have time to end even if that is the timeout.
#[test]
fn a_stuck_handler_does_not_keep_threads_for_jobs_running() {
    alone("beside::a_stuck_handler_does_not_keep_threads_for_jobs_running", || {
        let log = capture_the_log(|record| Some(record.args().to_string()));
        log::set_max_level(log::LevelFilter::Warn);
        let (gate, jobs) = (Gate::default(), Jobs::<()>::new(1));
        let _opened = gate.opened_at_end();
        let (at_gate, (ended, end)) = (gate.clone(), channel());
        let app = handler_fn(move |_| {
            at_gate.pass();
            Ok(Response::new(202))
        });
        let mut server = serve(app, move |server| {
            server.shutdown_timeout(Duration::from_millis(50)).background("jobs", move |stop| {
                while jobs.next(stop).is_some() {}
                ended.send(()).unwrap();
            })
        });
        server.wait_for("the thread runs", |stats| stats.background == 1);
        let mut client = server.client();
        client.send(get("/"));
        gate.wait_for_arrivals(1);
        server.handle.shutdown();
        server.wait_for_end();
        end.try_recv().expect("the thread must end before the server");
        let log = log.lock().unwrap();
        assert!(!log.iter().any(|line| line.contains("is still running")), "{log:?}");
    });
}

/// The thread ends at the beginning of the shutdown, because it does not wait for the response that waits for it.
#[test]
fn a_thread_that_feeds_a_response_and_the_response_do_not_wait_for_each_other() {
    let app = handler_fn(|request: &Request| {
        let (sender, response) = Response::channel();
        sender.send("begin ")?;
        request.server().background("feed", move |stop| {
            while stop.wait(PATIENCE) {}
            sender.send("end").unwrap();
            sender.finish();
        })?;
        Ok(response)
    });
    let mut server = serve(app, |server| server.shutdown_timeout(PATIENCE));
    let mut client = server.client();
    client.ask("GET / HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 ");
    server.wait_for("the thread runs", |stats| stats.background == 1);
    server.handle.shutdown();
    let rest = String::from_utf8(client.read_to_end()).unwrap();
    assert!(rest.ends_with("3\r\nend\r\n0\r\n\r\n"), "{rest:?}");
    assert!(server.wait_for_end() < PATIENCE / 2);
}

#[test]
fn a_stop_wakes_threads_that_wait_for_jobs_or_for_something_else() {
    let jobs: Jobs<()> = Jobs::new(1);
    let (told, tells) = channel();
    let mut server = serve(hello(), move |server| {
        let server = server.shutdown_timeout(PATIENCE);
        let server = (0..4).fold(server, |server, number| {
            let jobs = jobs.clone();
            server.background(format!("idle {number}"), move |stop| while jobs.next(stop).is_some() {})
        });
        server.background("other", move |stop| {
            let (wake, woken) = channel();
            let _call = stop.on_stop(move || wake.send(()).unwrap());
            woken.recv().unwrap();
            drop(stop.on_stop(move || told.send("at once, as it has begun").unwrap()));
        })
    });
    server.wait_for("all run", |stats| stats.background == 5);
    server.handle.shutdown();
    server.wait_for_end();
    assert_eq!(tells.try_iter().count(), 1);
}

/// Also a thread that waits forever is woken, and a call that panics keeps nothing else from happening.
#[test]
fn a_call_that_panics_does_not_keep_a_server_running() {
    let (told, tells) = channel();
    let mut server = serve(hello(), move |server| {
        server.shutdown_timeout(PATIENCE).background("panics", move |stop| {
            let _first = stop.on_stop(|| panic!("for the test"));
            let (call, called) = channel();
            let _second = stop.on_stop(move || call.send("called").unwrap());
            told.send("ready").unwrap();
            while stop.wait(Duration::MAX) {}
            told.send(called.recv_timeout(PATIENCE).unwrap()).unwrap();
            told.send("ended").unwrap();
        })
    });
    assert_eq!(tells.recv_timeout(PATIENCE), Ok("ready"));
    server.wait_for("it runs", |stats| stats.background == 1);
    server.handle.shutdown();
    server.handle.shutdown();
    server.wait_for_end();
    assert_eq!(tells.try_iter().collect::<Vec<_>>(), ["called", "ended"]);
}

#[test]
fn an_immediate_shutdown_waits_for_no_thread() {
    let gate = Gate::default();
    let _opened = gate.opened_at_end();
    let at_gate = gate.clone();
    let mut server =
        serve(hello(), move |server| server.shutdown_timeout(None).background("stubborn", move |_| at_gate.pass()));
    gate.wait_for_arrivals(1);
    server.handle.shutdown_now();
    server.wait_for_end();
}

#[test]
fn servers_of_datagrams_have_background_threads_too() {
    let server = UdpServer::bind("127.0.0.1:0", |_: &Datagram| Ok(())).unwrap();
    let (handle, (ended, end)) = (server.handle(), channel());
    handle
        .background("clock", move |stop| {
            while stop.wait(PATIENCE) {}
            ended.send(()).unwrap();
        })
        .unwrap();
    assert_eq!(server.stats().background, 1);
    handle.shutdown();
    server.serve_forever().unwrap();
    end.try_recv().expect("the thread must end before the server");
}

/// A server that is dropped before it serves, or can't begin to serve, does not leave its background threads running.
#[test]
fn a_server_that_does_not_serve_ends_its_threads() {
    alone("beside::a_server_that_does_not_serve_ends_its_threads", || {
        let (ended, end) = channel();
        let thread = |handle: &ServerHandle, name: &'static str| {
            let ended = ended.clone();
            let work = move |stop: &Stop| {
                while stop.wait(PATIENCE) {}
                ended.send(name).unwrap();
            };
            handle.background(name, work).unwrap();
        };
        let tcp = || TcpServer::bind("127.0.0.1:0", hello()).unwrap();
        let udp = || UdpServer::bind("127.0.0.1:0", |_: &Datagram| Ok(())).unwrap();
        let (tcp_dropped, udp_dropped, tcp_fails, udp_fails) = (tcp(), udp(), tcp(), udp());
        thread(&tcp_dropped.handle(), "TCP, dropped");
        drop(tcp_dropped);
        assert_eq!(end.recv_timeout(PATIENCE), Ok("TCP, dropped"));
        thread(&udp_dropped.handle(), "UDP, dropped");
        drop(udp_dropped);
        assert_eq!(end.recv_timeout(PATIENCE), Ok("UDP, dropped"));
        thread(&tcp_fails.handle(), "TCP, failed");
        thread(&udp_fails.handle(), "UDP, failed");
        let before = getrlimit(Resource::Nofile);
        setrlimit(Resource::Nofile, Rlimit { current: Some(3), maximum: before.maximum }).unwrap();
        let failed = [tcp_fails.serve_forever(), udp_fails.serve_forever()];
        setrlimit(Resource::Nofile, before).unwrap();
        assert!(failed.iter().all(Result::is_err), "{failed:?}");
        let mut names = [(); 2].map(|()| end.recv_timeout(PATIENCE).unwrap());
        names.sort();
        assert_eq!(names, ["TCP, failed", "UDP, failed"]);
        // A thread is counted until a moment after its function has returned.
        let is_over = || tcp_fails.stats().background + udp_fails.stats().background == 0;
        eventually("no thread is left", is_over);
    });
}

/// A thread that ends with jobs in its queue, and functions of `on_stop`, may leave values that panic when dropped.
#[test]
fn destructors_that_panic_cost_neither_the_process_nor_the_shutdown() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("dropped, for the test");
        }
    }
    alone("beside::destructors_that_panic_cost_neither_the_process_nor_the_shutdown", || {
        let jobs = Jobs::new(9);
        for _ in 0..3 {
            assert!(jobs.push(Bomb).is_ok());
        }
        let hello = || handler_fn(|_| Ok(Response::text("here")));
        let taken = std::sync::mpsc::channel();
        let mut server = serve(hello(), |server| {
            server.background("one job", move |stop| {
                std::mem::forget(jobs.next(stop));
                taken.0.send(()).unwrap();
            })
        });
        taken.1.recv_timeout(PATIENCE).expect("a job is taken");
        let stopping = std::sync::Arc::new(std::sync::Mutex::new(None));
        let (slot, bomb) = (stopping.clone(), Bomb);
        server
            .handle
            .background("stops", move |stop| {
                let own = slot.clone();
                let registered = stop.on_stop(move || {
                    let _ = &bomb;
                    drop(own.lock().unwrap().take()); // itself
                });
                *slot.lock().unwrap() = Some(registered);
            })
            .unwrap();
        eventually("the function is set", || stopping.lock().unwrap().is_some());
        server.handle.shutdown();
        server.wait_for_end();
    });
}
