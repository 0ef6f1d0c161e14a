//! File names with numbers, for names that are taken. Any level can use it.

/// The longest name that common file systems have, in bytes.
pub(crate) const MAX_NAME: usize = 255;
/// The maximum length of an extension, in bytes with its dot. A longer ending is part of the stem.
const MAX_EXTENSION: usize = 64;

/// Returns the name with this text at the end of its stem, which is shortened if the name gets too long: `photo-1.jpg`,
/// `backup-1.tar.gz`.
pub(crate) fn with_stem_end(name: &str, end: &str) -> String {
    let dot = name.rfind('.').filter(|&dot| dot > 0 && name.len() - dot <= MAX_EXTENSION).unwrap_or(name.len());
    let dot = if dot > 4 && name[..dot].ends_with(".tar") { dot - 4 } else { dot };
    let (stem, extension) = name.split_at(dot);
    let room = MAX_NAME - extension.len() - end.len();
    let cut = (0..=room.min(stem.len())).rfind(|&cut| stem.is_char_boundary(cut)).unwrap_or_default();
    format!("{}{end}{extension}", &stem[..cut])
}

/// Returns a free number, starting at 1. Taken numbers are mostly the lowest, so the number is doubled until one is
/// free, and then found by bisection.
pub(crate) fn free<E>(mut is_taken: impl FnMut(u32) -> Result<bool, E>) -> Result<u32, E> {
    let (mut taken, mut free) = (0, 1);
    while free < u32::MAX / 2 && is_taken(free)? {
        (taken, free) = (free, free * 2);
    }
    while free - taken > 1 {
        let middle = taken + (free - taken) / 2;
        *(if is_taken(middle)? { &mut taken } else { &mut free }) = middle;
    }
    Ok(free)
}
