//! The calendar. Used by `listing` and `archive`.

/// Returns year, month and day for a number of days since 1970, in the proleptic Gregorian calendar. It computes with
/// years that begin in March, so that the leap day comes last, and with eras of 400 years.
pub(super) fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468; // from 0000-03-01
    let era = days.div_euclid(146_097);
    let day = days.rem_euclid(146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153; // 0 is March
    let day = day - (153 * month + 2) / 5 + 1;
    let next = i64::from(month >= 10);
    (era * 400 + year + next, if month < 10 { month + 3 } else { month - 9 }, day)
}
