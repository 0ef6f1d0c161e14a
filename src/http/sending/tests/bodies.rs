//! Bodies: streams, chunks, and files by their paths.

use super::*;

/// Counts the reads, and returns this many bytes each time.
struct Counted {
    reads: Arc<AtomicUsize>,
    gives: Vec<usize>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reads.fetch_add(1, Ordering::Relaxed);
        let count = self.gives.get(read).copied().unwrap_or(0).min(buffer.len());
        buffer[..count].fill(b'x');
        Ok(count)
    }
}

#[test]
fn unused_streams_are_not_read() {
    for (row, request, status) in [
        ("9.3.2 head", of("HEAD"), 200),
        ("15.3.5 no content", get(), 204),
        ("15.3.6 reset content", get(), 205),
        ("13.1.1 a refusal", get().with_header("if-match", "\"x\""), 200),
    ] {
        let reads = Arc::new(AtomicUsize::new(0));
        let sent =
            send(Response::stream(Counted { reads: reads.clone(), gives: vec![10] }).with_status(status), &request);
        assert_eq!(reads.load(Ordering::Relaxed), 0, "{row}: {sent:?}");
    }
}

#[test]
fn each_read_is_a_chunk() {
    let gives = vec![1, 15, 16, 255, 256, 4095, 4096, 8192, 70_000, 70_000, 70_000, 70_000, 3];
    let reads = Arc::new(AtomicUsize::new(0));
    let sent = send(Response::stream(Counted { reads, gives }), &get());
    let mut sizes = Vec::new();
    let mut left = &sent.body[..];
    loop {
        let end = left.windows(2).position(|two| two == b"\r\n").unwrap();
        let size = usize::from_str_radix(std::str::from_utf8(&left[..end]).unwrap(), 16).unwrap();
        assert!(left[0] != b'0' || end == 1, "9112 7.1: a size without leading zeros");
        left = &left[end + 2..];
        assert!(left[..size].iter().all(|byte| *byte == b'x') && &left[size..size + 2] == b"\r\n");
        left = &left[size + 2..];
        if size == 0 {
            break;
        }
        sizes.push(size);
    }
    assert!(left.is_empty());
    assert_eq!(sizes, [1, 15, 16, 255, 256, 4095, 4096, 8192, 16_384, 32_768, 65_528, 65_528, 3]);
}

#[test]
fn an_announced_length_is_kept_or_reported() {
    let gives = |gives: &[usize]| Counted { reads: Arc::new(AtomicUsize::new(0)), gives: gives.to_vec() };
    let short = send(Response::sized_stream(gives(&[5, 4]), 10), &get());
    assert_eq!(short.failure.map(|error| error.kind()), Some(io::ErrorKind::UnexpectedEof));
    let long = send(Response::sized_stream(gives(&[5, 50]), 10), &get());
    assert_eq!((long.body.len(), long.failure.is_none()), (10, true));
    let large = send(Response::sized_stream(io::repeat(b'x'), 1_000_000), &get());
    assert_eq!((large.body.len(), large.length), (1_000_000, 1_000_000));
}

/// The first read is interrupted, which is not a failure. The third read fails.
struct Failing(usize);

impl Read for Failing {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0 += 1;
        match self.0 {
            1 => Err(io::ErrorKind::Interrupted.into()),
            2 => {
                buffer[0] = b'x';
                Ok(1)
            }
            3 => Err(io::Error::other("the disk is gone")),
            _ => Ok(buffer.len() + 1),
        }
    }
}

#[test]
fn a_failing_stream_has_no_valid_end() {
    for (request, body) in [(get(), "1\r\nx\r\n"), (http10("GET"), "x")] {
        let sent = send(Response::stream(Failing(0)), &request);
        assert_eq!(sent.text(), body);
        assert_eq!(sent.failure.unwrap().to_string(), "the disk is gone");
    }
    assert!(
        send(Response::stream(Failing(3)), &get()).failure.is_some(),
        "a read that claims more bytes than fit in the buffer"
    );
}

#[test]
fn large_bodies_are_not_copied() {
    let large = vec![b'x'; 100_000];
    let shared: SharedBytes = Arc::new(large.clone());
    for (how, response, pieces) in [
        ("bytes", Response::bytes(large), 2),
        ("shared", Response::shared(shared.clone()), 2),
        ("small", Response::text(BODY), 1),
    ] {
        let (request, mut output) = (get(), Output::new());
        encode(checked(response, &request), &context(&request, None), &mut output);
        assert_eq!(output.pieces().count(), pieces, "{how}: {output:?}");
    }
}

fn fault(response: Response) -> Error {
    Checked::new(response, &get()).err().expect("a response that can't be sent").0
}

#[test]
fn a_file_is_served_by_its_path() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    File::create(&path).unwrap().write_all(BODY.as_bytes()).unwrap();
    // older than a second, so that the file has a date
    let before = std::time::SystemTime::now() - std::time::Duration::from_secs(5);
    File::options().append(true).open(&path).unwrap().set_modified(before).unwrap();
    let sent = send(Response::file(&path), &get().with_header("range", "bytes=-1"));
    assert_eq!((sent.status, sent.text(), sent.field("Last-Modified").is_some()), (206, "9", true));
    // The file has a tag after 20 ms, when no later change can have the same times.
    let mut looks = std::iter::repeat_with(|| send(Response::file(&path), &get()).field("ETag").map(str::to_owned));
    let tag = looks.by_ref().take(1_000_000).flatten().next().expect("a tag");
    let known = get().with_header("if-none-match", tag);
    assert_eq!(send(Response::file(&path), &known).status, 304);
    File::options().append(true).open(&path).unwrap().write_all(b"!").unwrap();
    assert_eq!(send(Response::file(&path), &known).text(), "0123456789!");
    assert_eq!(fault(Response::file(folder.path().join("b"))).status(), 404);
    assert_eq!(fault(Response::file(folder.path())).status(), 404);
    assert_eq!(fault(Response::file(path.join("c"))).status(), 404);
}
