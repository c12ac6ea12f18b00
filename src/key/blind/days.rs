//! Dates in a blind index: the buckets of time in which a moment lies, and the few buckets that hold a range of moments.
//!
//! A mark is `kind level number`: the kind of the key, then `D`, `M`, `Y` or `T` for a day, month, year or decade, and which one.
//! All that is before 1860 is in one decade, and all from 2090 on, so that a range without an end needs no more buckets than another one.

use jiff::civil::{Date, date};
use jiff::{ToSpan, Unit};
use std::collections::BTreeSet;

/// The days are counted from this one.
const EPOCH: Date = date(1970, 1, 1);
const DAY: i64 = 86_400_000_000;
/// The first and the last day with a bucket of its own: those of the year 1, and of 9999. What is beyond counts as one of them.
const DAYS: [i64; 2] = [-719_162, 2_932_896];
const DECADES: [i32; 2] = [185, 209];
/// A range is held by at most so many buckets, even if these hold more than it.
const MANY: usize = 40;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Decade,
    Year,
    Month,
    Day,
}

const LEVELS: [Level; 4] = [Level::Decade, Level::Year, Level::Month, Level::Day];

impl Level {
    const fn letter(self) -> u8 {
        match self {
            Self::Decade => b'T',
            Self::Year => b'Y',
            Self::Month => b'M',
            Self::Day => b'D',
        }
    }

    /// The bucket that has a day.
    fn of(self, day: i64) -> i32 {
        let date = date_of(day);
        let year = i32::from(date.year());
        match self {
            Self::Decade => (year / 10).clamp(DECADES[0], DECADES[1]),
            Self::Year => year,
            Self::Month => 12 * year + i32::from(date.month()) - 1,
            Self::Day => i32::try_from(day).unwrap_or_default(),
        }
    }

    /// The first day of a bucket.
    fn first_day(self, bucket: i32) -> i64 {
        let [year, month] = match self {
            Self::Decade if bucket <= DECADES[0] => [1, 1],
            Self::Decade => [10 * bucket, 1],
            Self::Year => [bucket, 1],
            Self::Month => [bucket / 12, bucket % 12 + 1],
            Self::Day => return i64::from(bucket),
        };
        let first = Date::new(i16::try_from(year).unwrap_or(i16::MAX), i8::try_from(month).unwrap_or(1), 1);
        first.map_or(DAYS[1] + 1, day_of)
    }

    /// The last day of a bucket.
    fn last_day(self, bucket: i32) -> i64 {
        if self == Self::Decade && bucket >= DECADES[1] { DAYS[1] } else { self.first_day(bucket + 1) - 1 }
    }
}

fn day_of(date: Date) -> i64 {
    let days = EPOCH.until((Unit::Day, date));
    days.map_or(0, |days| i64::from(days.get_days()))
}

fn date_of(day: i64) -> Date {
    EPOCH.checked_add(day.days()).unwrap_or(EPOCH)
}

/// The day of a moment in the bytes of a key; what is missing of them is zero.
fn day_in(moment: &[u8], before: i64) -> i64 {
    let mut bytes = [0; 8];
    for (place, byte) in bytes.iter_mut().zip(moment) {
        *place = *byte;
    }
    let micros = (u64::from_be_bytes(bytes) ^ (1 << 63)).cast_signed();
    micros.saturating_sub(before).div_euclid(DAY).clamp(DAYS[0], DAYS[1])
}

fn mark(kind: u8, (level, bucket): (Level, i32)) -> Vec<u8> {
    [&[kind, level.letter()][..], &bucket.to_be_bytes()].concat()
}

/// The marks of a value of this kind that begins with this moment.
pub(super) fn marks(kind: u8, moment: &[u8]) -> Vec<Vec<u8>> {
    let day = day_in(moment, 0);
    LEVELS.map(|level| mark(kind, (level, level.of(day)))).to_vec()
}

/// Marks of which every value has one whose moment lies between these, the second not included; without it there is no end.
pub(super) fn marks_between(kind: u8, from: &[u8], to: Option<&[u8]>) -> Vec<Vec<u8>> {
    let (first, last) = (day_in(from, 0), to.map_or(DAYS[1], |to| day_in(to, i64::from(to.len() <= 8))));
    let found = LEVELS.into_iter().rev().find_map(|finest| buckets(first, last, finest));
    found.into_iter().flatten().map(|bucket| mark(kind, bucket)).collect()
}

/// The largest buckets that hold a range of days, none smaller than the finest; `None` where those are too many.
fn buckets(first: i64, last: i64, finest: Level) -> Option<BTreeSet<(Level, i32)>> {
    let (mut found, mut day) = (BTreeSet::new(), first);
    while day <= last {
        let fits = |level: &Level| {
            let bucket = level.of(day);
            level.first_day(bucket) == day && level.last_day(bucket) <= last
        };
        let level = LEVELS.into_iter().filter(|level| *level <= finest).find(fits).unwrap_or(finest);
        let bucket = level.of(day);
        found.insert((level, bucket));
        if found.len() > MANY {
            return None;
        }
        day = level.last_day(bucket) + 1;
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bytes(micros: i64) -> [u8; 8] {
        (micros.cast_unsigned() ^ (1 << 63)).to_be_bytes()
    }

    fn day(year: i16, month: i8, of_month: i8) -> i64 {
        day_of(date(year, month, of_month))
    }

    #[test]
    fn ranges_take_the_largest_buckets() {
        let between = |first, last| buckets(first, last, Level::Day).unwrap().into_iter().collect::<Vec<_>>();
        assert_eq!(between(day(1980, 5, 3), day(1980, 5, 3)), [(Level::Day, 3775)]);
        assert_eq!(between(day(1980, 2, 1), day(1980, 2, 29)), [(Level::Month, 12 * 1980 + 1)]);
        assert_eq!(
            between(day(1979, 1, 1), day(1990, 1, 31)),
            [(Level::Decade, 198), (Level::Year, 1979), (Level::Month, 12 * 1990)]
        );
        assert_eq!(buckets(DAYS[0], DAYS[1], Level::Day).unwrap().len(), 25);
        assert!(marks_between(b'l', &bytes(i64::MIN), None).len() <= MANY);
    }

    proptest! {
        #[test]
        fn every_moment_of_a_range_is_in_one_of_its_buckets(
            a in any::<i64>(), b in any::<i64>(), near in -50_000..50_000_i64, is_near in any::<bool>(), at in 0..1000_i128,
        ) {
            let b = if is_near { a.saturating_add(near * DAY / 3) } else { b };
            let (from, to) = (a.min(b), a.max(b));
            let between = i64::try_from((i128::from(to) - i128::from(from)) * at / 1000).unwrap_or(i64::MAX);
            let moment = from.saturating_add(between).clamp(from, to.saturating_sub(1).max(from));
            let found = marks_between(b'l', &bytes(from), Some(&bytes(to)));
            prop_assert!(found.len() <= MANY);
            let own = marks(b'l', &bytes(moment));
            prop_assert!(from == to || own.iter().any(|mark| found.contains(mark)), "{from} {moment} {to}");
        }
    }
}
