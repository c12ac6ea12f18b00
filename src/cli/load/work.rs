//! One thread reads, some send, and the calling one keeps the count.

use super::Failure;
use super::files::Input;
use super::items::{Content, Item, Place, split};
use super::resume::{Journal, holds};
use super::target::{Reason, Stored, Target};
use indicatif::{ProgressBar, ProgressStyle};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Items that wait to be sent, beside those under way.
const WAITING: usize = 4;

/// After so many items in a row that the target did not answer, it is taken to be gone.
const MOST_UNREACHABLE: u32 = 8;

/// What came of a load.
#[derive(Debug, Default)]
pub(super) struct Summary {
    /// Resources that were written.
    pub(super) written: usize,
    /// Resources that were there just so.
    pub(super) unchanged: usize,
    /// Resources, or Bundles as a whole, that were not.
    pub(super) failed: usize,
    /// Files that were done before.
    pub(super) skipped: usize,
    /// Whether it ended early, because the target is gone.
    pub(super) stopped: bool,
    elapsed: Duration,
}

impl fmt::Display for Summary {
    #[allow(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.elapsed.as_secs_f64();
        let rate = self.written as f64 / seconds.max(1e-3);
        write!(f, "{} resources written in {seconds:.1} s ({rate:.0}/s), {} failed", self.written, self.failed)?;
        if self.unchanged > 0 {
            write!(f, ", {} there already", self.unchanged)?;
        }
        if self.skipped > 0 {
            write!(f, ", {} files done before", self.skipped)?;
        }
        if self.stopped { write!(f, "; stopped: the target does not answer") } else { Ok(()) }
    }
}

/// What came of one item.
struct Report {
    input: usize,
    bytes: u64,
    written: usize,
    unchanged: usize,
    done: Vec<Place>,
    failures: Vec<(Spot, Reason)>,
}

/// What of a file failed.
#[derive(Debug)]
enum Spot {
    All,
    Entry(usize),
    Line(u64),
}

/// Loads the inputs into the target.
pub(super) fn load(
    inputs: &[Input],
    target: &dyn Target,
    mut journal: Option<Journal>,
    threads: usize,
) -> Result<Summary, Failure> {
    let begin = Instant::now();
    let mut summary = Summary::default();
    let mut work: Vec<(usize, BTreeMap<u64, u64>)> = Vec::new();
    for (number, input) in inputs.iter().enumerate() {
        match &journal {
            Some(journal) if journal.is_whole_done(input) => summary.skipped += 1,
            journal => work.push((number, journal.as_ref().map(|j| j.lines_done(input)).unwrap_or_default())),
        }
    }
    let total = work.iter().filter_map(|(number, _)| inputs.get(*number)).map(|input| input.size).sum();
    let bar = progress_bar(total);
    let stop = AtomicBool::new(false);
    let (give, take) = sync_channel(WAITING);
    let take = Mutex::new(take);
    let result = std::thread::scope(|scope| {
        let (tell, hear) = channel();
        let (take, stop) = (&take, &stop);
        for _ in 0..threads {
            let tell = tell.clone();
            scope.spawn(move || send_all(target, take, &tell, stop));
        }
        scope.spawn(move || read_all(inputs, work, &give, &tell, stop));
        count(inputs, &hear, &bar, &mut journal, &mut summary, stop)
    });
    bar.finish_and_clear();
    summary.elapsed = begin.elapsed();
    result.map(|()| summary)
}

fn progress_bar(total: u64) -> ProgressBar {
    let bar = ProgressBar::new(total);
    let style = ProgressStyle::with_template("{bar:30} {bytes}/{total_bytes}, {msg}, {eta} left");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

/// Reads the inputs and gives out items until they end or nobody takes them.
fn read_all(
    inputs: &[Input],
    work: Vec<(usize, BTreeMap<u64, u64>)>,
    give: &SyncSender<Item>,
    tell: &Sender<Report>,
    stop: &AtomicBool,
) {
    for (number, done) in work {
        let Some(input) = inputs.get(number) else { continue };
        let hand = |item| !stop.load(Ordering::Relaxed) && give.send(item).is_ok();
        if let Err(error) = split(number, input, |line| holds(&done, line), hand) {
            let reason = Reason { status: "unreadable".into(), text: error.to_string(), unreachable: false };
            let failures = vec![(Spot::All, reason)];
            drop(tell.send(Report { input: number, bytes: 0, written: 0, unchanged: 0, done: Vec::new(), failures }));
        }
        if stop.load(Ordering::Relaxed) {
            return;
        }
    }
}

/// Sends items until there are no more.
fn send_all(target: &dyn Target, take: &Mutex<Receiver<Item>>, tell: &Sender<Report>, stop: &AtomicBool) {
    loop {
        let item = take.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(item) = item else { return };
        if stop.load(Ordering::Relaxed) {
            continue;
        }
        if tell.send(send(target, item)).is_err() {
            return;
        }
    }
}

fn send(target: &dyn Target, item: Item) -> Report {
    let Item { input, place, content, bytes } = item;
    let mut report = Report { input, bytes, written: 0, unchanged: 0, done: Vec::new(), failures: Vec::new() };
    match content {
        Content::Unusable(text) => {
            let spot = if let Place::Lines(lines) = &place { Spot::Line(*lines.start()) } else { Spot::All };
            report.failures.push((spot, Reason { status: "not sent".into(), text, unreachable: false }));
        }
        Content::Bundle(bundle, entries) => match target.send(&bundle) {
            Ok(outcomes) => {
                for (number, outcome) in outcomes.into_iter().enumerate().take(entries) {
                    match outcome {
                        None => report.written += 1,
                        Some(reason) => report.failures.push((Spot::Entry(number), reason)),
                    }
                }
                if report.failures.is_empty() {
                    report.done.push(place);
                }
            }
            Err(reason) => report.failures.push((Spot::All, reason)),
        },
        Content::Lines(lines) => {
            let texts: Vec<&[u8]> = lines.iter().map(|(_, text)| text.as_slice()).collect();
            note_lines(&lines, target.lines(&texts), place, &mut report);
        }
    }
    report
}

/// Notes what became of each line.
fn note_lines(lines: &[(u64, Vec<u8>)], outcomes: Vec<Result<Stored, Reason>>, place: Place, report: &mut Report) {
    let is_all_done = outcomes.iter().all(Result::is_ok);
    for ((line, _), outcome) in lines.iter().zip(outcomes) {
        match outcome {
            Ok(Stored::New) => report.written += 1,
            Ok(Stored::Unchanged) => report.unchanged += 1,
            Err(reason) => {
                let spot = if place == Place::Whole { Spot::All } else { Spot::Line(*line) };
                report.failures.push((spot, reason));
                continue;
            }
        }
        if !is_all_done {
            report.done.push(Place::Lines(*line..=*line));
        }
    }
    if is_all_done {
        report.done.push(place);
    }
}

/// Hears what came of each item: prints failures, moves the bar, notes what is done.
fn count(
    inputs: &[Input],
    hear: &Receiver<Report>,
    bar: &ProgressBar,
    journal: &mut Option<Journal>,
    summary: &mut Summary,
    stop: &AtomicBool,
) -> Result<(), Failure> {
    let mut unreachable = 0;
    let begin = Instant::now();
    for report in hear {
        let Some(input) = inputs.get(report.input) else { continue };
        summary.written += report.written;
        summary.unchanged += report.unchanged;
        summary.failed += report.failures.len();
        for (spot, reason) in &report.failures {
            bar.suspend(|| eprintln!("{}{spot}: {}", input.path.display(), reason));
        }
        if let Some(journal) = journal {
            for place in &report.done {
                if let Err(error) = journal.add(input, place) {
                    stop.store(true, Ordering::Relaxed);
                    return Err(error);
                }
            }
        }
        unreachable = if report.failures.iter().any(|(_, reason)| reason.unreachable) { unreachable + 1 } else { 0 };
        if unreachable >= MOST_UNREACHABLE {
            summary.stopped = true;
            stop.store(true, Ordering::Relaxed);
        }
        bar.inc(report.bytes);
        let rate = summary.written as u64 * 1000 / u64::try_from(begin.elapsed().as_millis()).unwrap_or(1).max(1);
        bar.set_message(format!("{} resources, {rate}/s", summary.written));
    }
    Ok(())
}

impl fmt::Display for Spot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => Ok(()),
            Self::Entry(number) => write!(f, ", Bundle.entry[{number}]"),
            Self::Line(number) => write!(f, ", line {number}"),
        }
    }
}
