//! Uploads in progress: their store, one writer at a time, and expiry.

use super::super::sender_limits::{SenderLimits, ShareLimits};
use super::*;
use crate::files::free_space::Writer;
use crate::new_file::Unnamed;

fn partial_of(owner: &str) -> Partial {
    let folder = std::fs::File::open(std::env::temp_dir()).unwrap().into();
    let file = NewFile::create(&folder, Unnamed::IfThereAre).unwrap();
    let held = SenderLimits::new(ShareLimits { in_all: 1, each: 1, quota: None }, Arc::default());
    let owner = Owner::new(None, Some(owner));
    let held = Arc::new(held.hold(owner.clone(), 0).unwrap());
    Partial::new(Arc::new(file), None, owner, held, KeptConditions::default())
}

fn partial() -> Partial {
    partial_of("ada")
}

fn key(name: &str) -> Key {
    Key { secret: name.to_owned(), user: None, path: b"a".to_vec() }
}

#[test]
fn partial_uploads_are_limited_in_number_and_time() {
    let partials = Partials::new(2, Duration::from_secs(3600));
    assert!(partials.begin(key("a"), partial()).is_some() && partials.begin(key("b"), partial()).is_some());
    assert!(partials.begin(key("c"), partial()).is_none(), "one more upload than allowed was accepted");
    assert!(partials.begin(key("a"), partial()).is_some(), "an upload with the same key replaces the earlier one");
    let b = partials.find(&key("b")).unwrap();
    let (_, turn) = b.take_turn().unwrap();
    assert!(
        !partials.end(&key("b"), &b, turn - 1) && partials.find(&key("b")).is_some(),
        "an upload was ended with an old turn"
    );
    assert!(partials.end(&key("b"), &b, turn) && partials.find(&key("b")).is_none());
    assert!(!partials.end(&key("b"), &b, turn) && b.take_turn().is_none(), "once");
    assert!(partials.begin(key("c"), partial()).is_some());
    let brief = Partials::new(2, Duration::ZERO);
    assert!(
        brief.begin(key("a"), partial()).is_some() && brief.find(&key("a")).is_none(),
        "an upload was found after its time"
    );
}

/// For a request that has found nothing, at each moment of the request that stores the upload or fails to.
#[test]
fn an_upload_that_was_just_open_is_never_unknown() {
    let (partials, key) = (Partials::new(2, Duration::from_secs(3600)), key("a"));
    let upload = partials.begin(key.clone(), partial()).unwrap();
    for is_stored in [false, true] {
        let busy = partials.begin_whole(key.clone());
        let (_, turn) = upload.take_turn().unwrap();
        assert!(partials.end(&key, &upload, turn) && partials.find(&key).is_none());
        assert!(matches!(partials.absence(&key), Absence::Busy), "is stored");
        match is_stored {
            true => partials.note(&key, 9, &Stored::default()),
            false => partials.put_back(&key, &upload),
        }
        assert!(matches!(partials.absence(&key), Absence::Busy), "was stored or put back");
        drop(busy);
        let absence = partials.absence(&key);
        match is_stored {
            true => assert!(matches!(absence, Absence::Stored(9)), "{absence:?}"),
            false => assert!(matches!(absence, Absence::Busy), "{absence:?}"),
        }
    }
    partials.forget(&key);
    assert!(matches!(partials.absence(&key), Absence::Unknown));
}

/// The space of an expired upload is free without another request, and the thread for this ends.
#[test]
fn expired_uploads_are_dropped() {
    let partials = Partials::new(2, Duration::from_millis(20));
    for _ in 0..2 {
        let expiring = Arc::downgrade(&partials.begin(key("a"), partial()).unwrap());
        let begun = Instant::now();
        while expiring.upgrade().is_some() || lock(&partials.open).is_watched {
            assert!(begun.elapsed() < Duration::from_secs(20), "an expired upload was kept");
            std::thread::sleep(std::time::Duration::from_micros(100));
        }
    }
}

fn appender(partial: &Arc<Partial>) -> (u64, Appender) {
    let (offset, turn) = partial.take_turn().unwrap();
    let to = Writer { to: Arc::clone(&partial.file), reserve: 0 };
    let to = ChargedBytes { held: Arc::clone(&partial.held), to };
    (offset, Appender { partial: Arc::clone(partial), turn, to, has_conditions: false })
}

/// Bytes that have arrived may not be written yet, so an upload is kept while a request uses it.
#[test]
fn an_upload_in_use_does_not_expire() {
    const AGE: Duration = Duration::from_millis(1);
    let partials = Partials::new(1, AGE);
    let (_, used) = appender(&partials.begin(key("a"), partial()).unwrap());
    while used.partial.touched().unwrap().elapsed() < 20 * AGE {
        std::thread::sleep(std::time::Duration::from_micros(100));
    }
    assert!(partials.find(&key("a")).is_some());
    let (kept, before) = (Arc::clone(&used.partial), Instant::now());
    drop(used);
    assert!(kept.touched().unwrap() >= before, "its time begins at the end of the request");
}

#[test]
fn one_request_writes_at_a_time() {
    let partial = Arc::new(partial());
    let (offset, mut first) = appender(&partial);
    first.write_all(b"one").unwrap();
    let (more, mut second) = appender(&partial);
    assert!(first.write_all(b"late").is_err());
    second.write_all(b"two").unwrap();
    assert_eq!((offset, more, partial.file.written()), (0, 3, 6));
    partial.end();
    assert!(second.write_all(b"more").is_err() && partial.take_turn().is_none());
}

/// Of two requests that start an upload again at once, one gets its reservation.
#[test]
fn a_reservation_is_handed_over_once() {
    let partial = partial();
    let first = partial.hand_over(4).unwrap();
    assert!(first.is_some_and(|held| Arc::ptr_eq(&held, &partial.held)));
    assert!(partial.hand_over(4).unwrap().is_none() && partial.take_turn().is_none());
}

#[test]
fn no_owner_holds_all_partial_uploads() {
    let partials = Partials::new(4, Duration::from_secs(3600));
    let begin = |owner, name| partials.begin(key(name), partial_of(owner)).is_some();
    for (owner, name, expected) in [
        ("ada", "a1", true),
        ("ada", "a2", true),
        ("ada", "a3", true),
        ("ada", "a4", true),
        ("ada", "a5", false),
        ("bob", "b1", true), // replaces a1
        ("bob", "b2", true), // replaces a2
        ("bob", "b3", false),
        ("eve", "e1", true), // replaces one of these two
        ("eve", "e2", false),
    ] {
        assert_eq!(begin(owner, name), expected, "{owner} {name}");
    }
    let has = |name: &str| partials.find(&key(name)).is_some();
    assert!(!has("a1") && !has("a2") && has("e1"), "the latest uploads are kept");
}
