//! Runs many clients side by side until the time or the work is over.

use crate::client::{Base, Client};
use crate::tally::{Row, Tally};
use futures_util::future::join_all;
use std::time::{Duration, Instant};

/// What a client does over and over.
pub trait Worker {
    /// Does one turn; false when there is nothing left to do.
    async fn turn(&mut self, client: &mut Client) -> bool;
}

/// When to stop.
#[derive(Debug, Clone, Copy)]
pub enum Stop {
    /// After this long.
    After(Duration),
    /// After so many turns of each client.
    Turns(u64),
    /// When the workers have nothing left to do.
    Done,
}

/// What was measured.
#[derive(Debug)]
pub struct Measured {
    pub tally: Tally,
    pub elapsed: Duration,
}

impl Measured {
    /// Successes a second, all operations together.
    pub fn rate(&self) -> f64 {
        crate::tally::per_second(self.tally.count(), self.elapsed)
    }

    pub fn rows(self) -> Vec<Row> {
        self.tally.rows(self.elapsed)
    }
}

/// Runs the workers, each on a connection of its own, all on this thread: the server shares the machine.
pub async fn drive<W: Worker>(base: &Base, workers: Vec<W>, stop: Stop) -> Measured {
    let begin = Instant::now();
    let clients = workers.into_iter().map(|worker| run(base, worker, stop, begin));
    let mut tally = Tally::default();
    for one in join_all(clients).await {
        tally.merge(one);
    }
    Measured { tally, elapsed: begin.elapsed() }
}

async fn run<W: Worker>(base: &Base, mut worker: W, stop: Stop, begin: Instant) -> Tally {
    let mut client = Client::new(base);
    let mut turns = 0;
    loop {
        let over = match stop {
            Stop::After(time) => begin.elapsed() >= time,
            Stop::Turns(most) => turns >= most,
            Stop::Done => false,
        };
        if over || !worker.turn(&mut client).await {
            return client.tally;
        }
        turns += 1;
    }
}

/// Numbers in a fixed sequence, to choose with.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// A sequence for each client.
    pub fn new(client: usize) -> Self {
        Self(0x9E37_79B9_7F4A_7C15 ^ ((client as u64 + 1) << 17))
    }

    /// A number below `most` (0 where `most` is 0).
    pub fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % (most.max(1) as u64)).unwrap_or(0)
    }

    /// One of the items.
    pub fn pick<'i, T>(&mut self, items: &'i [T]) -> Option<&'i T> {
        items.get(self.below(items.len()))
    }
}
