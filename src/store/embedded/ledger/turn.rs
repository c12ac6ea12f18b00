//! Giving way: what is ready goes on first, so that what it records can be written together with what was recorded before.

use futures_util::task::AtomicWaker;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// What tokio wakes when all that was ready had its turn.
#[derive(Default)]
struct Turn {
    is_over: AtomicBool,
    waiting: AtomicWaker,
}

impl Wake for Turn {
    fn wake(self: Arc<Self>) {
        self.is_over.store(true, Ordering::Release);
        self.waiting.wake();
    }
}

/// Lets every other task of this thread that is ready go on first. Elsewhere than on a thread that runs tasks it waits for nobody.
///
/// [`tokio::task::yield_now`] alone ends when it is polled for the second time, and actix polls a handler twice in a row.
pub(super) async fn give_way() {
    let turn = Arc::new(Turn::default());
    let waker = Waker::from(Arc::clone(&turn));
    let mut yielding = pin!(tokio::task::yield_now());
    let mut has_begun = false;
    poll_fn(|context| {
        turn.waiting.register(context.waker());
        if !has_begun {
            has_begun = true;
            // It is pending: it asks for the wake that ends the turn.
            let _ = yielding.as_mut().poll(&mut Context::from_waker(&waker));
        }
        if turn.is_over.load(Ordering::Acquire) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::rc::Rc;
    use tokio::task::{LocalSet, spawn_local};

    #[test]
    fn all_that_is_ready_goes_first_however_often_it_is_polled() {
        let seen = Rc::new(RefCell::new(Vec::new()));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        LocalSet::new().block_on(&runtime, async {
            let tasks: Vec<_> = (0..5)
                .map(|n| {
                    let seen = Rc::clone(&seen);
                    spawn_local(async move {
                        seen.borrow_mut().push(("begins", n));
                        let mut turn = pin!(give_way());
                        // As actix polls it.
                        poll_fn(|context| match turn.as_mut().poll(context) {
                            Poll::Pending => turn.as_mut().poll(context),
                            ready @ Poll::Ready(()) => ready,
                        })
                        .await;
                        seen.borrow_mut().push(("ends", n));
                    })
                })
                .collect();
            for task in tasks {
                task.await.unwrap();
            }
        });
        let seen = seen.borrow();
        assert!(seen[..5].iter().all(|(what, _)| *what == "begins"), "{seen:?}");
    }

    #[test]
    fn elsewhere_it_ends() {
        let (done, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(give_way());
            runtime.block_on(async { tokio::spawn(give_way()).await.unwrap() });
            done.send(()).unwrap();
        });
        told.recv_timeout(std::time::Duration::from_secs(10)).unwrap();
    }
}
