//! The reserve, in bytes and in inodes.

use super::*;
use crate::new_file::Unnamed;
use crate::new_file::tests::open;

#[test]
fn the_reserved_space_stays_free() {
    let place = tempfile::tempdir().unwrap();
    let folder = open(place.path());
    assert!(has_room(&folder, 1, 0) && !has_room(&folder, 1, u64::MAX) && !has_room(&folder, u64::MAX, 1));
    let made = Arc::new(NewFile::create(&folder, Unnamed::IfThereAre).unwrap());
    let refused = Writer { to: Arc::clone(&made), reserve: u64::MAX - 1 }.write(b"x").unwrap_err();
    assert_eq!((refused.kind(), made.written()), (io::ErrorKind::StorageFull, 0));
}

#[test]
fn inodes_that_stay_free() {
    for (inodes, reserve, expected) in
        [(1 << 20, 64 << 20, 4096), (1 << 20, 0, 0), (1000, 64 << 20, 62), (u64::MAX, u64::MAX, u64::MAX / (16 << 10))]
    {
        assert_eq!(reserved_inodes(inodes, reserve), expected, "{inodes} {reserve}");
        assert!(has_inode(inodes, expected + 1, reserve), "{inodes} {reserve}");
        assert!(expected == 0 || !has_inode(inodes, expected, reserve), "{inodes} {reserve}");
        assert!(has_inode(inodes, 0, reserve) && has_inode(0, 0, reserve), "{inodes} {reserve}: not counted");
    }
}
