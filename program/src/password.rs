//! Reads a password from the terminal without showing it, or from stdin, and returns a line for the `--auth` file.
//! Called by `sources`.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::sync::{Arc, Mutex, PoisonError};

use modest::layers::{PathRule, UserFile};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

use crate::error::{CliError, reason};

/// Reads a password and returns `USER:HASH`.
pub fn line(user: &str) -> Result<String, CliError> {
    let failed = |why: &str| CliError::usage(format!("--hash-password: {why}"));
    if !PathRule::is_user_name(user) {
        return Err(failed(
            "expected the name of a user, without spaces and , : = *, and without # or @ at its beginning; the password is read from the terminal",
        ));
    }
    let password = read(user).map_err(|error| failed(&format!("can't read the password: {}", reason(&error))))?;
    let password = password.ok_or_else(|| failed("the two passwords differ"))?;
    UserFile::line(user, &password).map_err(|error| failed(&reason(&error)))
}

/// Reads a password, at a terminal twice. `None`: the two inputs differ.
fn read(user: &str) -> io::Result<Option<String>> {
    if !io::stdin().is_terminal() {
        return read_line().map(Some);
    }
    let _unseen = Unseen::begin()?;
    let first = ask(&format!("Password for {user}: "))?;
    let second = ask("Repeat the password: ")?;
    Ok(Some(first).filter(|first| *first == second))
}

fn ask(prompt: &str) -> io::Result<String> {
    let mut err = io::stderr();
    err.write_all(prompt.as_bytes()).and_then(|()| err.flush())?;
    let line = read_line();
    err.write_all(b"\n")?;
    line
}

fn read_line() -> io::Result<String> {
    let mut line = String::new();
    if io::stdin().lock().read_line(&mut line)? == 0 {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the input is empty"));
    }
    let line = line.strip_suffix('\n').unwrap_or(&line);
    Ok(line.strip_suffix('\r').unwrap_or(line).to_owned())
}

/// A terminal without echo, until this is dropped. Signals that end or stop the program restore the echo first.
struct Unseen {
    before: Termios,
    /// Held while the modes are set after a signal. True: the earlier modes are restored, and no signal changes them.
    is_over: Arc<Mutex<bool>>,
}

/// The signals that end a program at its terminal, those that stop it, and those that follow a stop.
const SIGNALS: [i32; 6] = [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGCONT];

impl Unseen {
    fn begin() -> io::Result<Unseen> {
        let before = tcgetattr(io::stdin())?;
        let mut unseen = before.clone();
        unseen.local_modes.remove(LocalModes::ECHO);
        let shown = before.clone();
        let mut signals = Signals::new(SIGNALS)?;
        let (hide, is_over) = (unseen.clone(), Arc::<Mutex<bool>>::default());
        let unseen_is_over = Arc::clone(&is_over);
        let follow = move || {
            for signal in signals.forever() {
                if signal != SIGCONT {
                    set(&shown, OptionalActions::Flush); // a part of a password is not left for the shell
                    let _ = writeln!(io::stderr());
                    let _ = emulate_default_handler(signal); // SIGTSTP: returns when the program is continued
                }
                let is_over = is_over.lock().unwrap_or_else(PoisonError::into_inner);
                if !*is_over {
                    set(&hide, OptionalActions::Now); // keeps what was typed since the program continued
                }
            }
        };
        std::thread::Builder::new().name("modest-signals".into()).spawn(follow)?;
        tcsetattr(io::stdin(), OptionalActions::Flush, &unseen)?;
        Ok(Unseen { before, is_over: unseen_is_over })
    }
}

fn set(modes: &Termios, how: OptionalActions) {
    let _ = tcsetattr(io::stdin(), how, modes); // there is no other terminal
}

impl Drop for Unseen {
    fn drop(&mut self) {
        *self.is_over.lock().unwrap_or_else(PoisonError::into_inner) = true;
        set(&self.before, OptionalActions::Flush);
    }
}
