//! How long requests take, measured in two ways while the server hangs once for 0.3 s. `./measure load`

use std::fs;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

const RUN: Duration = Duration::from_millis(1500);
const HANG: Duration = Duration::from_millis(300);
const REQUEST: &[u8] = b"GET /notes.json HTTP/1.1\r\nHost: me\r\n\r\n";

/// The program of page 13 on a free port, as another process.
struct Server {
    process: Child,
    address: String,
}

impl Server {
    fn start() -> io::Result<Self> {
        let address = format!("127.0.0.1:{}", 20_000 + std::process::id() % 12_000); // no client is given such a port
        let program = std::env::current_exe()?.with_file_name("step13");
        let mut process = Command::new(program).arg(&address).stdout(Stdio::null()).spawn()?;
        while TcpStream::connect(&address).is_err() {
            if process.try_wait()?.is_some() {
                return Err(io::Error::other("step13 has ended; is the port in use?"));
            }
            sleep(Duration::from_millis(10));
        }
        Ok(Self { process, address })
    }

    /// CPU time of all its threads, in user code and in the kernel.
    fn cpu(&self) -> io::Result<Duration> {
        let mut total = 0;
        for task in fs::read_dir(format!("/proc/{}/task", self.process.id()))? {
            let text = fs::read_to_string(task?.path().join("schedstat"))?;
            total += text.split(' ').next().and_then(|nanoseconds| nanoseconds.parse::<u64>().ok()).unwrap_or_default();
        }
        Ok(Duration::from_nanos(total))
    }

    /// Stops the process for a while, in the background: as a garbage collector, a full disk or a busy neighbour would.
    fn hang_soon(&self) {
        let process = self.process.id().to_string();
        spawn(move || {
            for (signal, delay) in [("-STOP", RUN / 3), ("-CONT", HANG)] {
                sleep(delay);
                let _ = Command::new("kill").args([signal, &process]).status();
            }
        });
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill().and_then(|()| self.process.wait().map(drop));
    }
}

/// One request and its response, which is shorter than the buffer and arrives in one piece.
fn exchange(client: &mut TcpStream) -> io::Result<()> {
    client.write_all(REQUEST)?;
    match client.read(&mut [0; 4096])? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

/// Latencies in order. With an interval, requests have a schedule, and each latency counts from the time in the schedule.
fn measure(server: &Server, interval: Option<Duration>) -> io::Result<Vec<Duration>> {
    let mut client = TcpStream::connect(&server.address)?;
    client.set_nodelay(true)?;
    let (began, mut latencies) = (Instant::now(), Vec::new());
    server.hang_soon();
    while began.elapsed() < RUN {
        let due = interval.map(|interval| began + interval * latencies.len() as u32);
        if let Some(wait) = due.and_then(|due| due.checked_duration_since(Instant::now())) {
            sleep(wait);
        }
        let from = due.unwrap_or_else(Instant::now);
        exchange(&mut client)?;
        latencies.push(from.elapsed());
    }
    latencies.sort();
    Ok(latencies)
}

fn main() -> io::Result<()> {
    let server = Server::start()?;
    for (name, interval) in [("one after the other", None), ("one per millisecond", Some(Duration::from_millis(1)))] {
        let before = server.cpu()?;
        let latencies = measure(&server, interval)?;
        let cpu = (server.cpu()? - before).as_secs_f64() / latencies.len() as f64;
        let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
        println!("{name}: {} requests, {:.1} µs of CPU time each", latencies.len(), cpu * 1e6);
        println!("  half took up to {:.2} ms, 99 % up to {:.2} ms, all up to {:.2} ms", at(0.5), at(0.99), at(1.0));
    }
    Ok(())
}
