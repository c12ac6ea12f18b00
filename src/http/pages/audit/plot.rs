//! A plot of counts over time: bars of SVG, and the same as a table.

use crate::clock::Micros;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 160.0;
/// Below the bars: for the times.
const FOOT: f64 = 22.0;
/// Left of the bars: for the counts.
const SIDE: f64 = 48.0;
const HOUR: i64 = 3_600_000_000;

/// A part of a plot: a row of its table, and up to two bars.
pub struct Bar {
    pub(super) time: String,
    pub(super) count: u64,
    pub(super) second: u64,
    pub(super) x: String,
    pub(super) width: String,
    /// Of the bar for `count`: top and height.
    pub(super) first_at: (String, String),
    /// The same for `second`, which stands on the other.
    pub(super) second_at: (String, String),
}

/// A plot.
pub struct Plot {
    pub(super) id: &'static str,
    pub(super) title: &'static str,
    /// The words for a count, and for the second one, which may be none.
    pub(super) names: (&'static str, &'static str),
    pub(super) bars: Vec<Bar>,
    /// The numbers at the side: their place and text.
    pub(super) counts: Vec<(String, u64)>,
    /// The times below: place, which side of the text stands there, and text.
    pub(super) times: Vec<(String, &'static str, String)>,
    /// What the picture shows, in a sentence.
    pub(super) sentence: String,
    pub(super) by: &'static str,
}

impl Plot {
    /// The plot of counts, one pair for each part of the period; parts are `step` microseconds long.
    pub fn of(
        id: &'static str,
        title: &'static str,
        names: (&'static str, &'static str),
        (start, step): (Micros, i64),
        counts: &[(u64, u64)],
    ) -> Self {
        let is_hourly = step == HOUR;
        let top = nice(counts.iter().map(|(one, two)| one + two).max().unwrap_or_default());
        let floor = HEIGHT - FOOT;
        let each = (WIDTH - SIDE) / number(counts.len().max(1) as u64);
        let up = |count: u64| (floor - 6.0) * number(count) / number(top);
        let at = |index: usize| Micros(start.0.saturating_add(step.saturating_mul(i64::try_from(index).unwrap_or(0))));
        let bars = counts.iter().enumerate().map(|(index, (count, second))| Bar {
            time: time(at(index), is_hourly),
            count: *count,
            second: *second,
            x: place(SIDE + each * number(index as u64)),
            width: place((each * 0.85).max(0.5)),
            first_at: (place(floor - up(*count)), place(up(*count))),
            second_at: (place(floor - up(*count) - up(*second)), place(up(*second))),
        });
        let bars = bars.collect::<Vec<_>>();
        let marks = [0, top / 2, top];
        let last = counts.len().saturating_sub(1);
        let times = [0, counts.len() / 2, last].map(|index| {
            let text = time(at(index), is_hourly);
            let middle = SIDE + each * (number(index as u64) + 0.425);
            if index == last && last > 0 { (place(WIDTH), "end", text) } else { (place(middle), "middle", text) }
        });
        let total: u64 = counts.iter().map(|(one, _)| one).sum();
        let most = counts.iter().enumerate().max_by_key(|(index, (one, _))| (*one, std::cmp::Reverse(*index)));
        let by = if is_hourly { "hour" } else { "day" };
        let sentence = match most {
            Some((index, (count, _))) if *count > 0 => {
                format!("{total} {} in all. The most in one {by}: {count}, {}.", names.0, time(at(index), is_hourly))
            }
            _ => format!("No {} in this period.", names.0),
        };
        let counts = marks.map(|mark| (place(floor - up(mark)), mark)).to_vec();
        let mut times = times.to_vec();
        times.dedup();
        Self { id, title, names, bars, counts, times, sentence, by }
    }
}

/// The next number that is easy to read and to halve.
fn nice(most: u64) -> u64 {
    let mut power = 1_u64;
    loop {
        for step in [2, 4, 10] {
            if power.saturating_mul(step) >= most {
                return power.saturating_mul(step);
            }
        }
        power = power.saturating_mul(10);
    }
}

#[allow(clippy::cast_precision_loss)] // Nobody sees a bar that is shorter by a billionth.
const fn number(count: u64) -> f64 {
    count as f64
}

fn place(value: f64) -> String {
    format!("{value:.1}")
}

fn time(at: Micros, is_hourly: bool) -> String {
    at.to_instant().get(..if is_hourly { 16 } else { 10 }).unwrap_or_default().replace('T', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tops_are_easy_to_read() {
        let tops = [0, 1, 2, 3, 5, 10, 11, 40, 41, 99, 101, 399_999].map(nice);
        assert_eq!(tops, [2, 2, 2, 4, 10, 10, 20, 40, 100, 100, 200, 400_000]);
        assert!(nice(u64::MAX) >= 1 << 63);
    }

    #[test]
    fn bars_stand_on_the_floor_and_on_each_other() {
        let plot =
            Plot::of("a", "Accesses", ("accesses", "refused"), (Micros(0), 24 * HOUR), &[(0, 0), (4, 4), (1, 0)]);
        let tops = plot.bars.iter().map(|bar| (bar.first_at.0.as_str(), bar.second_at.0.as_str())).collect::<Vec<_>>();
        assert_eq!(tops, [("138.0", "138.0"), ("85.2", "32.4"), ("124.8", "124.8")]);
        assert_eq!(plot.bars[1].time, "1970-01-02");
        assert_eq!(plot.sentence, "5 accesses in all. The most in one day: 4, 1970-01-02.");
        let none = Plot::of("a", "Accesses", ("accesses", ""), (Micros(0), HOUR), &[(0, 0)]);
        assert_eq!((none.sentence.as_str(), none.times.len()), ("No accesses in this period.", 1));
    }
}
