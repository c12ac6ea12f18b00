//! Care dates: when what a resource tells of took place.

use crate::clock::Micros;
use crate::key::date::{self, Span};
use crate::key::{Expr, KeyRange, Prefix, prefix_of};

/// The resources whose care date overlaps a range of time: from the first moment of `start` to the last of `end`.
///
/// `codes` are date parameters: the first one that a resource has a value for tells its care date. `undated` is what becomes
/// of resources that have none of them.
#[must_use]
pub fn care_dates(codes: &[&str], (start, end): (Option<Span>, Option<Span>), undated: bool) -> Expr {
    if start.is_none() && end.is_none() {
        return Expr::All;
    }
    let otherwise = if undated { Expr::All } else { Expr::none() };
    codes.iter().rev().fold(otherwise, |otherwise, code| {
        let prefix = prefix_of(code);
        let present = Expr::Keys(KeyRange::prefix(&prefix));
        let overlaps = |prefix_of_value, span| {
            let ranges = date::matching(prefix_of_value, span, Micros(0));
            Expr::any(ranges.into_iter().map(|range| range.under(&prefix)))
        };
        // "Ends after the moment before the start" and "starts before the moment after the end": values that only reach
        // into the range count too.
        let moment = |at| Span { low: at, high: at };
        let from = start.and_then(|span| span.low.checked_sub(1)).map(|before| overlaps(Prefix::Gt, moment(before)));
        let to = end.and_then(|span| span.high.checked_add(1)).map(|after| overlaps(Prefix::Lt, moment(after)));
        let inside = Expr::and(std::iter::once(present.clone()).chain(from).chain(to));
        Expr::or([inside, Expr::and([present.negate(), otherwise])])
    })
}
