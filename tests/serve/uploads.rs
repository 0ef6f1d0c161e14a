//! Uploads: forms with files as curl sends them, bodies that stay on disk, bodies that are read while they arrive.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use modest::testing::{self, TestRequest};
use modest::{
    BodyPlan, Error, FormDataLimits, Http, Layer, Method, PartPlan, Request, RequestHandler, Response, Result,
    handler_fn,
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::server::{alone, eventually, is_plain, serve};

#[test]
fn curl_sends_a_form() {
    if !is_plain() {
        return; // curl can't use the bridge
    }
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let path = |name: &str| folder.path().join(name);
    let large: Vec<u8> = (0..3_000_000u32).flat_map(|number| (number / 7).to_le_bytes()).collect();
    fs::write(path("large"), &large).unwrap();
    fs::write(path("small"), "\r\n--\r\n").unwrap();

    let saved = Arc::clone(&folder);
    let upload = move |request: &Request| -> Result<Response> {
        assert_eq!(request.method(), &Method::POST);
        let mut form = request.form_data()?;
        let mut seen = String::new();
        while let Some(mut part) = form.next_part()? {
            let line = format!("{}, {:?}, {:?}: ", part.name(), part.file_name(), part.content_type());
            let content = match part.safe_file_name() {
                Some(name) => format!("{} bytes", part.save(saved.path().join(format!("saved {name}")))?),
                None => part.text()?,
            };
            seen.push_str(&format!("{line}{content}\n"));
        }
        Ok(Response::text(seen))
    };
    let server = serve(Http::new(handler_fn(upload)), |server| server);
    let send = || {
        Command::new("curl")
            .args(["-sS", "-m", "20", "-F", "title=un été", "-F", "note=a\r\nb;type=text/x-note"])
            .args(["-F", &format!("file=@{};filename=../x\"y", path("large").display())])
            .args(["-F", &format!("file=@{};type=image/png", path("small").display())])
            .arg(format!("http://{}/", server.address))
            .output()
    };
    let answer = match send() {
        Ok(output) => String::from_utf8(output.stdout).unwrap(),
        Err(err) if err.kind() == ErrorKind::NotFound => return, // no curl here
        Err(err) => panic!("curl: {err}"),
    };
    // curl before 7.81 writes `\"`, which is rejected. No supported system has it.
    let expected = "title, None, None: un été\n\
        note, None, Some(\"text/x-note\"): a\r\nb\n\
        file, Some(\"../x\\\"y\"), Some(\"application/octet-stream\"): 12000000 bytes\n\
        file, Some(\"small\"), Some(\"image/png\"): 6 bytes\n";
    assert_eq!(answer, expected);
    assert!(fs::read(path("saved x_y")).unwrap() == large);
    assert_eq!(fs::read(path("saved small")).unwrap(), b"\r\n--\r\n");
    // The files already exist.
    let answer = String::from_utf8(send().unwrap().stdout).unwrap();
    assert!(answer.contains("409"), "{answer}");
}

/// Whether this process has this file open, under any name.
fn is_open_here(path: &Path) -> bool {
    let wanted = fs::metadata(path).unwrap();
    let descriptors = fs::read_dir("/proc/self/fd").unwrap();
    let mut open = descriptors.filter_map(|entry| fs::metadata(entry.unwrap().path()).ok());
    open.any(|found| (found.dev(), found.ino()) == (wanted.dev(), wanted.ino()))
}

/// Forms whose files are written while they arrive.
struct Photos(PathBuf);

impl RequestHandler for Photos {
    fn before_body(&self, request: &Request, plan: &mut BodyPlan) -> Result<()> {
        let folder = self.0.clone();
        plan.save_form(request, FormDataLimits::default(), move |part| match part.file_name() {
            Some("virus") => Err(Error::new(403, "not this one")),
            Some(_) => Ok(PartPlan::save_in(&folder)),
            None => Ok(PartPlan::keep()),
        })
    }

    fn do_post(&self, request: &Request) -> Result<Response> {
        let parts = request.saved_form()?;
        let lengths: Vec<String> = parts.iter().map(|part| format!("{} {}", part.head().name(), part.len())).collect();
        Ok(Response::text(lengths.join(", ")))
    }

    fn do_get(&self, _: &Request) -> Result<Response> {
        Ok(Response::text("here"))
    }
}

/// With one worker, clients in the middle of their files delay no other client, however they end.
#[test]
fn slow_forms_hold_no_worker_and_no_permit() {
    const CLIENTS: usize = 40;
    let folder = tempfile::tempdir().unwrap();
    // The files of complete forms, and the complete files of forms that are still arriving.
    let counts = || {
        let entries = |path: &Path| fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
        let (folders, files): (Vec<_>, Vec<_>) = entries(folder.path()).partition(|path| path.is_dir());
        (files.len(), folders.iter().flat_map(|folder| entries(folder)).filter(|path| path.ends_with("0")).count())
    };
    let server = serve(Photos(folder.path().to_owned()), |server| server.workers(1));
    let part = |name: &str, content: &str| {
        format!("--x\r\nContent-Disposition: form-data; name=\"f\"; filename=\"{name}\"\r\n\r\n{content}\r\n")
    };
    let content = "c".repeat(200_000);
    let first =
        "--x\r\nContent-Disposition: form-data; name=\"title\"\r\n\r\nA day\r\n".to_owned() + &part("a", &content);
    let last = part("b", &content) + "--x--\r\n";
    let head = |length: usize| {
        format!(
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Type: multipart/form-data; boundary=x\r\nContent-Length: {length}\r\n\r\n"
        )
    };
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| server.client()).collect();
    let (now, later) = last.split_at(150_000);
    for client in &mut clients {
        client.send(head(first.len() + last.len())).send(&first).send(now);
    }
    eventually("all are amid their second files", || counts() == (0, CLIENTS));
    server.wait_for("nobody works", |stats| stats.running == 0 && stats.parked == CLIENTS);
    let answer = server.client().fetch("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(answer.ends_with("here"), "{answer}");
    clients.truncate(CLIENTS / 2);
    server.wait_for("half of them are gone", |stats| stats.connections == CLIENTS / 2);
    eventually("with their files", || counts() == (0, CLIENTS / 2));
    for client in &mut clients {
        client.send(later);
        let answer = client.answer().unwrap();
        assert!(answer.ends_with("title 5, f 200000, f 200000"), "{answer}");
    }
    assert_eq!(counts(), (CLIENTS, 0), "the files must stay");
    // A rejection in the middle of a form is the response, and none of the form's files stays.
    let refused = first + &part("virus", &content);
    let mut client = server.client();
    let answer = client.send(head(refused.len() + 1_000_000)).send(refused).answer().unwrap();
    assert!(answer.starts_with("HTTP/1.1 403 ") && answer.contains("not this one"), "{answer}");
    eventually("nothing of it stays", || fs::read_dir(folder.path()).unwrap().count() == CLIENTS);
}

/// The hidden entries of a folder, with their modes.
fn hidden(folder: &Path) -> Vec<(String, u32)> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let hidden = entries.filter(|entry| entry.file_name().as_encoded_bytes().starts_with(b"."));
    hidden.map(|entry| (entry.file_name().into_string().unwrap(), entry.metadata().unwrap().mode() & 0o777)).collect()
}

/// A request with a form, whose file is received in several pieces.
fn form() -> String {
    let head = "--x\r\nContent-Disposition: form-data; name=\"f\"; filename=\"a\"\r\n\r\n";
    let body = head.to_owned() + &"c".repeat(200_000) + "\r\n--x--\r\n";
    let kind = "multipart/form-data; boundary=x";
    format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// Makes new files in the folder get another group than that of this process, if this user can.
fn set_group(folder: &Path) {
    if std::os::unix::fs::chown(folder, None, Some(1234)).is_ok() {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o2777)).unwrap();
    }
}

/// The owner has all rights in the hidden folder of a form, whatever the umask removes from the files.
#[test]
fn forms_are_saved_with_any_umask() {
    alone("uploads::forms_are_saved_with_any_umask", || {
        let form = form();
        for mask in [0o000, 0o022, 0o177, 0o300, 0o377, 0o777] {
            let folder = tempfile::tempdir().unwrap();
            set_group(folder.path());
            let server = serve(Photos(folder.path().to_owned()), |server| server);
            let before = rustix::process::umask(rustix::fs::Mode::from_raw_mode(mask));
            let mut client = server.client();
            let (now, later) = form.split_at(150_000);
            client.send(now);
            eventually("its folder is there", || hidden(folder.path()).iter().any(|(_, mode)| *mode == 0o700));
            let answer = client.send(later).answer().unwrap();
            fs::write(folder.path().join("plain"), "").unwrap();
            rustix::process::umask(before);
            assert!(answer.ends_with("f 200000"), "umask {mask:o}: {answer}");
            let about = ["a", "plain"].map(|name| fs::metadata(folder.path().join(name)).unwrap());
            let [saved, plain] = about.map(|about| (about.mode(), about.gid()));
            assert_eq!(saved, plain, "umask {mask:o}");
            assert_eq!(hidden(folder.path()), [], "umask {mask:o}");
        }
    });
}

/// If the descriptors run out at any step, the form gets a 503 and leaves nothing.
#[test]
fn a_form_without_a_descriptor_leaves_nothing() {
    alone("uploads::a_form_without_a_descriptor_leaves_nothing", || {
        let folder = tempfile::tempdir().unwrap();
        let server = serve(Photos(folder.path().to_owned()), |server| server);
        let mut statuses = Vec::new();
        for more in 0.. {
            let mut client = server.client();
            client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").answer().unwrap();
            let before = getrlimit(Resource::Nofile);
            let next = fs::File::open("/dev/null").map(|file| file.as_raw_fd() as u64).unwrap();
            setrlimit(Resource::Nofile, Rlimit { current: Some(next + more), maximum: before.maximum }).unwrap();
            let answer = client.send(form()).answer();
            setrlimit(Resource::Nofile, before).unwrap();
            let answer = answer.unwrap();
            statuses.push(answer[9..12].to_owned());
            if answer.ends_with("f 200000") {
                break;
            }
            assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("\r\nRetry-After: "), "{more}: {answer}");
            eventually("nothing stays", || fs::read_dir(folder.path()).unwrap().count() == 0);
            drop(client);
            server.wait_for("the client is gone", |stats| stats.connections == 0);
        }
        assert!(statuses.len() > 2, "a form needs several descriptors: {statuses:?}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "{statuses:?}");
    });
}

/// A form that is malformed or cut is a 400, even if the handler does not look at its parts. Then it is not called.
#[test]
fn an_incomplete_form_does_not_reach_its_handler() {
    struct Ignores(PathBuf);
    impl RequestHandler for Ignores {
        fn before_body(&self, request: &Request, plan: &mut BodyPlan) -> Result<()> {
            let folder = self.0.clone();
            plan.save_form(request, FormDataLimits::default(), move |_| Ok(PartPlan::save_in(&folder)))
        }

        fn do_post(&self, _: &Request) -> Result<Response> {
            Ok(Response::text("stored"))
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let server = serve(Ignores(folder.path().to_owned()), |server| server);
    let http = Http::new(Ignores(folder.path().to_owned()));
    let whole = form().split_once("\r\n\r\n").unwrap().1.to_owned();
    let kind = "multipart/form-data; boundary=x";
    for (body, status) in [
        (&*whole, 200),
        (whole.trim_end(), 200),
        (&whole[..whole.len() - 4], 400),
        (&whole[..whole.len() - 7], 400),
        (&whole[..100_000], 400),
        (&whole[..30], 400),
        ("nonsense", 400),
        ("--x", 400),
    ] {
        let head =
            format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n", body.len());
        let answer = server.client().fetch(head + body);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{} bytes: {answer}", body.len());
        let by_hand = http.respond(&Request::post("/", body).with_header("content-type", kind));
        assert_eq!(by_hand.status(), status, "{} bytes, by hand", body.len());
        eventually("nothing stays", || fs::read_dir(folder.path()).unwrap().count() == 0);
    }
}

/// A panic while a body arrives gets a 500, as one in a handler does, and leaves nothing.
#[test]
fn a_panic_while_a_body_arrives_is_a_500() {
    struct Panics(PathBuf);
    impl io::Write for Panics {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            panic!("a writer panics");
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    impl RequestHandler for Panics {
        fn before_body(&self, request: &Request, plan: &mut BodyPlan) -> Result<()> {
            let (path, folder, mut parts) = (request.path().to_owned(), self.0.clone(), 0);
            if path == "/body" {
                plan.save_to(Panics(folder));
                return Ok(());
            }
            plan.save_form(request, FormDataLimits::default(), move |_| {
                parts += 1;
                match (&*path, parts) {
                    ("/first", _) | ("/second", 2) => panic!("the function panics"),
                    ("/part", _) => Ok(PartPlan::write_to(Panics(folder.clone()))),
                    _ => Ok(PartPlan::save_in(&folder)),
                }
            })
        }

        fn do_post(&self, _: &Request) -> Result<Response> {
            Ok(Response::text("here"))
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let server = serve(Panics(folder.path().to_owned()), |server| server);
    let form = form();
    let two = form.replace("--x--", "--x\r\nContent-Disposition: form-data; name=\"g\"\r\n\r\n--x--");
    let length = |text: &str| text.split_once("\r\n\r\n").unwrap().1.len();
    let two = two.replace(&format!("Content-Length: {}", length(&form)), &format!("Content-Length: {}", length(&two)));
    for path in ["/body", "/first", "/second", "/part"] {
        let mut client = server.client();
        let sent = two.replace("POST / ", &format!("POST {path} "));
        let answer = client.send(sent).answer().unwrap_or_else(|error| panic!("{path}: {error:?}"));
        assert!(answer.starts_with("HTTP/1.1 500 "), "{path}: {answer}");
        eventually("nothing stays", || fs::read_dir(folder.path()).unwrap().count() == 0);
    }
    server.wait_for("nobody works", |stats| stats.running == 0);
}

/// The destination of an upload.
struct Inbox {
    folder: tempfile::TempDir,
    spool: PathBuf,
    memory: usize,
}

impl RequestHandler for Inbox {
    fn before_body(&self, _: &Request, plan: &mut BodyPlan) -> Result<()> {
        plan.limit(200 << 20).memory(self.memory).folder(&self.spool);
        Ok(())
    }

    fn do_put(&self, request: &Request) -> Result<Response> {
        let path = self.folder.path().join(&request.path()[1..]);
        let length = request.persist(&path)?;
        let place = if is_open_here(&path) { "linked" } else { "written" };
        let found = request.body().persist(&path).unwrap_err();
        assert_eq!(found.kind(), ErrorKind::AlreadyExists);
        assert_eq!(io::copy(&mut request.reader(), &mut io::sink())?, length, "the stored body can still be read");
        Ok(Response::text(format!("{length} {place}")))
    }
}

/// Returns the way in which a spooled body gets its name.
fn linked() -> &'static str {
    let has_unnamed = super::system::way_of("new files").contains("O_TMPFILE") && is_unnamed_here();
    if has_unnamed { "linked" } else { "written" }
}

/// A sandbox may forbid unnamed files.
fn is_unnamed_here() -> bool {
    tempfile::tempfile_in("/var/tmp").is_ok()
}

#[test]
fn a_spooled_body_is_kept_by_a_link() {
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    let inbox = Arc::new(Inbox { spool: folder.path().to_owned(), folder, memory: 64 << 10 });
    let server = testing::serve(Arc::clone(&inbox));
    let put = |name: &str, body: &[u8]| server.send(TestRequest::new(Method::PUT, name).with_body(body));
    let large: Vec<u8> = (0..4u32 << 20).flat_map(|number| (number * 7).to_le_bytes()).collect();
    let path = |name: &str| inbox.folder.path().join(name);
    for (name, body, place) in
        [("large", &large[..], linked()), ("small", b"abc", "written"), ("empty", b"", "written")]
    {
        let answer = put(&format!("/{name}"), body);
        assert_eq!(answer.text(), format!("{} {place}", body.len()));
        assert!(fs::read(path(name)).unwrap() == body, "{name}");
        let about = fs::metadata(path(name)).unwrap();
        fs::write(path("plain"), "").unwrap();
        assert_eq!(
            about.mode(),
            fs::metadata(path("plain")).unwrap().mode(),
            "{name}: the mode must be that of the umask"
        );
        assert_eq!(about.nlink(), 1);
    }
    assert_eq!(put("/large", b"another").status(), 409);
    symlink(path("nowhere"), path("link")).unwrap();
    assert_eq!(put("/link", &large[..100_000]).status(), 409, "a link that leads nowhere also takes its name");
    assert_eq!(put("/no/such/folder", &large[..100_000]).status(), 500);
    assert_eq!(fs::read_dir(inbox.folder.path()).unwrap().count(), 5, "no other file is left");
}

/// `/dev/shm` is a separate file system nearly everywhere.
#[test]
fn a_body_is_copied_to_another_file_system() {
    let Ok(spool) = tempfile::tempdir_in("/dev/shm") else { return };
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    let is_another = fs::metadata(&spool).unwrap().dev() != fs::metadata(&folder).unwrap().dev();
    let inbox = Arc::new(Inbox { folder, spool: spool.path().to_owned(), memory: 0 });
    let server = testing::serve(Arc::clone(&inbox));
    let answer = server.send(TestRequest::new(Method::PUT, "/a").with_body(vec![b'x'; 300_000]));
    assert_eq!(answer.text(), if is_another { "300000 written".to_owned() } else { format!("300000 {}", linked()) });
    assert_eq!(fs::read(inbox.folder.path().join("a")).unwrap(), vec![b'x'; 300_000]);
}

/// The files below a folder that this process has open, including those without a name.
fn open_below(folder: &Path) -> usize {
    let descriptors = fs::read_dir("/proc/self/fd").unwrap();
    let mut targets = descriptors.filter_map(|entry| fs::read_link(entry.unwrap().path()).ok());
    targets.by_ref().filter(|target| target.starts_with(folder)).count()
}

/// A layer and its handler both get the progress.
#[test]
fn a_layer_and_its_handler_get_the_progress() {
    #[derive(Clone)]
    struct Told(Arc<Mutex<Vec<String>>>);
    impl Told {
        fn plan(&self, who: &'static str, plan: &mut BodyPlan) {
            let told = Arc::clone(&self.0);
            plan.progress(move |bytes| told.lock().unwrap().push(format!("{who} {bytes}")));
        }
    }
    impl Layer for Told {
        fn before_body(&self, _: &Request, plan: &mut BodyPlan) -> Result<()> {
            self.plan("layer", plan);
            Ok(())
        }
    }
    impl RequestHandler for Told {
        fn before_body(&self, _: &Request, plan: &mut BodyPlan) -> Result<()> {
            self.plan("handler", plan);
            Ok(())
        }
        fn do_post(&self, _: &Request) -> Result<Response> {
            Ok(Response::no_content())
        }
    }
    let told = Told(Arc::default());
    let server = serve(Http::new(told.clone().layer(told.clone())), |server| server);
    let mut client = server.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n");
    assert!(client.fetch([b'x'; 100]).starts_with("HTTP/1.1 204 "));
    let told = told.0.lock().unwrap();
    assert!(told.ends_with(&["layer 100".into(), "handler 100".into()]), "{told:?}");
}

/// The handler gets the progress of each piece, until the client disconnects.
#[test]
fn progress_is_reported_while_a_body_arrives() {
    struct Told {
        folder: PathBuf,
        progress: Arc<Mutex<Vec<u64>>>,
    }
    impl RequestHandler for Told {
        fn before_body(&self, _: &Request, plan: &mut BodyPlan) -> Result<()> {
            let progress = Arc::clone(&self.progress);
            plan.folder(&self.folder).progress(move |bytes| progress.lock().unwrap().push(bytes));
            Ok(())
        }
        fn do_post(&self, request: &Request) -> Result<Response> {
            Ok(Response::text(format!("{} bytes", request.bytes()?.len())))
        }
    }
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    let progress = Arc::<Mutex<Vec<u64>>>::default();
    let app = Told { folder: folder.path().to_owned(), progress: Arc::clone(&progress) };
    let server = serve(Http::new(app).body_quota(1_000_000), |server| server);
    let head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n";
    // The first body arrives while the handler runs, the others before.
    for round in 0..4 {
        progress.lock().unwrap().clear();
        let mut client = server.client();
        client.send(head);
        for part in 1..=4 {
            client.send(vec![b'x'; 200_000]);
            eventually("progress is reported", || progress.lock().unwrap().last() == Some(&(part * 200_000)));
        }
        assert_eq!(open_below(folder.path()), 1);
        if round % 2 == 0 {
            assert!(client.fetch(vec![b'x'; 200_000]).ends_with("1000000 bytes"));
            let told = progress.lock().unwrap();
            assert!(told.is_sorted() && told.last() == Some(&1_000_000), "{told:?}");
        } else {
            drop(client);
            server.wait_for("it is gone", |stats| stats.connections == 0 && stats.running == 0);
            let told = progress.lock().unwrap();
            assert_eq!(told.last(), Some(&800_000), "no progress is reported after the end");
        }
        eventually("its space is released", || open_below(folder.path()) == 0);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}

/// Phones often send several photos with one name.
#[test]
fn concurrent_uploads_with_one_name_are_all_kept() {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let saved = Arc::clone(&folder);
    let server = testing::serve(handler_fn(move |request| {
        let mut form = request.form_data()?;
        let path = form.next_part()?.ok_or("no part")?.save_in(saved.path())?;
        Ok(Response::text(path.to_string_lossy()))
    }));
    let send = |content: &str| {
        let head = "Content-Disposition: form-data; name=f; filename=a.jpg";
        let body = format!("--x\r\n{head}\r\n\r\n{content}\r\n--x--\r\n");
        let request = TestRequest::new(Method::POST, "/").with_body(body);
        server.send(request.with_header("content-type", "multipart/form-data; boundary=x"))
    };
    std::thread::scope(|scope| {
        for client in 0..8 {
            let send = &send;
            scope.spawn(move || {
                for number in 0..10 {
                    let content = format!("{client} {number}");
                    let answer = send(&content);
                    assert_eq!(answer.status(), 200, "{content}: {}", answer.text());
                    assert_eq!(fs::read_to_string(answer.text()).unwrap(), content, "in {}", answer.text());
                }
            });
        }
    });
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 80);
}

/// A writer that reports when it is dropped, and fails with this error.
struct Told {
    bytes: Arc<Mutex<Vec<u8>>>,
    fails: Option<ErrorKind>,
    dropped: Arc<Mutex<bool>>,
}

impl io::Write for Told {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.fails {
            Some(ErrorKind::QuotaExceeded) => {
                return Err(Error::new(429, "one tape a day").with_header("retry-after", "86400").into());
            }
            Some(kind) => return Err(kind.into()),
            None => {}
        }
        self.bytes.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        *self.dropped.lock().unwrap() = true;
    }
}

struct Elsewhere {
    bytes: Arc<Mutex<Vec<u8>>>,
    dropped: Arc<Mutex<bool>>,
}

impl RequestHandler for Elsewhere {
    fn before_body(&self, request: &Request, plan: &mut BodyPlan) -> Result<()> {
        self.bytes.lock().unwrap().clear();
        *self.dropped.lock().unwrap() = false;
        let fails = match request.path() {
            "/full" => Some(ErrorKind::StorageFull),
            "/long" => Some(ErrorKind::FileTooLarge),
            "/busy" => Some(ErrorKind::ResourceBusy),
            "/broken" => Some(ErrorKind::Other),
            "/quota" => Some(ErrorKind::QuotaExceeded),
            _ => None,
        };
        plan.limit(1 << 20).save_to(Told { bytes: Arc::clone(&self.bytes), fails, dropped: Arc::clone(&self.dropped) });
        Ok(())
    }

    fn do_put(&self, request: &Request) -> Result<Response> {
        let (written, dropped) = (self.bytes.lock().unwrap().len() as u64, *self.dropped.lock().unwrap());
        assert_eq!(
            (written, dropped),
            (request.body().len(), true),
            "the whole body is written, and the writer dropped, before the handler is called"
        );
        assert!(request.body().is_empty() || request.bytes().is_err(), "the written body must not also be stored");
        Ok(Response::text(format!("{written}\n")))
    }
}

/// `BodyPlan::save_to`: a body is written while it arrives, even for the first request of a method, of any length and
/// in chunks.
#[test]
fn save_to_writes_the_body_as_it_arrives() {
    let (bytes, dropped) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(false)));
    let handler = Elsewhere { bytes: Arc::clone(&bytes), dropped: Arc::clone(&dropped) };
    let server = testing::serve(handler);
    let put = |target: &str, length: usize| {
        let body: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
        let got = server.send(TestRequest::new(Method::PUT, target).with_body(body.clone()));
        assert!(got.status() != 200 || *bytes.lock().unwrap() == body, "{target}, {length}");
        (got.status().as_u16(), got.text().trim().len())
    };
    for length in [200_000, 0, 1, 65_535, 65_536, 65_537, 1 << 20] {
        assert_eq!(put("/", length), (200, length.to_string().len()), "{length}");
    }
    for (target, length, expected) in [
        ("/", (1 << 20) + 1, 413),
        ("/full", 10, 507),
        ("/full", 200_000, 507),
        ("/long", 10, 413),
        ("/busy", 10, 409),
        ("/broken", 10, 500),
    ] {
        assert_eq!(put(target, length).0, expected, "{target}, {length}");
    }
    let response = server.send(TestRequest::new(Method::PUT, "/quota").with_body("a body"));
    assert_eq!((response.status().as_u16(), response.header("retry-after")), (429, Some("86400")));
    assert!(response.text().contains("one tape a day"), "{}", response.text());
    // A client that disconnects: the handler keeps the written bytes, and the writer is dropped.
    let mut client = std::net::TcpStream::connect(server.address()).unwrap();
    io::Write::write_all(&mut client, b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 500000\r\n\r\n").unwrap();
    io::Write::write_all(&mut client, &[b'x'; 200_000]).unwrap();
    eventually("some of it is written", || !bytes.lock().unwrap().is_empty());
    assert!(!*dropped.lock().unwrap());
    drop(client);
    eventually("the writer is gone", || *dropped.lock().unwrap());
}
